"""What operators see of the decisions: how many, why, how fast. Labels are routes and reasons, never callers."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar

from ext_authz.jwt.cache import TokenCache
from ext_authz.limiter.memory import MemoryStore
from ext_authz.policies import PolicyStore

_BOUNDS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5)
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in _BOUNDS_S)


class Metrics:
    """Counters of one process. Those of the hot path are plain numbers, read when somebody asks."""

    def __init__(
        self,
        registry: CollectorRegistry,
        store: PolicyStore,
        tokens: TokenCache,
        limiter: MemoryStore,
        key_ages_s: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._decisions: dict[tuple[str, str], int] = {}
        self._buckets = [0] * (len(_BOUNDS_S) + 1)
        self._exemplars: list[Exemplar | None] = [None] * len(self._buckets)
        self._sum_ns = 0
        self._store = store
        self._tokens = tokens
        self._limiter = limiter
        self._key_ages_s = key_ages_s
        self.internal_errors = Counter(
            "gateway_authz_internal_errors", "Requests denied because of a fault of our own.", registry=registry
        )
        self._would_refuse = Counter(
            "gateway_authz_shadow_refusals",
            "Requests that a limit in shadow mode would have refused.",
            ["route", "limit"],
            registry=registry,
        )
        self._would_deny = Counter(
            "gateway_authz_shadow_denials",
            "Requests that a policy in shadow mode would have denied.",
            ["route", "reason"],
            registry=registry,
        )
        registry.register(self)

    def count(self, route: str, reason: str, nanoseconds: int, trace_id: str | None = None) -> None:
        """One decision; `reason` is "ok" for an allowed one, `trace_id` that of a sampled request."""
        key = (route, reason)
        self._decisions[key] = self._decisions.get(key, 0) + 1
        bucket = bisect_left(_BOUNDS_NS, nanoseconds)
        self._buckets[bucket] += 1
        if trace_id is not None:
            self._exemplars[bucket] = Exemplar({"trace_id": trace_id}, nanoseconds / 1e9)
        self._sum_ns += nanoseconds

    def count_would_refuse(self, route: str, limits: Iterable[str]) -> None:
        for limit in limits:
            self._would_refuse.labels(route, limit).inc()

    def count_would_deny(self, route: str, reason: str) -> None:
        self._would_deny.labels(route, reason).inc()

    def collect(self) -> Iterable[Metric]:
        decisions = CounterMetricFamily(
            "gateway_authz_decisions", "Decisions by route and reason; ok is allowed.", labels=["route", "reason"]
        )
        for (route, reason), number in self._decisions.items():
            decisions.add_metric([route, reason], number)
        yield decisions
        yield self._latency()
        yield _gauge("gateway_authz_policies", "Policies in force.", lambda: len(self._store))
        yield _gauge("gateway_authz_token_cache_entries", "Tokens that are remembered.", lambda: len(self._tokens))
        lookups = CounterMetricFamily(
            "gateway_authz_token_cache_lookups", "Tokens looked up in the cache.", labels=["result"]
        )
        lookups.add_metric(["hit"], self._tokens.hits)
        lookups.add_metric(["miss"], self._tokens.misses)
        yield lookups
        ages = GaugeMetricFamily(
            "gateway_authz_key_set_age_seconds", "Since a key set was fetched; +Inf if it never was.", labels=["url"]
        )
        for url, age_s in self._key_ages_s().items():
            ages.add_metric([url], age_s)
        yield ages
        keys = GaugeMetricFamily("gateway_authz_limiter_keys", "Buckets that are held.", labels=["limit"])
        for limit, number in self._limiter.buckets_by_limit().items():
            keys.add_metric([limit], number)
        yield keys
        yield CounterMetricFamily(
            "gateway_authz_limiter_overflows",
            "Requests charged to a shared bucket because the store was full.",
            value=self._limiter.overflows,
        )

    def _latency(self) -> Metric:
        total = 0
        cumulative: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        bounds = (*map(str, _BOUNDS_S), "+Inf")
        for bound, number, exemplar in zip(bounds, self._buckets, self._exemplars, strict=True):
            total += number
            cumulative.append((bound, total) if exemplar is None else (bound, total, exemplar))
        latency = HistogramMetricFamily("gateway_authz_decision_seconds", "From the message's arrival to the answer.")
        latency.add_metric([], cumulative, self._sum_ns / 1e9)
        return latency


def _gauge(name: str, text: str, value: Callable[[], int]) -> Metric:
    return GaugeMetricFamily(name, text, value=value())
