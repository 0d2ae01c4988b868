"""The resource types that are served, in the order in which a stream must deliver them, and who may have them."""

from enum import Enum

_PREFIX = "type.googleapis.com/"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
AUTHZ_POLICY = _PREFIX + "meetinity.gateway.policy.v1.AuthzPolicy"
PROCESSING_POLICY = _PREFIX + "meetinity.gateway.policy.v1.ProcessingPolicy"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
CLUSTER_LOAD_ASSIGNMENT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION = _PREFIX + "envoy.config.route.v3.RouteConfiguration"

# What is named must be there before what names it: policies name secrets, routes name policies and clusters.
DELIVERY_ORDER = (
    SECRET,
    AUTHZ_POLICY,
    PROCESSING_POLICY,
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
)


class NodeKind(Enum):
    """What connects, told by `node.user_agent_name`; anything but our own services is an Envoy or like one."""

    ENVOY = "envoy"
    EXT_AUTHZ = "meetinity-ext-authz"
    EXT_PROC = "meetinity-ext-proc"
