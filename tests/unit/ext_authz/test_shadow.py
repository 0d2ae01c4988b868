"""Policies in shadow mode: nothing is refused, everything that would be is told to operators and to nobody else."""

import pytest

from ext_authz.decision import Allow
from tests.unit.ext_authz.fixtures import (
    Gate,
    any_of,
    authz_policy,
    bearer,
    check_request,
    jwt_method,
    rate_limit,
    token,
)

REQUIRED = any_of(jwt_method(forward_claims={"sub": "x-user"}), required_claims={"roles": ["admin"]})


def gate(shadow: bool = True) -> Gate:
    limits = [rate_limit(count=1)]
    ip: list[tuple[list[str], list[str]]] = [([], ["203.0.113.66"])]
    return Gate(
        authz_policy(authentication=REQUIRED, rate_limits=limits, ip=ip, identity_headers=["x-user"], shadow=shadow)
    )


@pytest.mark.parametrize(
    ("headers", "client_ip", "reason"),
    [
        ({}, "203.0.113.7", "no_credential"),
        (bearer("rubbish"), "203.0.113.7", "malformed_token"),
        (bearer(token()), "203.0.113.7", "insufficient_claims"),
        (bearer(token(roles=["admin"])), "203.0.113.66", "address"),
    ],
)
def test_what_would_be_denied_passes(headers: dict[str, str], client_ip: str, reason: str) -> None:
    """It passes as the one it was proven to be, without a word to the caller; the reason is kept for operators."""
    decision = gate().decide(check_request(headers, client_ip=client_ip))
    answer = gate().check(check_request(headers, client_ip=client_ip))

    assert reason == gate(shadow=False).reason(check_request(headers, client_ip=client_ip))
    assert isinstance(decision, Allow)
    assert decision.would_deny is not None
    assert reason == decision.would_deny.reason.label
    assert (200, {}, reason) == (answer.status, answer.headers, answer.metadata["shadow_reason"])
    assert ("x-user" in answer.upstream) is (reason == "insufficient_claims")
    assert ("x-user" in answer.removed) is (reason != "insufficient_claims")


def test_limit_of_a_shadow_policy() -> None:
    """A limit counts on, and refuses nobody."""
    tried = gate()
    answers = [tried.check(check_request(bearer(token(roles=["admin"])))) for _ in range(2)]

    assert [200, 200] == [answer.status for answer in answers]
    assert [None, "rate_limit"] == [answer.metadata.get("shadow_reason") for answer in answers]


def test_who_may_pass_passes_as_ever() -> None:
    """Nothing is counted for a request that the policy allows."""
    decision = gate().decide(check_request(bearer(token(roles=["admin"]))))

    assert isinstance(decision, Allow)
    assert decision.would_deny is None
