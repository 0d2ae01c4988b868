"""What xDS says about tracing -> this process's."""

from collections.abc import Collection, Mapping

from google.protobuf.message import DecodeError

from gateway_runtime.delta import Rejected
from gateway_runtime.tracing import Tracing
from protos.gateway.policy.v1 import tracing_pb2

TRACING_TYPE = "type.googleapis.com/meetinity.gateway.policy.v1.Tracing"


class TracingSink:
    """A process has one receiver: of several gateways that trace, the first by name says where."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._endpoints: dict[str, str] = {}

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        endpoints = {name: endpoint for name, endpoint in self._endpoints.items() if name not in removed}
        for name, body in changed.items():
            try:
                endpoints[name] = tracing_pb2.Tracing.FromString(body).otlp_endpoint
            except DecodeError:
                raise Rejected(f"{name}: no Tracing") from None
        self._endpoints = endpoints
        self._tracing.use(endpoints[min(endpoints)] if endpoints else "")
