"""The policies in force: what xDS brought, compiled; nothing that does not compile ever gets in.

Pure state; `ext_authz.service` waits for what is not there yet.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ext_authz.response import Replies
from policy.authz import Inputs, JwtProvider, Method, Policy, Signatures, compile_policy
from policy.errors import PolicyError
from policy.stores import RedisAddress, RevocationList
from protos.gateway.policy.v1 import authz_pb2

POLICY_TYPE = "type.googleapis.com/meetinity.gateway.policy.v1.AuthzPolicy"
GRACE_S = 30.0
"""A removed policy still answers for requests whose Envoy has not seen its new routes."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPolicy:
    policy: Policy
    replies: Replies
    body: bytes
    """As it came; a policy is immutable, so another body under this name is a mistake."""


class PolicyStore:
    """Secrets and policies by name. An update is taken whole or refused whole."""

    def __init__(self, share: int = 1) -> None:
        """
        Args:
            share: how many worker processes divide the memory limits among themselves.
        """
        self._share = share
        self._secrets: Mapping[str, bytes] = {}
        self._policies: Mapping[str, LoadedPolicy] = {}
        self._leaving: dict[str, float] = {}
        self._methods: Mapping[bytes, Method] = {}
        self._domains: Mapping[str, LoadedPolicy] = {}

    def get(self, name: str) -> LoadedPolicy | None:
        return self._policies.get(name)

    def __len__(self) -> int:
        return len(self._policies) - len(self._leaving)

    @property
    def methods(self) -> Mapping[bytes, Method]:
        """Every method of a policy in force, by digest."""
        return self._methods

    def domain(self, name: str) -> LoadedPolicy | None:
        """The policy that holds all limits of a gateway."""
        return self._domains.get(name)

    @property
    def redis_addresses(self) -> frozenset[RedisAddress]:
        """Every Redis that a policy in force keeps its buckets in."""
        addresses = (each.policy.rate_limit_store for each in self._policies.values())
        return frozenset(address for address in addresses if address is not None)

    @property
    def nonce_stores(self) -> frozenset[RedisAddress]:
        """Every Redis that a policy in force keeps nonces in."""
        methods = self._methods.values()
        return frozenset(each.nonce_store for each in methods if isinstance(each, Signatures) and each.nonce_store)

    @property
    def revocation_lists(self) -> frozenset[RevocationList]:
        """Every set of revoked tokens that a policy in force looks at."""
        methods = self._methods.values()
        return frozenset(each.revocation for each in methods if isinstance(each, JwtProvider) and each.revocation)

    def update_secrets(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        """Policies that were compiled keep the secret they were compiled with."""
        kept = {name: secret for name, secret in self._secrets.items() if name not in removed}
        self._secrets = {**kept, **changed}

    def update_policies(self, changed: Mapping[str, bytes], removed: Collection[str], now_s: float) -> None:
        """Compile what changed and let go of what was removed `GRACE_S` later.

        Args:
            changed: serialised AuthzPolicy by resource name.
            now_s: of a clock that never goes back.

        Raises:
            PolicyError: every policy that does not compile, with the reason; nothing was changed.
        """
        inputs = Inputs(self._secrets, self._share, dict(self._methods))
        loaded: dict[str, LoadedPolicy] = {}
        faults: list[str] = []
        for name, body in changed.items():
            try:
                loaded[name] = self._loaded(name, body, inputs)
            except PolicyError as error:
                faults.append(f"{name}: {error}")
        if faults:
            raise PolicyError("; ".join(faults))
        for name in changed:
            self._leaving.pop(name, None)
        for name in removed:
            if name in self._policies:
                self._leaving.setdefault(name, now_s + GRACE_S)
        self._policies = {**self._policies, **loaded}
        self.expire(now_s)

    def expire(self, now_s: float) -> None:
        """Forget removed policies whose grace is over, and what only they used."""
        gone = {name for name, until_s in self._leaving.items() if until_s <= now_s}
        for name in gone:
            del self._leaving[name]
        self._policies = {name: each for name, each in self._policies.items() if name not in gone}
        self._domains = {
            each.policy.rate_limit_domain: each
            for name, each in self._policies.items()
            if each.policy.rate_limit_domain and name not in self._leaving
        }
        self._methods = {
            method.digest: method
            for each in self._policies.values()
            if each.policy.authentication is not None
            for method in each.policy.authentication.methods
        }

    def _loaded(self, name: str, body: bytes, inputs: Inputs) -> LoadedPolicy:
        known = self._policies.get(name)
        if known is not None:
            if known.body != body:
                raise PolicyError("a policy of this name with another content is in force")
            return known
        try:
            message = authz_pb2.AuthzPolicy.FromString(body)
        except Exception as error:  # protobuf's DecodeError, whose base class varies by implementation
            raise PolicyError("no AuthzPolicy") from error
        if message.name != name:
            raise PolicyError(f"it calls itself {message.name!r}")
        policy = compile_policy(message, inputs)
        return LoadedPolicy(policy, Replies(policy), body)
