"""What xDS brings -> the policy store and the cache; a fault becomes the NACK's reason."""

from collections.abc import Callable, Collection, Mapping

from ext_proc.cache.session import Cache
from ext_proc.policies import PolicyStore
from gateway_runtime.telemetry import logger
from gateway_runtime.xds_client import Rejected
from policy.errors import PolicyError
from policy.purge import Purge, compile_purge
from protos.gateway.policy.v1 import cache_purge_pb2

PURGE_TYPE = "type.googleapis.com/meetinity.gateway.policy.v1.CachePurge"
POLICY_TYPE = "type.googleapis.com/meetinity.gateway.policy.v1.ProcessingPolicy"


class PolicySink:
    def __init__(self, store: PolicyStore, monotonic_s: Callable[[], float]) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._log = logger("policies")

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        try:
            self._store.update(changed, removed, self._monotonic_s())
        except PolicyError as error:
            raise Rejected(str(error)) from error
        self._log.info("policies_updated", changed=len(changed), removed=len(removed), policies=len(self._store))


class PurgeSink:
    """Purges are done while they are applied: the ACK says so. What goes away was done long ago."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._log = logger("purges")

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        try:
            purges = {name: _compiled(name, body) for name, body in changed.items()}
        except PolicyError as error:
            raise Rejected(str(error)) from error
        for name, what in purges.items():
            self._log.info("cache_purged", purge=name, entries=self._cache.purge(what))


def _compiled(name: str, body: bytes) -> Purge:
    try:
        message = cache_purge_pb2.CachePurge.FromString(body)
    except Exception as error:  # protobuf's DecodeError, whose base class varies by implementation
        raise PolicyError(f"{name}: no CachePurge") from error
    return compile_purge(message)
