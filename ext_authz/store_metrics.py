"""What operators see of the stores that replicas share."""

from collections.abc import Callable, Collection, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ext_authz.redis_store import RedisStore


class StoreMetrics:
    """Of all Redis stores of this process together; a policy change that replaces one starts its counts anew."""

    def __init__(
        self,
        registry: CollectorRegistry,
        stores: Callable[[], Collection[RedisStore]],
        service_answers: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """
        Args:
            service_answers: what RateLimitService answered, and how often.
        """
        self._stores = stores
        self._service_answers = service_answers
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        stores = self._stores()
        up = GaugeMetricFamily("gateway_authz_limiter_store_up", "1: Redis decides; 0: on_store_error does.")
        if stores:
            up.add_metric([], float(all(store.is_up for store in stores)))
        yield up
        replicas = GaugeMetricFamily(
            "gateway_authz_limiter_replicas",
            "Replicas that share the Redis: what a limit is divided by without it.",
        )
        if stores:
            replicas.add_metric([], max(store.replicas for store in stores))
        yield replicas
        yield GaugeMetricFamily(
            "gateway_authz_limiter_store_debts",
            "Buckets of which Redis does not know yet what was admitted without it.",
            value=sum(store.fallback.debts for store in stores),
        )
        yield _counter("gateway_authz_limiter_store_calls", "Round trips.", (store.calls for store in stores))
        yield _counter("gateway_authz_limiter_store_checks", "Checks they carried.", (store.checks for store in stores))
        yield _counter("gateway_authz_limiter_store_failures", "Calls failed or late.", (s.failures for s in stores))
        yield _counter(
            "gateway_authz_limiter_store_seconds", "Time that calls were out.", (store.call_seconds for store in stores)
        )
        yield _counter(
            "gateway_authz_limiter_denied_locally",
            "Checks refused without a round trip, as their bucket is known to refuse.",
            (store.denied.hits for store in stores),
        )
        fallback = CounterMetricFamily(
            "gateway_authz_limiter_fallback", "Checks decided without Redis.", labels=["on_store_error"]
        )
        for how in ("local", "allow", "deny"):
            fallback.add_metric([how], sum(store.fallback.decisions[how] for store in stores))
        yield fallback
        answers = CounterMetricFamily(
            "gateway_authz_rate_limit_service_answers", "Answers of RateLimitService.", labels=["answer"]
        )
        for answer, number in self._service_answers().items():
            answers.add_metric([answer], number)
        yield answers


def _counter(name: str, text: str, values: Iterable[float]) -> Metric:
    return CounterMetricFamily(name, text, value=sum(values))
