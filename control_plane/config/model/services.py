"""services and callouts: what Envoy connects to."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from control_plane.config.model.base import Count, Percent, Port, Section, Switchable
from control_plane.config.scalars import Bool, Duration


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


class Names(Dns):
    """Several DNS names, as EndpointSlices may have them; in no file."""

    endpoints: tuple[Endpoint, ...]
    """All of them, with host names for addresses; the first one is what a certificate has to bear."""


class HashPolicy(Section):
    key: Annotated[tuple[str, ...], Field(min_length=1)]
    """`cookie:NAME`, `header:NAME`, `user`, `client_ip`."""


class LoadBalancing(Section):
    """`round_robin` in the file is `LoadBalancing(policy="round_robin")` here; ring_hash and maglev have a hash."""

    policy: Literal["round_robin", "least_request", "random", "ring_hash", "maglev"] = "round_robin"
    hash: HashPolicy | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, value: object) -> object:
        if isinstance(value, str):
            return {"policy": value}
        if isinstance(value, dict) and value and not value.keys() & cls.model_fields.keys():
            if len(value) != 1:
                raise ValueError("has to name one algorithm ({ring_hash: {key: [...]}})")
            (policy, parameters), *_ = value.items()
            return {"policy": policy, "hash": parameters}
        return value


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
    healthy_threshold: Annotated[Count, Field(ge=1)] = 1
    unhealthy_threshold: Annotated[Count, Field(ge=1)] = 2


class UpstreamTls(Section):
    ca_file: str | None = None
    sni: str | None = None
    certificate_file: str | None = None
    private_key_file: str | None = None
    insecure_skip_verify: Bool = False


class ZoneAware(Section):
    """Of a service, where `envoys` says in which zones its clients are."""

    min_endpoints: Annotated[Count, Field(ge=1)] = 6
    """With fewer of them in all zones together they are too few to keep requests in a zone and the load even."""


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
    zone_aware: Switchable[ZoneAware] = ZoneAware()
    health_check: HealthCheck | None = None
    tls: UpstreamTls | None = None


class Envoys(Section):
    """Exactly one of kubernetes, endpoints."""

    kubernetes: KubernetesService | None = None
    endpoints: tuple[Endpoint, ...] | None = None
    """Nothing connects to them: what counts is their zone."""


class CalloutEndpoint(Section):
    """An address and port, or the path of a Unix socket."""

    address: str | None = None
    port: Port | None = None
    path: str | None = None


class Callout(Section):
    """Exactly one of endpoints, kubernetes; the default is the port of this machine that the service listens on."""

    endpoints: tuple[CalloutEndpoint, ...] | None = None
    kubernetes: KubernetesService | None = None

    @model_validator(mode="before")
    @classmethod
    def _kubernetes_alone(cls, value: object) -> object:
        if isinstance(value, dict) and "kubernetes" in value:
            return {"endpoints": None, **value}
        return value


class ExtAuthzCallout(Callout):
    endpoints: tuple[CalloutEndpoint, ...] | None = (CalloutEndpoint(address="127.0.0.1", port=9001),)
    timeout: Duration = timedelta(milliseconds=500)
    failure_mode: Literal["open", "closed"] = "closed"


class ExtProcCallout(Callout):
    endpoints: tuple[CalloutEndpoint, ...] | None = (CalloutEndpoint(address="127.0.0.1", port=9002),)
    message_timeout: Duration = timedelta(seconds=1)
    failure_mode: Literal["open", "closed"] = "open"


class Analytics(Callout):
    """Who receives Envoy's access log over gRPC (`python -m control_plane --role analytics`)."""

    endpoints: tuple[CalloutEndpoint, ...] | None = (CalloutEndpoint(address="127.0.0.1", port=9003),)


class Callouts(Section):
    ext_authz: ExtAuthzCallout = ExtAuthzCallout()
    ext_proc: ExtProcCallout = ExtProcCallout()
