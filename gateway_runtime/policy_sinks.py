"""What xDS brings to a service that enforces policies -> its store; a fault becomes the NACK's reason."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf.message import DecodeError

from gateway_runtime.delta import Rejected
from gateway_runtime.telemetry import logger
from policy.errors import PolicyError

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


class Secrets(Protocol):
    """What keeps generic secrets by name."""

    def update_secrets(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None: ...


class Policies(Protocol):
    """The policies in force."""

    def __len__(self) -> int: ...

    def update_policies(self, changed: Mapping[str, bytes], removed: Collection[str], now_s: float) -> None:
        """
        Args:
            changed: serialised messages by name.
            now_s: of a clock that never goes back.

        Raises:
            PolicyError: every policy that does not compile, with the reason; nothing was changed.
        """


class SecretSink:
    """Generic secrets; TLS material is none of ours."""

    def __init__(self, store: Secrets) -> None:
        self._store = store

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        secrets: dict[str, bytes] = {}
        for name, body in changed.items():
            try:
                secret = secret_pb2.Secret.FromString(body)
            except DecodeError:
                raise Rejected(f"{name}: no Secret") from None
            if secret.WhichOneof("type") == "generic_secret":
                source = secret.generic_secret.secret
                secrets[name] = source.inline_bytes or source.inline_string.encode()
        self._store.update_secrets(secrets, removed)


class PolicySink:
    def __init__(
        self, store: Policies, monotonic_s: Callable[[], float], on_change: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            on_change: told when other policies are in force.
        """
        self._store = store
        self._on_change = on_change
        self._monotonic_s = monotonic_s
        self._log = logger("policies")

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        try:
            self._store.update_policies(changed, removed, self._monotonic_s())
        except PolicyError as error:
            raise Rejected(str(error)) from error
        self._on_change()
        self._log.info("policies_updated", changed=len(changed), removed=len(removed), policies=len(self._store))
