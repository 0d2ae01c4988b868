"""What is counted by route, as Prometheus reads it."""

from prometheus_client import CollectorRegistry

from ext_proc.cache.memory import MemoryStore
from ext_proc.metrics import Metrics


def test_how_long_the_shared_store_took_by_route() -> None:
    """A histogram of each route that has asked it; no other route has one."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, MemoryStore(max_bytes=1000, max_entries=10))
    for seconds in (0.0005, 0.002, 0.02, 7.0):
        metrics.route("items").fetched("hit", seconds)
    metrics.route("other").outcome("hit")

    def value(suffix: str, route: str = "items", **labels: str) -> float | None:
        return registry.get_sample_value(f"gateway_cache_fetch_seconds_{suffix}", {"route": route, **labels})

    buckets = [value("bucket", le=bound) for bound in ("0.0005", "0.001", "0.0025", "0.025", "1.0", "+Inf")]
    assert [1, 1, 2, 3, 3, 4] == buckets
    assert (4, 7.0225) == (value("count"), value("sum"))
    assert value("count", "other") is None
