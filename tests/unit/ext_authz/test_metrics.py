"""What operators see of ext_authz."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ext_authz.jwt.cache import TokenCache
from ext_authz.limiter.memory import MemoryStore
from ext_authz.metrics import Metrics
from ext_authz.policies import PolicyStore

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_bucket_leads_to_the_trace_of_its_last_sampled_request() -> None:
    """Others keep theirs, and a request that is not sampled takes none away."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, PolicyStore(), TokenCache(10), MemoryStore(10))
    metrics.count("users", "ok", 200_000, "f" * 32)
    metrics.count("users", "ok", 200_000, TRACE)
    metrics.count("users", "ok", 210_000)
    metrics.count("users", "ok", 900_000)
    encode, _ = choose_encoder("application/openmetrics-text")
    lines = [
        line
        for line in encode(registry).decode().splitlines()
        if line.startswith("gateway_authz_decision_seconds_bucket") and " # " in line
    ]

    assert [f'gateway_authz_decision_seconds_bucket{{le="0.00025"}} 3.0 # {{trace_id="{TRACE}"}} 0.0002'] == lines
