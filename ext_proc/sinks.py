"""What xDS brings -> the policy store; a fault becomes the NACK's reason."""

from collections.abc import Callable, Collection, Mapping

from ext_proc.policies import PolicyStore
from gateway_runtime.telemetry import logger
from gateway_runtime.xds_client import Rejected
from policy.errors import PolicyError

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
