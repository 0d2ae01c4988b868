"""services and callouts: what Envoy connects to."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from control_plane.config.model.base import Percent, Port, Section
from control_plane.config.scalars import Bool, Duration, Int

Count = Annotated[Int, Field(ge=0)]


class KubernetesService(Section):
    namespace: str
    service: str
    port: str
    """Name or number."""


class Dns(Section):
    host: str
    port: Port


class Endpoint(Section):
    address: str
    port: Port
    weight: Count = 1
    zone: str = ""


class HashPolicy(Section):
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    """`cookie:NAME`, `header:NAME`, `user`, `client_ip`."""


class LoadBalancing(Section):
    """`round_robin` in the file is `LoadBalancing(policy="round_robin")` here; ring_hash and maglev have a hash."""

    policy: Literal["round_robin", "least_request", "random", "ring_hash", "maglev"] = "round_robin"
    hash: HashPolicy | None = None


class CircuitBreaker(Section):
    max_connections: Count = 1024
    max_pending_requests: Count = 1024
    max_requests: Count = 1024
    max_retries: Count | None = None
    """Envoy's 3 if absent and no retry budget is used."""


class OutlierDetection(Section):
    consecutive_5xx: Count | None = None
    consecutive_gateway_failure: Count | None = None
    interval: Duration = timedelta(seconds=10)
    base_ejection_time: Duration = timedelta(seconds=30)
    max_ejection_percent: Percent = 50


class HealthCheck(Section):
    path: str = "/"
    interval: Duration = timedelta(seconds=5)
    timeout: Duration = timedelta(seconds=1)
    healthy_threshold: Count = 1
    unhealthy_threshold: Count = 2


class UpstreamTls(Section):
    ca_file: str | None = None
    sni: str | None = None
    certificate_file: str | None = None
    private_key_file: str | None = None
    insecure_skip_verify: Bool = False


class Service(Section):
    """Exactly one of kubernetes, dns, endpoints, local."""

    kubernetes: KubernetesService | None = None
    dns: Dns | None = None
    endpoints: tuple[Endpoint, ...] | None = None
    local: Port | None = None
    """A port of 127.0.0.1; sidecars only."""
    protocol: Literal["http1", "http2", "grpc"] = "http1"
    load_balancing: LoadBalancing = LoadBalancing()
    connect_timeout: Duration = timedelta(seconds=2)
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    outlier_detection: OutlierDetection | None = None
    panic_threshold: Percent = 0
    health_check: HealthCheck | None = None
    tls: UpstreamTls | None = None


class CalloutEndpoint(Section):
    """An address and port, or the path of a Unix socket."""

    address: str | None = None
    port: Port | None = None
    path: str | None = None


class ExtAuthzCallout(Section):
    endpoints: tuple[CalloutEndpoint, ...] | None = (CalloutEndpoint(address="127.0.0.1", port=9001),)
    kubernetes: KubernetesService | None = None
    timeout: Duration = timedelta(milliseconds=500)
    failure_mode: Literal["open", "closed"] = "closed"


class ExtProcCallout(Section):
    endpoints: tuple[CalloutEndpoint, ...] | None = (CalloutEndpoint(address="127.0.0.1", port=9002),)
    kubernetes: KubernetesService | None = None
    message_timeout: Duration = timedelta(seconds=1)
    failure_mode: Literal["open", "closed"] = "open"


class Callouts(Section):
    ext_authz: ExtAuthzCallout = ExtAuthzCallout()
    ext_proc: ExtProcCallout = ExtProcCallout()
