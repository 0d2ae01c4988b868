"""Revoked tokens, remembered ones included, and what holds while nobody knows who is revoked."""

import pytest

from ext_authz.credentials import Authenticator
from ext_authz.jwt.cache import TokenCache
from ext_authz.jwt.revocation import MAX_STALE_S, Revocations
from policy.authz import JwtProvider
from policy.stores import RevocationList
from tests.unit.ext_authz.fixtures import Gate, any_of, authz_policy, bearer, check_request, jwt_method, token

SECRETS = {"redis": b"redis://127.0.0.1:6379/0"}


class Judge:
    """A policy with revocation, and the list that it looks at."""

    def __init__(self, **method: object) -> None:
        rules = any_of(jwt_method(revocation="revoked", **method))  # type: ignore[arg-type]
        self.gate = Gate(authz_policy(authentication=rules), SECRETS)
        self.revocations = Revocations()
        self.gate.authenticator = Authenticator(TokenCache(100), revocations=self.revocations)
        assert self.gate.policy.authentication is not None
        provider = self.gate.policy.authentication.methods[0]
        assert isinstance(provider, JwtProvider)
        assert provider.revocation is not None
        self.source: RevocationList = provider.revocation

    def revoke(self, *names: str) -> None:
        self.revocations.hold(self.source, frozenset(names), 0)

    def reason(self, text: str = "") -> str:
        return self.gate.reason(check_request(bearer(text or token())))


@pytest.mark.parametrize("sources", [(), ({"query": "token"},)])
@pytest.mark.parametrize("name", ["alice", "token-1"])
def test_revocation_ends_remembered_tokens(name: str, sources: tuple[dict[str, str], ...]) -> None:
    """A token that passed a moment ago is refused while its jti or sub is in the set."""
    judge = Judge(sources=sources)
    sent = token(jti="token-1")
    message = check_request(path=f"/?token={sent}") if sources else check_request(bearer(sent))
    judge.revoke()
    reasons = [judge.gate.reason(message)]
    judge.revoke(name, "somebody else")
    reasons.append(judge.gate.reason(message))
    judge.revoke("somebody else")
    reasons.append(judge.gate.reason(message))

    assert ["ok", "revoked", "ok"] == reasons


def test_revoked_answer() -> None:
    """A revoked token is a 401 that says so; no knowledge at all is a 503."""
    judge = Judge()
    unknown = judge.gate.check(check_request(bearer(token())))
    judge.revoke("alice")
    revoked = judge.gate.check(check_request(bearer(token())))

    assert (503, {"reason": "revocations"}) == (unknown.status, unknown.metadata)
    assert (401, "revoked") == (revoked.status, revoked.metadata["reason"])
    assert 'error="invalid_token"' in revoked.headers["www-authenticate"]


def test_token_that_could_not_be_revoked() -> None:
    """A token with neither jti nor sub is refused where tokens can be revoked."""
    judge = Judge()
    judge.revoke()
    texts = [token(sub=None), token(sub=None, jti="a"), token()]

    assert ["missing_claim", "ok", "ok"] == [judge.reason(each) for each in texts]


def test_too_old_a_set_is_forgotten() -> None:
    """The last set serves for the stated age, then nothing is known."""
    judge = Judge()
    judge.revocations.hold(judge.source, frozenset({"bob"}), 100)

    assert not judge.revocations.give_up_if_stale(judge.source, 100 + MAX_STALE_S)
    assert "ok" == judge.reason()
    assert judge.revocations.give_up_if_stale(judge.source, 100.1 + MAX_STALE_S)
    assert "revocations" == judge.reason()


def test_other_providers_are_not_concerned() -> None:
    """Without `revocation` nobody looks at any set."""
    gate = Gate(authz_policy(authentication=any_of(jwt_method())))

    assert "ok" == gate.reason(check_request(bearer(token())))
