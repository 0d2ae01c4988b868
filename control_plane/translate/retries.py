"""Retries: which tries are repeated for which methods.

A try that failed before the request left may be repeated for every method; anything else only for methods that are
safe to repeat. One Envoy retry policy holds for all requests of a route (`retriable_request_headers` switches all of
it off, not a part), so a route whose conditions differ by method becomes two Envoy routes, the first with a match on
the safe methods.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.config.model.routes import Retry
from control_plane.translate.messages import duration, packed

BEFORE_THE_REQUEST_LEFT = frozenset({"connect-failure", "refused-stream"})
_OTHER_HOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class MethodRetry:
    """A retry policy and the methods it is for."""

    methods: tuple[str, ...] | None
    """None: every method that is left."""
    policy: route_components_pb2.RetryPolicy | None


def retries_by_method(retry: Retry | None, methods: tuple[str, ...]) -> Iterator[MethodRetry]:
    """Split a route by what is retried.

    Args:
        retry: the route's retries.
        methods: what the route matches; empty for every method.

    Yields:
        One item, or two of which the first is for the methods that are safe to repeat.
    """
    every = tuple(sorted(set(methods))) or None
    if retry is None:
        yield MethodRetry(every, None)
        return
    full, restricted = retry_policy(retry, repeatable=True), retry_policy(retry, repeatable=False)
    repeatable = tuple(sorted(m for m in set(retry.methods) if every is None or m in every))
    if full == restricted or not repeatable:
        yield MethodRetry(every, restricted)
        return
    yield MethodRetry(repeatable, full)
    rest = None if every is None else tuple(method for method in every if method not in repeatable)
    if rest != ():
        yield MethodRetry(rest, restricted)


def retry_policy(retry: Retry, *, repeatable: bool) -> route_components_pb2.RetryPolicy | None:
    """Envoy's policy for methods that may be repeated, or for the others; None where nothing is retried."""
    wanted = [condition for condition in retry.on if repeatable or condition in BEFORE_THE_REQUEST_LEFT]
    codes = sorted({int(condition) for condition in wanted if condition.isdigit()})
    conditions = {condition for condition in wanted if not condition.isdigit()}
    if codes:
        conditions.add("retriable-status-codes")
    if repeatable and retry.per_try_timeout is not None:
        # Envoy treats a try that ran out of time as a reset.
        conditions.add("reset")
    if not conditions:
        return None
    policy = route_components_pb2.RetryPolicy(
        retry_on=",".join(sorted(conditions)),
        num_retries=UInt32Value(value=retry.attempts),
        retriable_status_codes=codes,
        # Where there is another endpoint, do not ask the one that has just failed.
        retry_host_predicate=[
            route_components_pb2.RetryPolicy.RetryHostPredicate(
                name="envoy.retry_host_predicates.previous_hosts",
                typed_config=packed(previous_hosts_pb2.PreviousHostsPredicate()),
            )
        ],
        host_selection_retry_max_attempts=_OTHER_HOST_ATTEMPTS,
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=duration(retry.base_backoff), max_interval=duration(retry.max_backoff)
        ),
    )
    if repeatable and retry.per_try_timeout is not None:
        # For the other methods it would cut a try short that nothing repeats.
        policy.per_try_timeout.CopyFrom(duration(retry.per_try_timeout))
    return policy
