"""Any requests with any limits, many at once, in Redis: what is admitted is what counting by hand admits."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.feature.ext_authz.redis_harness import asked, charge, running
from tests.redis_servers import RedisServer

pytestmark = pytest.mark.redis

DAYS = 365 * 24 * 3600
"""Nothing refills while a test runs."""


@dataclass(frozen=True)
class Wanted:
    """One limit of a request."""

    name: str
    key: str
    count: int
    cost: int
    shadow: bool


LIMITS = {
    "few": (3, 1, False),
    "dear": (5, 2, False),
    "none": (0, 1, False),
    "dry": (2, 1, True),
    "wide": (9, 1, False),
}


def wanted(names: Sequence[tuple[str, str]]) -> list[Wanted]:
    return [Wanted(name, key, *LIMITS[name]) for name, key in dict(names).items()]


REQUESTS = st.lists(
    st.lists(st.tuples(st.sampled_from(list(LIMITS)), st.sampled_from(["a", "b"])), min_size=1, max_size=4).map(wanted),
    min_size=1,
    max_size=30,
)


def by_hand(requests: Sequence[Sequence[Wanted]]) -> list[bool]:
    """One after the other: all of its limits have enough left, or nothing is taken."""
    left: dict[tuple[str, str], int] = {}
    answers = []
    for request in requests:
        enough = {each: left.get((each.name, each.key), each.count) >= each.cost for each in request}
        answers.append(all(has or each.shadow for each, has in enough.items()))
        if answers[-1]:
            for each, has in enough.items():
                if has:
                    left[each.name, each.key] = left.get((each.name, each.key), each.count) - each.cost
    return answers


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(requests=REQUESTS)
def test_counting_by_hand(redis: RedisServer, requests: list[list[Wanted]]) -> None:
    """The script agrees with a pencil, in one batch and one by one."""

    async def answers(at_once: bool) -> list[bool]:
        async with running(redis.url) as store:
            calls = [
                asked(
                    store,
                    *(
                        charge(each.count, DAYS, key=each.key, name=each.name, cost=each.cost, shadow=each.shadow)
                        for each in request
                    ),
                )
                for request in requests
            ]
            verdicts = await asyncio.gather(*calls) if at_once else [await call for call in calls]
            assert 0 == store.failures
            return [verdict.admitted for verdict in verdicts]

    expected = by_hand(requests)

    assert expected == asyncio.run(answers(at_once=True))
    assert expected == asyncio.run(answers(at_once=False))
