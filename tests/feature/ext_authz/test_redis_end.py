"""A store ends whenever it is cancelled, also in the middle of a call or of a connection's making."""

import asyncio

import pytest

from ext_authz.redis_scripts import open_scripts
from ext_authz.redis_store import RedisStore, Tuning, Waiting
from tests.feature.ext_authz.redis_harness import charge
from tests.redis_servers import RedisServer

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("turns", range(40))
async def test_cancelled_at_any_moment(redis: RedisServer, turns: int) -> None:
    """After any number of turns of the loop: the task ends, and every caller has an answer."""
    store = RedisStore(
        open_scripts(redis.url), prefix="end:", name="one", tuning=Tuning(timeout_s=5.0, most_waiting=10)
    )
    task = asyncio.create_task(store.run())
    answers = [store.charge([charge(5, 3600, key=f"u{number}")], 1) for number in range(30)]
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)

    assert done
    if turns:  # a task that never ran has no end of its own
        assert all(answer.done() for answer in answers if isinstance(answer, Waiting))
