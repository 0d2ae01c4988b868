"""envoy.service.ratelimit.v3.RateLimitService: the gateway's limits for Envoys that use their own `ratelimit` filter.

The domain is the gateway's name, a descriptor is a limit and the values of its key (limiter/descriptors.py). Buckets
are those of ext_authz. What is not understood is an error of the call, which the filter's `failure_mode_deny` judges;
no request is let pass silently because of a misspelt name.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.ratelimit.v3 import rls_pb2
from google.protobuf.message import DecodeError

from ext_authz.limiter.charges import Charge, Standing, Verdict
from ext_authz.limiter.descriptors import Descriptor, UnknownLimitError, charges
from ext_authz.policies import LoadedPolicy
from ext_authz.response import LimitHeader
from gateway_runtime.http2.connection import Call, Open
from gateway_runtime.http2.methods import Unary
from policy.authz import Policy

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
_UNITS_US = {
    rls_pb2.RateLimitResponse.RateLimit.SECOND: 1_000_000,
    rls_pb2.RateLimitResponse.RateLimit.MINUTE: 60_000_000,
    rls_pb2.RateLimitResponse.RateLimit.HOUR: 3_600_000_000,
    rls_pb2.RateLimitResponse.RateLimit.DAY: 86_400_000_000,
}
Charger = Callable[[Policy, Sequence[Charge], int], Verdict | Awaitable[Verdict]]
"""Charges the buckets of a policy, wherever they are."""


class RateLimits:
    """Answers ShouldRateLimit."""

    def __init__(
        self,
        domain: Callable[[str], LoadedPolicy | None],
        charger: Charger,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Args:
            domain: the policy that holds all limits of a gateway.
        """
        self._domain = domain
        self._charger = charger
        self._monotonic_ns = monotonic_ns
        self.answers: dict[str, int] = {"ok": 0, "over_limit": 0, "unavailable": 0, "error": 0}

    def methods(self) -> Mapping[str, Open]:
        """For `Http2Server`."""
        return {METHOD: Unary(self.should_rate_limit)}

    async def should_rate_limit(self, message: bytes, call: Call) -> bytes:
        """A serialised RateLimitRequest in, a serialised RateLimitResponse out."""
        try:
            request = rls_pb2.RateLimitRequest.FromString(message)
        except DecodeError:
            return self._failed(call, grpc.StatusCode.INVALID_ARGUMENT, "no RateLimitRequest")
        loaded = self._domain(request.domain)
        if loaded is None:
            return self._failed(call, grpc.StatusCode.NOT_FOUND, f"no gateway {request.domain!r}, or it has no limits")
        policy = loaded.policy
        limits = {limit.name: limit for limit in (*policy.limits_before, *policy.limits_after)}
        try:
            wanted = charges(_descriptors(request), limits)
        except UnknownLimitError as error:
            return self._failed(call, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        asked = [charge for charge in wanted if charge is not None]
        verdict = self._charger(policy, asked, self._monotonic_ns() // 1000) if asked else Verdict(True, None)
        if not isinstance(verdict, Verdict):
            verdict = await verdict
        if verdict.unavailable:
            self.answers["unavailable"] += 1
            return self._failed(call, grpc.StatusCode.UNAVAILABLE, "the store is away, and a limit says to deny then")
        self.answers["ok" if verdict.admitted else "over_limit"] += 1
        return _response(wanted, verdict).SerializeToString()

    def _failed(self, call: Call, code: grpc.StatusCode, text: str) -> bytes:
        self.answers["error"] += code is not grpc.StatusCode.UNAVAILABLE
        call.finish(code.value[0], text)
        return b""


def _descriptors(request: rls_pb2.RateLimitRequest) -> list[Descriptor]:
    hits = request.hits_addend or 1
    return [
        Descriptor(
            {entry.key: entry.value for entry in each.entries},
            each.hits_addend.value if each.HasField("hits_addend") else hits,
        )
        for each in request.descriptors
    ]


def _response(wanted: Sequence[Charge | None], verdict: Verdict) -> rls_pb2.RateLimitResponse:
    """Only the limit that the verdict is about tells its state: the tightest, or the one to wait longest for."""
    code = rls_pb2.RateLimitResponse.OK if verdict.admitted else rls_pb2.RateLimitResponse.OVER_LIMIT
    response = rls_pb2.RateLimitResponse(overall_code=code)
    stands = verdict.standing
    for charge in wanted:
        status = response.statuses.add(code=rls_pb2.RateLimitResponse.OK)
        if stands is not None and charge is not None and charge.limit is stands.limit:
            status.code = code
            status.limit_remaining = min(stands.remaining, 2**32 - 1)
            status.duration_until_reset.FromSeconds(_seconds(stands.reset_us))
            _describe(status.current_limit, stands)
    if stands is not None:
        header = LimitHeader(stands.limit, stands.quota)
        headers = [("ratelimit", header.value(stands)), ("ratelimit-policy", header.policy)]
        if not verdict.admitted and (stands.limit.cost <= stands.quota.burst or not stands.quota.interval_us):
            # Who asks for more at once than a full bucket holds need not come back.
            headers.append(("retry-after", b"%d" % max(1, _seconds(stands.retry_after_us))))
        response.response_headers_to_add.extend(
            base_pb2.HeaderValue(key=name, value=value.decode()) for name, value in headers
        )
    return response


def _describe(current: rls_pb2.RateLimitResponse.RateLimit, stands: Standing) -> None:
    """The rate in the smallest unit in which it is a whole number; Envoy writes it into its X-RateLimit headers."""
    current.name = stands.limit.name
    interval_us = stands.quota.interval_us
    if not interval_us:
        return
    unit, length_us = next(
        ((unit, length_us) for unit, length_us in _UNITS_US.items() if length_us >= interval_us),
        (rls_pb2.RateLimitResponse.RateLimit.DAY, _UNITS_US[rls_pb2.RateLimitResponse.RateLimit.DAY]),
    )
    current.unit = unit
    current.requests_per_unit = min(max(1, round(length_us / interval_us)), 2**32 - 1)


def _seconds(microseconds: int) -> int:
    return -(-microseconds // 1_000_000)
