"""What is counted of the stores that replicas share."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)


class StoreMetrics:
    """Of all shared stores of one process together; by operation, never by key."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge("gateway_cache_store_up", "Whether the shared store is in use.", registry=registry)
        self.seconds = Histogram(
            "gateway_cache_store_seconds",
            "Round trips to the shared store that carried an operation.",
            ("operation",),
            registry=registry,
            buckets=_BUCKETS_S,
        )
        self._failures = Counter(
            "gateway_cache_store_failures",
            "Operations that the shared store did not do.",
            ("operation", "reason"),
            registry=registry,
        )
        self.garbage = Counter(
            "gateway_cache_store_garbage", "Entries that could not be read, and were deleted.", registry=registry
        )
        self.banned = Counter(
            "gateway_cache_store_banned", "Entries that were found and had been purged.", registry=registry
        )
        self.freed = Counter(
            "gateway_cache_store_freed",
            "Entries deleted to free their room, as they had been purged.",
            registry=registry,
        )
        self.outdated = Counter(
            "gateway_cache_store_outdated", "Fills refused, as the URI was invalidated meanwhile.", registry=registry
        )
        self.dropped = Counter("gateway_cache_store_dropped", "Fills that were not stored.", registry=registry)
        self.read_bytes = Counter("gateway_cache_store_read_bytes", "Bytes of entries read.", registry=registry)
        self.written_bytes = Counter("gateway_cache_store_written_bytes", "Bytes of entries sent.", registry=registry)

    def failed(self, operation: str, reason: str) -> None:
        self._failures.labels(operation, reason).inc()
