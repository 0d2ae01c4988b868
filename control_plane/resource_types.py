"""The resource types that are served, in the order in which a stream must deliver them, and who may have them."""

from enum import Enum

PREFIX = "type.googleapis.com/"
SECRET = PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
AUTHZ_POLICY = PREFIX + "meetinity.gateway.policy.v1.AuthzPolicy"
PROCESSING_POLICY = PREFIX + "meetinity.gateway.policy.v1.ProcessingPolicy"
CACHE_PURGE = PREFIX + "meetinity.gateway.policy.v1.CachePurge"
TRACING = PREFIX + "meetinity.gateway.policy.v1.Tracing"
CLUSTER = PREFIX + "envoy.config.cluster.v3.Cluster"
CLUSTER_LOAD_ASSIGNMENT = PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION = PREFIX + "envoy.config.route.v3.RouteConfiguration"

# What is named must be there before what names it: policies name secrets, routes name policies and clusters.
DELIVERY_ORDER = (
    SECRET,
    AUTHZ_POLICY,
    PROCESSING_POLICY,
    CACHE_PURGE,
    TRACING,
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
)

POLICIES = frozenset({AUTHZ_POLICY, PROCESSING_POLICY})
"""Served to our callout services; Envoy's routes refer to them by name."""

OF_SERVICES = (SECRET, AUTHZ_POLICY, PROCESSING_POLICY, CACHE_PURGE, TRACING)
"""Everything that a callout service may get."""

FULL_STATE = frozenset({CLUSTER, LISTENER})
"""State-of-the-world responses of these hold everything, and what is missing is deleted (xds_protocol, "Grouping
Resources into Responses"); responses of every other type may hold only what changed."""

REFERRERS = {
    SECRET: (CLUSTER, LISTENER),
    CLUSTER: (LISTENER, ROUTE_CONFIGURATION),
    CLUSTER_LOAD_ASSIGNMENT: (CLUSTER,),
    ROUTE_CONFIGURATION: (LISTENER,),
}
"""By type, the types that name its resources: what is removed stays with an Envoy until those have moved on."""

EXTENSION_CONFIG = PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = PREFIX + "envoy.service.runtime.v3.Runtime"
VIRTUAL_HOST = PREFIX + "envoy.config.route.v3.VirtualHost"
EXTRA = frozenset({EXTENSION_CONFIG, RUNTIME, VIRTUAL_HOST})
"""Not translated from gateway.yaml: they come from files beside it as they are."""

# Types that Envoy may ask for and that we do not serve: they are empty, which ends nobody's stream.
UNSERVED = frozenset(
    PREFIX + name
    for name in (
        "envoy.config.endpoint.v3.LbEndpoint",
        "envoy.config.route.v3.ScopedRouteConfiguration",
    )
)


class NodeKind(Enum):
    """What connects, told by `node.user_agent_name`; what it does not tell is an Envoy or like one."""

    ENVOY = "envoy"
    EXT_AUTHZ = "meetinity-ext-authz"
    EXT_PROC = "meetinity-ext-proc"

    GRPC = "grpc"
    """gRPC's own client: a program without a proxy. Its languages have names of their own: "gRPC C-core linux"."""

    @classmethod
    def of(cls, user_agent_name: str) -> "NodeKind":
        if user_agent_name.lower().startswith("grpc"):
            return cls.GRPC
        return next((kind for kind in cls if kind.value == user_agent_name), cls.ENVOY)


def short_name(type_url: str) -> str:
    """The message's name without its package: for logs, metrics and people."""
    return type_url.rpartition(".")[2]
