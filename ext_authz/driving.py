"""Drives a decision whose buckets are elsewhere; the rules themselves are `decision.decision_steps`, as for memory."""

from ext_authz.credentials import Authenticator
from ext_authz.decision import Decision, Now, decision_steps
from ext_authz.limiter.charges import AsyncStore, Verdict
from ext_authz.nonces import MemoryNonces, NonceStore, NonceVerdict
from ext_authz.request import Request
from ext_authz.signatures import NonceUse
from policy.authz import Policy


async def decide_shared(
    policy: Policy,
    request: Request,
    now: Now,
    authenticator: Authenticator,
    store: AsyncStore,
    nonces: MemoryNonces | None = None,
    shared_nonces: NonceStore | None = None,
) -> Decision:
    """As `decision.decide`, waiting where the store has to be asked."""
    steps = decision_steps(policy, request, now, authenticator)
    try:
        step = next(steps)
        while True:
            if isinstance(step, NonceUse):
                step = steps.send(await _freshness(step, now, nonces, shared_nonces))
                continue
            verdict = store.charge(step, now.monotonic_us)
            step = steps.send(verdict if isinstance(verdict, Verdict) else await verdict)
    except StopIteration as stop:
        decision: Decision = stop.value
        return decision


async def _freshness(
    nonce: NonceUse, now: Now, nonces: MemoryNonces | None, shared_nonces: NonceStore | None
) -> NonceVerdict:
    """Whether it is used for the first time; without the store that has to know, nobody can tell."""
    if nonce.store is not None:
        return NonceVerdict.UNKNOWN if shared_nonces is None else await shared_nonces.use(nonce)
    return NonceVerdict.UNKNOWN if nonces is None else nonces.use_at(nonce, now.unix_s)
