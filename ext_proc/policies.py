"""The policies in force: what xDS brought, compiled; nothing that does not compile ever gets in. Pure state."""

from collections.abc import Collection, Mapping

from policy.errors import PolicyError
from policy.processing import Processing, StoreName, compile_policy
from protos.gateway.policy.v1 import processing_pb2

GRACE_S = 30.0
"""A removed policy still answers for requests whose Envoy has not seen its new routes."""


class PolicyStore:
    """Compiled policies by resource name. An update is taken whole or refused whole."""

    def __init__(self) -> None:
        self._policies: dict[str, Processing] = {}
        self._leaving: dict[str, float] = {}

    def get(self, name: str) -> Processing | None:
        return self._policies.get(name)

    def __len__(self) -> int:
        return len(self._policies) - len(self._leaving)

    @property
    def store_names(self) -> frozenset[StoreName]:
        """Every shared store that a policy in force names."""
        rules = (policy.cache for policy in self._policies.values())
        return frozenset(each.store for each in rules if each is not None and each.store is not None)

    def update_policies(self, changed: Mapping[str, bytes], removed: Collection[str], now_s: float) -> None:
        """Compile what changed and let go of what was removed GRACE_S later.

        Args:
            changed: serialised ProcessingPolicy by resource name.
            now_s: of a clock that never goes back.

        Raises:
            PolicyError: every policy that does not compile, with the reason; nothing was changed.
        """
        compiled: dict[str, Processing] = {}
        faults: list[str] = []
        for name, body in changed.items():
            try:
                compiled[name] = _compiled(name, body)
            except PolicyError as error:
                faults.append(str(error))
        if faults:
            raise PolicyError("; ".join(faults))
        self._policies.update(compiled)
        for name in changed:
            self._leaving.pop(name, None)
        for name in removed:
            if name in self._policies:
                self._leaving.setdefault(name, now_s + GRACE_S)
        self.expire(now_s)

    def expire(self, now_s: float) -> None:
        """Forget removed policies whose grace is over."""
        for name in [name for name, until_s in self._leaving.items() if until_s <= now_s]:
            del self._leaving[name]
            del self._policies[name]


def _compiled(name: str, body: bytes) -> Processing:
    try:
        message = processing_pb2.ProcessingPolicy.FromString(body)
    except Exception as error:  # protobuf's DecodeError, whose base class varies by implementation
        raise PolicyError(f"{name}: no ProcessingPolicy") from error
    if message.name != name:
        raise PolicyError(f"{name}: it calls itself {message.name!r}")
    return compile_policy(message)
