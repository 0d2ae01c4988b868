"""What the control plane counts; labels are bounded: no node ids, no resource names."""

import time
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from control_plane.resource_types import short_name
from control_plane.xds.store import Store


@dataclass(frozen=True, slots=True)
class TypeMetrics:
    """What is counted for each response of one type; finding a metric's labels costs more than counting."""

    pushes: Counter
    pushed_bytes: Counter
    acks: Counter
    nacks: Counter
    ack_seconds: Histogram


class Metrics:
    """All metrics of this process, in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._valid: dict[str, bool] = {}
        self.config_valid = Gauge(
            "gateway_config_valid", "1 if the configuration's last text is being served.", registry=registry
        )
        self.config_reloads = Counter(
            "gateway_config_reloads", "Configuration texts read, by result.", ["result"], registry=registry
        )
        self.build_seconds = Histogram(
            "gateway_build_seconds",
            "From a configuration's text to its snapshot.",
            buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
            registry=registry,
        )
        self.resources = Gauge(
            "gateway_resources", "Resources that are served.", ["gateway", "type"], registry=registry
        )
        self.withheld = Gauge(
            "gateway_withheld_resources",
            "Resources and routes that Envoy would refuse, served in another version or not at all.",
            ["gateway"],
            registry=registry,
        )
        self.endpoint_updates = Counter(
            "gateway_endpoint_updates", "Assignments published for changed endpoints alone.", registry=registry
        )
        self.snapshot_time = Gauge(
            "gateway_snapshot_timestamp_seconds", "When the served snapshot changed.", ["gateway"], registry=registry
        )
        self.streams = Gauge("gateway_xds_streams", "Open xDS streams.", ["kind", "variant"], registry=registry)
        self.pushes = Counter("gateway_xds_pushes", "Responses sent.", ["type"], registry=registry)
        self.pushed_bytes = Counter(
            "gateway_xds_pushed_bytes", "Bytes of the responses sent.", ["type"], registry=registry
        )
        self.acks = Counter("gateway_xds_acks", "Responses that clients took.", ["type"], registry=registry)
        self.nacks = Counter("gateway_xds_nacks", "Responses that clients refused.", ["type"], registry=registry)
        self.refused_streams = Counter(
            "gateway_xds_refused_streams", "Streams ended with an error, by gRPC status.", ["code"], registry=registry
        )
        self.paced_streams = Counter(
            "gateway_xds_paced_streams", "New clients that had to wait for their turn.", registry=registry
        )
        self.ack_seconds = Histogram(
            "gateway_xds_ack_seconds",
            "From a response to its ACK or NACK.",
            ["type"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15),
            registry=registry,
        )
        self.reports = Counter(
            "gateway_reports",
            "Reports of Envoys' and services' statistics, by what became of them.",
            ["result"],
            registry=registry,
        )
        self.report_seconds = Counter("gateway_report_seconds", "CPU time that reading them took.", registry=registry)
        self._of_type: dict[str, TypeMetrics] = {}

    def note_config(self, file: str, *, valid: bool) -> None:
        """Whether the newest text of one configuration file is being served; the metric is 1 if all are."""
        self._valid[file] = valid
        self.config_valid.set(all(self._valid.values()))

    def forget_config(self, file: str) -> None:
        self._valid.pop(file, None)
        self.config_valid.set(all(self._valid.values()))

    def of_type(self, kind: str) -> TypeMetrics:
        """
        Args:
            kind: a message's name without its package.
        """
        found = self._of_type.get(kind)
        if found is None:
            found = self._of_type[kind] = TypeMetrics(
                self.pushes.labels(kind),
                self.pushed_bytes.labels(kind),
                self.acks.labels(kind),
                self.nacks.labels(kind),
                self.ack_seconds.labels(kind),
            )
        return found


class StoreCollector(Collector):
    """What is told by looking at the store when somebody asks, not by counting."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = time.time()
        age = GaugeMetricFamily(
            "gateway_snapshot_age_seconds", "Since the served snapshot changed.", labels=["gateway"]
        )
        generation = GaugeMetricFamily("gateway_snapshot_generation", "Snapshots served so far.", labels=["gateway"])
        for name, feed in self._store.feeds.items():
            age.add_metric([name], max(0.0, now - feed.current.at))
            generation.add_metric([name], feed.current.generation)
        yield from (age, generation, *self._of_clients())

    def _of_clients(self) -> Iterator[GaugeMetricFamily]:
        clients: Tally[tuple[str, str]] = Tally()
        parked: Tally[str] = Tally()
        unanswered: Tally[str] = Tally()
        for client in self._store.clients():
            clients[client.node.kind.value, "yes" if client.session.is_settled else "no"] += 1
            for type_url, subscription in client.session.subscriptions.items():
                parked[short_name(type_url)] += len(subscription.quarantine.parked)
                unanswered[short_name(type_url)] += subscription.outstanding is not None
        connected = GaugeMetricFamily("gateway_xds_clients", "Connected clients.", labels=["kind", "in_sync"])
        for labels, count in sorted(clients.items()):
            connected.add_metric(list(labels), count)
        yield connected
        for name, text, tally in (
            ("gateway_xds_parked_resources", "Refused resources that are not sent again until they change.", parked),
            ("gateway_xds_unanswered", "Responses without ACK or NACK so far.", unanswered),
        ):
            family = GaugeMetricFamily(name, text, labels=["type"])
            for kind, count in sorted(tally.items()):
                family.add_metric([kind], count)
            yield family
