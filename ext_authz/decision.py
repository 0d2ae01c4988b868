"""The decision: policy x request x time -> Allow | Deny. Pure, except that buckets are charged by whoever drives it.

The order is fixed: address, limits that need no identity (refused credentials included), credentials, required claims,
limits that need an identity. All limits of one stage are charged together or not at all.
"""

from collections.abc import Generator, Sequence
from typing import NamedTuple

from ext_authz.credentials import Authenticator, check_requirements
from ext_authz.identity import Identity
from ext_authz.limiter.charges import Charge, Standing, Store, Verdict
from ext_authz.limiter.keys import charge
from ext_authz.nonces import MemoryNonces, NonceVerdict
from ext_authz.reasons import CredentialError, Reason
from ext_authz.request import Request
from ext_authz.signatures import NonceUse
from policy.authz import Policy
from policy.networks import IpRules, parse_address
from policy.quotas import Limit


class Now(NamedTuple):
    """One moment on both clocks: wall time for tokens, a clock that never goes back for limits."""

    unix_s: float
    monotonic_us: int


class Allow(NamedTuple):
    identity: Identity | None
    """None: public, or optional and not used."""
    standing: Standing | None
    """Of the limit with the least left."""
    would_refuse: tuple[Limit, ...] = ()
    would_deny: "Deny | None" = None
    """What this would be if the policy were not in shadow mode."""


class Deny(NamedTuple):
    reason: Reason
    identity: Identity | None = None
    standing: Standing | None = None
    method: str = ""
    """The authentication method whose credential was refused."""
    would_refuse: tuple[Limit, ...] = ()


Decision = Allow | Deny
Step = Sequence[Charge] | NonceUse
"""What a store has to be asked: the charges of one stage, or whether a nonce is new."""
Steps = Generator[Step, Verdict | NonceVerdict, Decision]
"""Yields steps, is sent what became of each (a Verdict for charges), returns the decision."""


def decide(
    policy: Policy,
    request: Request,
    now: Now,
    authenticator: Authenticator,
    store: Store,
    nonces: MemoryNonces | None = None,
) -> Decision:
    """Decide with stores that answer at once; without one for nonces no signed request passes."""
    steps = decision_steps(policy, request, now, authenticator)
    try:
        step = next(steps)
        while True:
            if not isinstance(step, NonceUse):
                step = steps.send(store.charge(step, now.monotonic_us))
            elif nonces is None or step.store is not None:
                step = steps.send(NonceVerdict.UNKNOWN)
            else:
                step = steps.send(nonces.use_at(step, now.unix_s))
    except StopIteration as stop:
        decision: Decision = stop.value
        return decision


def decision_steps(policy: Policy, request: Request, now: Now, authenticator: Authenticator) -> Steps:
    """The decision, stopping where a store has to be asked."""
    steps = _enforced(policy, request, now, authenticator)
    return _in_shadow(steps) if policy.shadow else steps


def _in_shadow(steps: Steps) -> Steps:
    """Whoever would be denied passes, as whom it was proven to be, and hears nothing of it."""
    decision = yield from steps
    if isinstance(decision, Allow):
        return decision
    return Allow(decision.identity, None, decision.would_refuse, decision)


def _enforced(policy: Policy, request: Request, now: Now, authenticator: Authenticator) -> Steps:
    if not request.path.startswith("/"):
        return Deny(Reason.BAD_PATH)
    if policy.ip and not _admitted(policy.ip, request.client_ip):
        return Deny(Reason.ADDRESS)
    standing: Standing | None = None
    shadowed: tuple[Limit, ...] = ()
    if policy.limits_before:
        verdict = yield [charge(limit, request, None) for limit in policy.limits_before]
        assert isinstance(verdict, Verdict)
        standing, shadowed = verdict.standing, verdict.would_refuse
        if not verdict.admitted:
            return Deny(_refusal(verdict), None, standing, would_refuse=shadowed)
    identity: Identity | None = None
    rules = policy.authentication
    if rules is not None:
        nonces: list[NonceUse] = []
        try:
            identity = authenticator.authenticate(rules, request, now.unix_s, nonces)
        except CredentialError as error:
            return Deny(error.reason, None, standing, error.method, shadowed)
        for nonce in nonces:
            freshness = yield nonce
            if freshness is not NonceVerdict.FIRST_USE:
                reason = Reason.REPLAY if freshness is NonceVerdict.REPLAY else Reason.STORE
                return Deny(reason, None, standing, nonce.method, shadowed)
        if not check_requirements(rules, identity):
            return Deny(Reason.INSUFFICIENT_CLAIMS, identity, standing, would_refuse=shadowed)
    if policy.limits_after:
        verdict = yield [charge(limit, request, identity) for limit in policy.limits_after]
        assert isinstance(verdict, Verdict)
        shadowed += verdict.would_refuse
        if not verdict.admitted:
            return Deny(_refusal(verdict), identity, verdict.standing, would_refuse=shadowed)
        standing = _tighter(standing, verdict.standing)
    return Allow(identity, standing, shadowed)


def _refusal(verdict: Verdict) -> Reason:
    return Reason.STORE if verdict.unavailable else Reason.RATE_LIMIT


def _admitted(rules: Sequence[IpRules], client_ip: str) -> bool:
    """Every rule set has to let the address pass; what is no address passes none."""
    address = parse_address(client_ip)
    return address is not None and all(each.admits(address) for each in rules)


def _tighter(one: Standing | None, other: Standing | None) -> Standing | None:
    if one is None or other is None:
        return one or other
    return one if one.remaining <= other.remaining else other
