"""What ext_proc counts, by route. Labels are routes and reasons, never URIs or callers."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ext_proc.cache.cache import FetchResult
from ext_proc.cache.lookup import Bypass
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.storing import Reason
from ext_proc.events import Outcome
from ext_proc.exchange import Direction, Transformed

_WAIT_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5)
_FETCH_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


@dataclass(slots=True)
class RouteMetrics:
    """The counts of one route, an `Observer`; plain numbers, read when somebody asks."""

    outcomes: dict[Outcome, int] = field(default_factory=dict)
    bypasses: dict[Bypass, int] = field(default_factory=dict)
    refusals: dict[Reason, int] = field(default_factory=dict)
    stored_entries: int = 0
    stored_bytes: int = 0
    fetches: dict[FetchResult, int] = field(default_factory=dict)
    fetch_seconds: float = 0.0
    fetch_buckets: list[int] = field(default_factory=lambda: [0] * (len(_FETCH_BUCKETS_S) + 1))
    """How many fetches took no longer than each of _FETCH_BUCKETS_S, and not than the one before; the last: longer."""
    transforms: dict[tuple[Direction, Transformed], int] = field(default_factory=dict)
    transform_seconds: float = 0.0

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def bypassed(self, reason: Bypass) -> None:
        self.bypasses[reason] = self.bypasses.get(reason, 0) + 1

    def not_stored(self, reason: Reason) -> None:
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def fetched(self, result: FetchResult, seconds: float) -> None:
        self.fetches[result] = self.fetches.get(result, 0) + 1
        self.fetch_seconds += seconds
        self.fetch_buckets[bisect_left(_FETCH_BUCKETS_S, seconds)] += 1

    def cumulated_fetches(self) -> list[tuple[str, float]]:
        """As Prometheus counts a histogram."""
        bounds = [*map(str, _FETCH_BUCKETS_S), "+Inf"]
        return list(zip(bounds, accumulate(map(float, self.fetch_buckets)), strict=True))

    def transformed(self, direction: Direction, result: Transformed) -> None:
        self.transforms[direction, result] = self.transforms.get((direction, result), 0) + 1

    def stored(self, size: int) -> None:
        self.stored_entries += 1
        self.stored_bytes += size


class Metrics(Collector):
    """Every metric of one process."""

    def __init__(self, registry: CollectorRegistry, store: MemoryStore) -> None:
        self._routes: dict[str, RouteMetrics] = {}
        self._store = store
        self.waits = Histogram(
            "gateway_cache_wait_seconds",
            "How long requests waited for another's response.",
            registry=registry,
            buckets=_WAIT_BUCKETS_S,
        )
        self.errors = Counter(
            "gateway_ext_proc_errors", "Exchanges that failed by a fault of our own.", registry=registry
        )
        self.unknown_policies = Counter(
            "gateway_ext_proc_unknown_policies", "Exchanges whose policy never came.", registry=registry
        )
        registry.register(self)

    def route(self, name: str) -> RouteMetrics:
        found = self._routes.get(name)
        if found is None:
            found = self._routes[name] = RouteMetrics()
        return found

    def collect(self) -> Iterator[Metric]:
        yield from self._counts()
        yield from self._transforms()
        yield from self._usage()

    def _counts(self) -> Iterator[Metric]:
        outcomes = CounterMetricFamily(
            "gateway_cache_requests", "Requests by what the cache did.", labels=("route", "outcome")
        )
        bypasses = CounterMetricFamily(
            "gateway_cache_bypasses", "Requests that the cache left alone.", labels=("route", "reason")
        )
        refusals = CounterMetricFamily(
            "gateway_cache_not_stored", "Responses that may not be stored.", labels=("route", "reason")
        )
        stored = CounterMetricFamily("gateway_cache_stored", "Responses stored.", labels=("route",))
        size = CounterMetricFamily("gateway_cache_stored_bytes", "Bytes of them.", labels=("route",))
        fetches = CounterMetricFamily(
            "gateway_cache_fetches", "Questions to the shared store, by what came of them.", labels=("route", "result")
        )
        seconds = HistogramMetricFamily(
            "gateway_cache_fetch_seconds", "How long requests waited for the shared store.", labels=("route",)
        )
        for route, counts in self._routes.items():
            for outcome, number in counts.outcomes.items():
                outcomes.add_metric((route, outcome), number)
            for why, number in counts.bypasses.items():
                bypasses.add_metric((route, why), number)
            for reason, number in counts.refusals.items():
                refusals.add_metric((route, reason), number)
            stored.add_metric((route,), counts.stored_entries)
            size.add_metric((route,), counts.stored_bytes)
            for result, number in counts.fetches.items():
                fetches.add_metric((route, result), number)
            if counts.fetches:
                seconds.add_metric((route,), counts.cumulated_fetches(), counts.fetch_seconds)
        yield from (outcomes, bypasses, refusals, stored, size, fetches, seconds)

    def _transforms(self) -> Iterator[Metric]:
        transforms = CounterMetricFamily(
            "gateway_transforms",
            "Bodies that were transformed or checked, and messages refused for it, by what came of it.",
            labels=("route", "direction", "result"),
        )
        seconds = CounterMetricFamily("gateway_transform_seconds", "Time that bodies took.", labels=("route",))
        for route, counts in self._routes.items():
            for (direction, result), number in counts.transforms.items():
                transforms.add_metric((route, direction, result), number)
            if counts.transforms:
                seconds.add_metric((route,), counts.transform_seconds)
        yield from (transforms, seconds)

    def _usage(self) -> Iterator[Metric]:
        entries = GaugeMetricFamily("gateway_cache_entries", "Entries in memory.", labels=("route",))
        size = GaugeMetricFamily("gateway_cache_bytes", "Bytes in memory, roughly.", labels=("route",))
        evictions = CounterMetricFamily("gateway_cache_evictions", "Entries evicted for room.", labels=("route",))
        for route, usage in self._store.usage.items():
            entries.add_metric((route,), usage.entries)
            size.add_metric((route,), usage.bytes)
            evictions.add_metric((route,), usage.evictions)
        yield from (entries, size, evictions)
