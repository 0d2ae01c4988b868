"""listeners: where clients connect."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from control_plane.config.model.base import OneOrMore, Port, Section
from control_plane.config.scalars import Bool, Duration, Int, SizeBytes


class ClientIp(Section):
    """How the client's address is found: exactly one of the three."""

    trusted_hops: Annotated[Int, Field(ge=0, le=32)] | None = None
    trusted_proxies: tuple[str, ...] | None = None
    proxy_protocol: Bool | None = None


class Certificate(Section):
    """A pair of files, or a Kubernetes TLS Secret `namespace/name`."""

    certificate_file: str | None = None
    private_key_file: str | None = None
    kubernetes_secret: str | None = None


class ListenerRedirect(Section):
    scheme: Literal["https"] = "https"
    port: Port | None = None


class ListenerLimits(Section):
    request_headers: SizeBytes = 60 * 1024
    request_body: SizeBytes = 10 * 1024 * 1024
    request_timeout: Duration = timedelta(minutes=1)
    """How long a client may take to send the whole request."""
    idle_timeout: Duration = timedelta(minutes=5)
    max_connections: Annotated[Int, Field(ge=1)] = 50_000
    drain: Duration = timedelta(seconds=30)


class IpRules(Section):
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class Listener(Section):
    name: str
    address: str = "0.0.0.0"  # nosec B104 - a gateway listens for the world
    port: Port
    client_ip: ClientIp = ClientIp(trusted_hops=0)
    tls: Annotated[tuple[Certificate, ...], OneOrMore] | None = None
    client_ca_file: str | None = None
    redirect: ListenerRedirect | None = None
    ip: IpRules | None = None
    limits: ListenerLimits = ListenerLimits()
