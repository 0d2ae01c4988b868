"""The whole of gateway.yaml."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from control_plane.config.model.auth import AuthMethods, RateLimit, Stores
from control_plane.config.model.base import Section, Switchable
from control_plane.config.model.listeners import Listener
from control_plane.config.model.routes import Route, RoutePolicies
from control_plane.config.model.services import Analytics, Callouts, Envoys, Service
from control_plane.config.scalars import Int, Number


class AccessLog(Section):
    format: Literal["json"] = "json"
    path: str = "/dev/stdout"


class Tracing(Section):
    otlp_endpoint: str = ""
    """Off while empty."""
    sample_percent: Annotated[Number, Field(ge=0, le=100)] = 10.0


class EnvoyPatch(Section):
    """One RFC 6902 operation on a rendered resource; unsupported."""

    type: Literal["clusters", "endpoints", "listeners", "routes", "secrets", "policies"]
    name: str
    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: str
    from_: Annotated[str | None, Field(alias="from")] = None
    """For move and copy."""
    value: Any = None
    """Read by YAML 1.2's core schema: here alone there is no key whose type could decide."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


SIDECAR_PORT = "15006"
"""Of a sidecar's inbound listener, as the service meshes have it."""


class Gateway(Section):
    """One gateway.yaml, its includes merged in. `Any` stands only where Envoy's own API is patched."""

    version: Annotated[Int, Field(ge=1, le=1)]
    name: str
    mode: Literal["edge", "sidecar"] = "edge"
    include: tuple[str, ...] = ()
    listeners: tuple[Listener, ...] = ()
    """At least one; the default only lets a file without them be checked to its end."""
    services: dict[str, Service] = {}
    auth: AuthMethods = AuthMethods()
    rate_limits: dict[str, RateLimit] = {}
    stores: Stores = Stores()
    callouts: Callouts = Callouts()
    envoys: Envoys | None = None
    """Those that get this configuration: with them requests stay in the zone of the Envoy that has taken them."""
    defaults: RoutePolicies = RoutePolicies()
    routes: tuple[Route, ...] = ()
    access_log: AccessLog = AccessLog()
    tracing: Tracing = Tracing()
    analytics: Switchable[Analytics] | None = None
    """Off unless it is written or a flag names a receiver, as `gatewayctl up` does; `none` is off in any case."""
    envoy_patches: tuple[EnvoyPatch, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _with_sidecar_port(cls, value: object) -> object:
        if (
            not isinstance(value, dict)
            or value.get("mode") != "sidecar"
            or not isinstance(value.get("listeners"), list)
        ):
            return value
        listeners = [
            {"port": SIDECAR_PORT, **listener} if isinstance(listener, dict) else listener
            for listener in value["listeners"]
        ]
        return {**value, "listeners": listeners}
