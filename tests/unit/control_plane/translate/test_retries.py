"""Which tries are repeated for which methods."""

from datetime import timedelta

import pytest

from control_plane.config.model.routes import Retry
from control_plane.translate.retries import retries_by_method

SAFE = ("DELETE", "GET", "HEAD", "OPTIONS", "PUT")


def _split(retry: Retry | None, *methods: str) -> list[tuple[tuple[str, ...] | None, str | None]]:
    return [
        (item.methods, item.policy.retry_on if item.policy is not None else None)
        for item in retries_by_method(retry, methods)
    ]


BOTH = Retry(on=("connect-failure", "503"))
FULL, RESTRICTED = "connect-failure,retriable-status-codes", "connect-failure"


@pytest.mark.parametrize(
    ("retry", "methods", "expected"),
    [
        (None, (), [(None, None)]),
        (BOTH, (), [(SAFE, FULL), (None, RESTRICTED)]),
        (BOTH, ("GET",), [(("GET",), FULL)]),
        (BOTH, ("POST",), [(("POST",), RESTRICTED)]),
        (BOTH, ("POST", "GET"), [(("GET",), FULL), (("POST",), RESTRICTED)]),
        (Retry(on=("connect-failure",)), (), [(None, RESTRICTED)]),
        (Retry(on=("503",)), ("POST",), [(("POST",), None)]),
        (Retry(on=("503",), methods=("POST",)), (), [(("POST",), "retriable-status-codes"), (None, None)]),
        (Retry(on=("5xx", "unavailable")), ("GET",), [(("GET",), "5xx,unavailable")]),
    ],
)
def test_conditions_by_method(
    retry: Retry | None, methods: tuple[str, ...], expected: list[tuple[tuple[str, ...] | None, str | None]]
) -> None:
    """What failed before the request left is repeated for every method, the rest only where that is safe."""
    assert expected == _split(retry, *methods)


def test_a_try_that_takes_too_long_is_repeated() -> None:
    """per_try_timeout holds, and counts as a reset, where tries are repeated; elsewhere it would only cut short."""
    retry = Retry(on=("connect-failure", "503"), per_try_timeout=timedelta(seconds=1))
    repeated, others = (item.policy for item in retries_by_method(retry, ()))

    assert repeated is not None
    assert "connect-failure,reset,retriable-status-codes" == repeated.retry_on
    assert 1 == repeated.per_try_timeout.seconds
    assert others is not None
    assert not others.HasField("per_try_timeout")
