"""The client's side of delta xDS for several wildcard types on one aggregated stream, without I/O.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds. `xds_client.py` moves the messages.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2

_INVALID_ARGUMENT = 3
"""google.rpc.Code of a NACK."""


class Rejected(Exception):  # noqa: N818 - an answer, as ACK is one
    """A sink refuses a response; its text becomes the NACK's error_detail, so it must not hold secrets."""


class ResourceSink(Protocol):
    """Where the resources of one type go."""

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        """Take what one response says, whole or not at all.

        Args:
            changed: new content by resource name (the `value` of its Any); also names that are unchanged.
            removed: names that are gone; some may never have been there.

        Raises:
            Rejected: nothing of this response was applied; the sink keeps its state.
        """


@dataclass(slots=True)
class _Type:
    """What is known of one type; `accepted` outlives streams, the rest does not."""

    sink: ResourceSink
    accepted: dict[str, str] = field(default_factory=dict)
    """Version by name of what the sink holds."""
    answered: bool = False
    """The server has answered this type on this stream."""
    held: list[discovery_pb2.DeltaDiscoveryResponse] = field(default_factory=list)
    """Came before the types that it may refer to were answered."""


class DeltaClient:
    """Requests to send, and what responses do to the sinks.

    Every type is subscribed to with `*`. The first responses of a stream are applied in the order of `sinks`: what is
    referred to stands before what refers to it.
    """

    def __init__(self, node: base_pb2.Node, sinks: Mapping[str, ResourceSink]) -> None:
        self._node = node
        self._types = {type_url: _Type(sink) for type_url, sink in sinks.items()}
        self._complete: set[str] = set()

    @property
    def is_complete(self) -> bool:
        """Whether an answer of every type has been applied, on this stream or an earlier one."""
        return len(self._complete) == len(self._types)

    def holds(self, type_url: str, name: str) -> bool:
        return name in self._types[type_url].accepted

    def open(self, wanted: Iterable[tuple[str, str]] = ()) -> list[discovery_pb2.DeltaDiscoveryRequest]:
        """The first requests of a new stream.

        Args:
            wanted: (type URL, name) of resources that somebody waits for.
        """
        names: dict[str, list[str]] = {type_url: ["*"] for type_url in self._types}
        for type_url, name in sorted(wanted):
            names[type_url].append(name)
        requests = []
        for type_url, known in self._types.items():
            known.answered = False
            known.held.clear()
            requests.append(
                discovery_pb2.DeltaDiscoveryRequest(
                    type_url=type_url,
                    resource_names_subscribe=names[type_url],
                    initial_resource_versions=known.accepted,
                )
            )
        requests[0].node.CopyFrom(self._node)
        return requests

    def subscribe(self, type_url: str, name: str) -> discovery_pb2.DeltaDiscoveryRequest:
        """Ask for a resource by name, beside the wildcard."""
        return discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=[name])

    def receive(
        self, response: discovery_pb2.DeltaDiscoveryResponse
    ) -> list[tuple[discovery_pb2.DeltaDiscoveryResponse, discovery_pb2.DeltaDiscoveryRequest]]:
        """Apply a response, or hold it until the types before it were answered.

        Returns:
            Each response that was settled by this one, with its ACK or NACK, in the order of application.
        """
        known = self._types.get(response.type_url)
        if known is None:
            return []
        known.held.append(response)
        settled = []
        for candidate in self._types.values():
            while candidate.held:
                ready = candidate.held.pop(0)
                settled.append((ready, self._settle(candidate, ready)))
            if not candidate.answered:
                break
        return settled

    def _settle(
        self, known: _Type, response: discovery_pb2.DeltaDiscoveryResponse
    ) -> discovery_pb2.DeltaDiscoveryRequest:
        known.answered = True
        answer = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        removed = tuple(response.removed_resources)
        try:
            known.sink.apply({resource.name: resource.resource.value for resource in response.resources}, removed)
        except Rejected as rejection:
            answer.error_detail.code = _INVALID_ARGUMENT
            answer.error_detail.message = str(rejection)
            return answer
        known.accepted.update({resource.name: resource.version for resource in response.resources})
        for name in removed:
            known.accepted.pop(name, None)
        self._complete.add(response.type_url)
        return answer
