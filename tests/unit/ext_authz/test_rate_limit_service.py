"""envoy.service.ratelimit.v3 without a network: what is answered, and which calls are errors."""

from collections.abc import Mapping, Sequence

import grpc
import pytest
from envoy.service.ratelimit.v3 import rls_pb2
from hypothesis import given
from hypothesis import strategies as st

from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.limiter.memory import MemoryStore
from ext_authz.policies import PolicyStore
from ext_authz.rate_limit_service import RateLimits
from policy.authz import Policy
from tests.unit.ext_authz.fixtures import authz_policy, rate_limit

OK, OVER_LIMIT = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT


class Call:
    """Remembers how it ended."""

    def __init__(self) -> None:
        self.status: tuple[int, str] | None = None

    def finish(self, status: int = 0, text: str = "") -> None:
        self.status = (status, text)


class Service:
    """The limits `few` (3 an hour by tenant), `all` (5 an hour) and `none` (0) of the gateway `shop`."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        limits = [
            rate_limit("few", 3, 3600, key=[{"header": "x-tenant"}]),
            rate_limit("all", 5, 3600, key=[]),
            rate_limit("none", 0, 3600, key=[]),
        ]
        message = authz_policy("limits", rate_limits=limits)
        message.rate_limit_domain = "shop"
        policies, store = PolicyStore(), MemoryStore(100)
        policies.update_policies({"limits": message.SerializeToString()}, (), 0.0)

        def charge(_policy: Policy, charges: Sequence[Charge], now_us: int) -> Verdict:
            return verdict or store.charge(charges, now_us)

        self.limits = RateLimits(policies.domain, charge, lambda: 10**15)

    async def ask(
        self, *descriptors: Mapping[str, str], domain: str = "shop", hits: int = 0
    ) -> rls_pb2.RateLimitResponse | tuple[int, str]:
        request = rls_pb2.RateLimitRequest(domain=domain, hits_addend=hits)
        for each in descriptors:
            entries = request.descriptors.add().entries
            for key, value in each.items():
                entries.add(key=key, value=value)
        return await self.send(request.SerializeToString())

    async def send(self, message: bytes) -> rls_pb2.RateLimitResponse | tuple[int, str]:
        call = Call()
        answer = await self.limits.should_rate_limit(message, call)  # type: ignore[arg-type]
        return call.status or rls_pb2.RateLimitResponse.FromString(answer)


def few(tenant: str = "blue") -> dict[str, str]:
    return {"limit": "few", "header:x-tenant": tenant}


def headers(answer: object) -> dict[str, str]:
    assert isinstance(answer, rls_pb2.RateLimitResponse)
    return {each.key: each.value for each in answer.response_headers_to_add}


def code(answer: object) -> int:
    assert isinstance(answer, rls_pb2.RateLimitResponse)
    return answer.overall_code


async def test_a_limit_counts() -> None:
    """So many pass, then the answer is over the limit and says when to come back; another tenant is not concerned."""
    service = Service()
    answers = [await service.ask(few()) for _ in range(4)]

    assert [OK, OK, OK, OVER_LIMIT] == [code(each) for each in answers]
    assert OK == code(await service.ask(few("red")))
    assert {"ratelimit": '"few";r=0;t=1200', "ratelimit-policy": '"few";q=3;w=3600', "retry-after": "1200"} == headers(
        answers[-1]
    )
    assert {"ok": 4, "over_limit": 1, "unavailable": 0, "error": 0} == service.limits.answers


async def test_descriptors_are_charged_together() -> None:
    """What one limit refuses costs the others nothing; the one that refuses tells its state."""
    service = Service()
    for _ in range(3):
        await service.ask(few())
    answer = await service.ask({"limit": "all"}, few())
    left = [code(await service.ask({"limit": "all"})) for _ in range(6)]

    assert isinstance(answer, rls_pb2.RateLimitResponse)
    assert [OK, OVER_LIMIT] == [each.code for each in answer.statuses]
    assert [OK] * 5 + [OVER_LIMIT] == left


async def test_hits() -> None:
    """They multiply the cost; more than a bucket ever holds is refused without a time to come back."""
    service = Service()
    too_many = await service.ask(few(), hits=4)

    assert OVER_LIMIT == code(too_many)
    assert "retry-after" not in headers(too_many)
    assert OVER_LIMIT == code(await service.ask(few(), hits=2**32 - 1))
    assert [OK, OVER_LIMIT] == [code(await service.ask(few(), hits=2)) for _ in range(2)]


async def test_nothing_ever_passes_a_limit_of_zero() -> None:
    """0 an hour is a refusal."""
    assert OVER_LIMIT == code(await Service().ask({"limit": "none"}))


@pytest.mark.parametrize(
    ("descriptor", "domain", "status"),
    [
        ({"limit": "few"}, "nobody", grpc.StatusCode.NOT_FOUND),
        ({"limit": "few"}, "", grpc.StatusCode.NOT_FOUND),
        ({"limit": "fwe"}, "shop", grpc.StatusCode.INVALID_ARGUMENT),
        ({"header:x-tenant": "blue"}, "shop", grpc.StatusCode.INVALID_ARGUMENT),
        ({}, "shop", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_what_is_misspelt_is_an_error(descriptor: dict[str, str], domain: str, status: grpc.StatusCode) -> None:
    """An unknown gateway or limit never means "not limited"."""
    answer = await Service().ask(descriptor, domain=domain)

    assert isinstance(answer, tuple)
    assert status.value[0] == answer[0]


async def test_a_store_that_is_away() -> None:
    """on_store_error: deny is an error of the call, which the filter's failure_mode_deny judges."""
    answer = await Service(Verdict(False, None, unavailable=True)).ask(few())

    assert isinstance(answer, tuple)
    assert grpc.StatusCode.UNAVAILABLE.value[0] == answer[0]


@given(st.binary(max_size=200))
def test_any_bytes(message: bytes) -> None:
    """They are a request, or an error of the call."""
    coroutine = Service().send(message)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)

    assert isinstance(stopped.value.value, tuple) or OK == code(stopped.value.value)
