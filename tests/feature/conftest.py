"""The Redis that tests of one process share; those that harm theirs start their own."""

from collections.abc import Iterator

import pytest

from tests.redis_servers import RedisServer, redis_running


@pytest.fixture(scope="session")
def redis(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_running(redis_server, tmp_path_factory.mktemp("redis")) as server:
        yield server
