"""CPU of one decision by kind of credential, from the message to the answer, without the transport."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from ext_authz.credentials import Authenticator
from ext_authz.decision import Allow, Now, decide
from ext_authz.jwt.cache import TokenCache
from ext_authz.limiter.memory import MemoryStore
from ext_authz.nonces import MemoryNonces
from ext_authz.request import parse
from ext_authz.response import Replies
from policy.authz import Inputs, compile_policy
from policy.signatures import SignedContent, Stamp, signature_headers
from protos.gateway.policy.v1 import authz_pb2
from tests.unit.ext_authz.fixtures import (
    NOW_S,
    SECRET,
    any_of,
    api_keys_method,
    api_keys_secret,
    authz_policy,
    bearer,
    check_request,
    jwk,
    jwks,
    jwt_method,
    rate_limit,
    rsa_key,
    signatures_method,
    token,
)

TOKENS = 400
CALLS = 50
"""Of a batch, which is short enough to be undisturbed now and then."""
BATCHES = 20
"""Of a round."""
CLIENT_SECRET = "the secret of billing, 32 bytes or more"


class Judge:
    """One policy, this method and two limits that never refuse: from the message to the answer."""

    def __init__(self, method: authz_pb2.Method, remembered_tokens: int = 100) -> None:
        limits = [
            rate_limit("per-client", 1_000_000, 1),
            rate_limit("per-user", 1_000_000, 1, key=[{"user": True}], before=False),
        ]
        clients = json.dumps([{"id": "billing", "secret": CLIENT_SECRET}]).encode()
        keys = jwks(jwk(rsa_key(), "one"))
        secrets = {"hmac": SECRET, "keys": api_keys_secret(acme={}), "clients": clients, "rsa": keys}
        self._policy = compile_policy(authz_policy(authentication=any_of(method), rate_limits=limits), Inputs(secrets))
        self._replies = Replies(self._policy)
        self._authenticator = Authenticator(TokenCache(remembered_tokens))
        self._store = MemoryStore(100_000)
        self._nonces = MemoryNonces(0, 10_000_000)

    def check(self, message: bytes) -> bytes:
        request = parse(message)
        now = Now(NOW_S, time.monotonic_ns() // 1000)
        decision = decide(self._policy, request, now, self._authenticator, self._store, self._nonces)
        assert isinstance(decision, Allow)
        return self._replies.allowed(decision, request)


def rs256(count: int) -> Sequence[bytes]:
    texts = (token(rsa_key(), "RS256", kid="one", jti=str(number)) for number in range(count))
    return [check_request(bearer(text), raw=True) for text in texts]


def signed() -> Iterator[bytes]:
    content = SignedContent("POST", "api.example", "/hooks?b=2&a=1", b"x" * 1024)
    number = 0
    while True:
        number += 1
        headers = signature_headers(
            CLIENT_SECRET.encode(), Stamp("billing", str(NOW_S), f"nonce-of-request-{number:09d}"), content
        )
        yield check_request(headers, path=content.path, method="POST", body=content.body, raw=True)


def cost_us(judge: Judge, messages: Iterator[bytes], rounds: int) -> float:
    """Of the best batch, in microseconds of CPU time a check: whatever disturbs a batch makes it dearer."""
    for _ in range(TOKENS):
        judge.check(next(messages))
    costs = []
    for _ in range(rounds * BATCHES):
        batch = [next(messages) for _ in range(CALLS)]
        began_ns = time.process_time_ns()
        for message in batch:
            judge.check(message)
        costs.append((time.process_time_ns() - began_ns) / CALLS / 1000)
    return min(costs)


@dataclass(frozen=True, slots=True)
class DecisionCosts:
    """Microseconds of CPU."""

    known_token: float
    first_sight: float
    """Of an RS256 token."""
    api_key: float
    signature: float
    """With a body of 1 KiB."""


def measure(rounds: int) -> DecisionCosts:
    """Known tokens and first sights are the same tokens, one after the other: of the first all are remembered."""
    rsa, tokens = jwt_method(algorithms=["RS256"], jwks="rsa"), rs256(TOKENS)
    api_key = check_request({"x-api-key": "key-of-acme"}, raw=True)
    return DecisionCosts(
        known_token=cost_us(Judge(rsa, remembered_tokens=TOKENS * 4), cycle(tokens), rounds),
        first_sight=cost_us(Judge(rsa, remembered_tokens=TOKENS // 4), cycle(tokens), rounds),
        api_key=cost_us(Judge(api_keys_method()), cycle([api_key]), rounds),
        signature=cost_us(Judge(signatures_method()), signed(), rounds),
    )
