"""Takes reports over gRPC (OTLP MetricsService), from the same port and with the same credentials as xDS.

An answer is always the same empty message, and comes at once: an Envoy that waits would have to be told nothing else.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.resource.v1 import resource_pb2

from control_plane.config.model.gateway import Gateway
from control_plane.metrics import Metrics
from control_plane.resource_types import CLUSTER, LISTENER, NodeKind
from control_plane.snapshot import Snapshot
from control_plane.traffic.report import BadReportError, Reader, Report, stat_name
from control_plane.traffic.traffic import NO_NAMES, SAMPLE_S, Names, Traffic
from control_plane.traffic.turns import Turns
from control_plane.xds.access import Access, NotAllowedError, Presented, UnauthenticatedError
from control_plane.xds.store import ALL_GATEWAYS, Store
from gateway_runtime.report_names import NODE_CLUSTER, NODE_ID, NODE_KIND
from gateway_runtime.telemetry import logger

SERVICE_NAME = "opentelemetry.proto.collector.metrics.v1.MetricsService"
_STATUS = {
    BadReportError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    NotAllowedError: grpc.StatusCode.PERMISSION_DENIED,
}
Context = grpc.aio.ServicerContext[bytes, bytes]


class Reports:
    """The method, and the clock that samples what it has taken."""

    def __init__(
        self,
        traffic: Traffic,
        metrics: Metrics,
        access: Access,
        presented: Callable[[Context], Presented],
        *,
        gateways: Callable[[], Sequence[str]] = tuple,
        turns: Turns | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            presented: the credentials of a call.
            gateways: names of all; what a service of all gateways reports belongs to the only one, if there is one.
        """
        self._traffic = traffic
        self._metrics = metrics
        self._access = access
        self._presented = presented
        self._gateways = gateways
        self._turns = turns or Turns()
        self._clock = clock
        self._reader = Reader()
        self._reading = asyncio.Lock()
        self._log = logger("reports")

    @property
    def round_s(self) -> float:
        """Between two reports of one node that are read, at least; 0 while there is time for all."""
        return self._turns.round_s

    def handler(self) -> grpc.GenericRpcHandler:
        """To be registered with the xDS server."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Export": grpc.unary_unary_rpc_method_handler(self._export)
        }
        return grpc.method_handlers_generic_handler(SERVICE_NAME, methods)

    async def run(self) -> None:
        """Sample and expire until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            for node in self._traffic.expire(self._clock(), self._turns.round_s):
                self._turns.forget(node)
            self._traffic.sample(time.time())

    async def _export(self, request: bytes, context: Context) -> bytes:
        try:
            result = await self._take(request, context)
        except (BadReportError, UnauthenticatedError, NotAllowedError) as error:
            self._metrics.reports.labels("refused").inc()
            self._log.debug("report_refused", peer=context.peer(), reason=str(error))
            await context.abort(_STATUS[type(error)], str(error))
        self._metrics.reports.labels(result).inc()
        return b""

    async def _take(self, request: bytes, context: Context) -> str:
        grant = await self._access.grant(self._presented(context))
        sender = sender_of(request)
        node, cluster = sender.get(NODE_ID, ""), sender.get(NODE_CLUSTER, "")
        grant.check(cluster, NodeKind.of(sender.get(NODE_KIND, "")).value)
        if not self._turns.is_due(node, self._clock()):
            return "left_out"
        # In a thread: pushes do not wait for it. One at a time: they would only take each other's time.
        async with self._reading:
            report, cost_s = await asyncio.to_thread(self._read, request)
            self._metrics.report_seconds.inc(cost_s)
            taken = self._traffic.take(self._placed(report), self._clock())
        if taken:
            self._turns.took(node, cost_s, self._clock())
        return "taken" if taken else "left_out"

    def _read(self, request: bytes) -> tuple[Report, float]:
        began = time.thread_time()
        return self._reader.read(request), time.thread_time() - began

    def _placed(self, report: Report) -> Report:
        gateways = self._gateways()
        if report.cluster != ALL_GATEWAYS or len(gateways) != 1:
            return report
        return Report(report.node, gateways[0], report.kind, report.counters, report.gauges, report.endpoints)


def sender_of(body: bytes) -> Mapping[str, str]:
    """The resource attributes of a report, without reading the rest: field 1 of field 1 of the message comes first.

    Raises:
        BadReportError: it is none, or does not begin with its resource.
    """
    try:
        _, begin = _length(body, 0)
        size, begin = _length(body, begin)
        resource = resource_pb2.Resource.FromString(body[begin : begin + size])
    except (IndexError, DecodeError) as error:
        raise BadReportError("this is no ExportMetricsServiceRequest with a resource") from error
    return {one.key: one.value.string_value for one in resource.attributes}


def _length(body: bytes, at: int) -> tuple[int, int]:
    """Of field 1 that begins here, and where its content begins (protobuf wire format, varints)."""
    if body[at] != 1 << 3 | 2:
        raise IndexError
    length, shift, at = 0, 0, at + 1
    while True:
        byte = body[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, at
        shift += 7


def names_from(store: Store, gateways: Callable[[], Sequence[Gateway]]) -> Callable[[str], Names]:
    """What each gateway has at the moment, made once for each snapshot."""

    @lru_cache(maxsize=64)
    def made(_generation: int, snapshot: _Held, routes: frozenset[str]) -> Names:
        found = snapshot.value
        return Names(
            frozenset(found.of_type(LISTENER)), frozenset(stat_name(name) for name in found.of_type(CLUSTER)), routes
        )

    def names(gateway: str) -> Names:
        feed = store.feeds.get(gateway)
        if feed is None:
            return NO_NAMES
        routes = next((one.routes for one in gateways() if one.name == gateway), ())
        return made(feed.current.generation, _Held(feed.current.snapshot), frozenset(route.name for route in routes))

    return names


class _Held:
    """A snapshot by identity: it has no hash, and comparing two would look at everything."""

    def __init__(self, value: Snapshot) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.value is other.value
