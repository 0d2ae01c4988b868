"""What the analytics process counts; who calls is told by its report, not by labels."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """All metrics of this process, in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.entries = Counter(
            "gateway_analytics_entries", "Access log entries that Envoys have sent.", registry=registry
        )
        self.stored = Counter("gateway_analytics_stored_entries", "Entries whose counts are stored.", registry=registry)
        self.lost = Counter(
            "gateway_analytics_lost_entries", "Entries that Envoys counted and that did not come.", registry=registry
        )
        self.watched = Gauge(
            "gateway_analytics_watched_envoys",
            "Envoys whose losses are known: they have told their counters, and that is stored.",
            registry=registry,
        )
        self.refused = Counter(
            "gateway_analytics_refused_messages", "Messages that are no HTTP access log.", registry=registry
        )
        self.storage_errors = Counter(
            "gateway_analytics_storage_errors", "Times that the database could not store.", registry=registry
        )
        self.streams = Gauge("gateway_analytics_streams", "Open streams of Envoys.", registry=registry)
