"""What operators see of revocation and replay protection."""

from collections.abc import Callable, Iterable, Mapping, Sized

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric


class CredentialMetrics:
    """Read when somebody asks."""

    def __init__(
        self, registry: CollectorRegistry, nonces: Sized, revocation_ages_s: Callable[[], Mapping[str, float]]
    ) -> None:
        """
        Args:
            nonces: those that this process remembers.
            revocation_ages_s: seconds since each set was read, by key.
        """
        self._nonces = nonces
        self._revocation_ages_s = revocation_ages_s
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "gateway_authz_nonces", "Nonces that this process remembers itself.", value=len(self._nonces)
        )
        ages = GaugeMetricFamily(
            "gateway_authz_revocation_age_seconds",
            "Since a set of revoked tokens was read; +Inf if it never was.",
            labels=["key"],
        )
        for key, age_s in self._revocation_ages_s().items():
            ages.add_metric([key], age_s)
        yield ages
