"""What xDS brings -> the stores that policies name, and the cache; a fault becomes the NACK's reason."""

from collections.abc import Collection, Mapping

from ext_proc.cache.cache import Cache
from ext_proc.policies import PolicyStore
from ext_proc.redis_stores import RedisStores
from gateway_runtime.telemetry import logger
from gateway_runtime.xds_client import Rejected
from policy.errors import PolicyError
from policy.processing import StoreName
from policy.purge import Purge, compile_purge
from policy.stores import RedisAddress, redis_address
from protos.gateway.policy.v1 import authz_pb2, cache_purge_pb2

PURGE_TYPE = "type.googleapis.com/meetinity.gateway.policy.v1.CachePurge"
POLICY_TYPE = "type.googleapis.com/meetinity.gateway.policy.v1.ProcessingPolicy"


class Stores:
    """Which Redis each policy in force means: Secrets by name come before the policies that name them."""

    def __init__(self, policies: PolicyStore, stores: RedisStores) -> None:
        self._policies = policies
        self._stores = stores
        self._secrets: dict[str, bytes] = {}
        self._unusable: set[StoreName] = set()
        self._log = logger("policies")

    def update_secrets(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        for name in removed:
            self._secrets.pop(name, None)
        self._secrets.update(changed)

    def refresh(self) -> None:
        """Open what is named; a policy whose Redis is unknown keeps its responses in memory, and the log says so."""
        addresses: dict[StoreName, RedisAddress] = {}
        known, self._unusable = self._unusable, set()
        for name in sorted(self._policies.store_names, key=lambda name: (name.secret, name.prefix)):
            try:
                message = authz_pb2.RedisStore(url_secret=name.secret, prefix=name.prefix)
                addresses[name] = redis_address(message, self._secrets)
            except PolicyError as error:
                self._unusable.add(name)
                if name not in known:
                    self._log.error("cache_store_unusable", reason=str(error))
        self._stores.want(addresses)


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
            self._log.info("cache_purged", purge=name, entries=self._cache.purge(name, what))


def _compiled(name: str, body: bytes) -> Purge:
    try:
        message = cache_purge_pb2.CachePurge.FromString(body)
    except Exception as error:  # protobuf's DecodeError, whose base class varies by implementation
        raise PolicyError(f"{name}: no CachePurge") from error
    return compile_purge(message)
