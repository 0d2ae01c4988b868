"""What goes over the wire to Redis."""

from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Connection

from gateway_runtime.redis_client import packed


@given(st.lists(st.binary(max_size=20_000), max_size=20))
def test_commands_are_packed_as_redis_py_does(words: list[bytes]) -> None:
    """Byte for byte, whatever the words are."""
    command = [b"EVALSHA", *words]

    assert b"".join(Connection().pack_command(*command)) == packed(command)
