"""gateway.yaml + endpoints + materials -> Snapshot: a pure function, equal input gives equal bytes.

One module per resource type (clusters, endpoints, listeners, routes, secrets, policies), one per thing that a type is
made of; http_filters.py holds the order of the filter chain.
"""

from collections.abc import Iterator

from control_plane.config.effective import effective_routes
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.endpoints import Endpoints
from control_plane.snapshot import Resource, Snapshot
from control_plane.translate.analytics import analytics_clusters
from control_plane.translate.callouts import callout_clusters
from control_plane.translate.clusters import clusters
from control_plane.translate.endpoints import cluster_load_assignments
from control_plane.translate.listeners import listener
from control_plane.translate.patches import patched
from control_plane.translate.policies import policies
from control_plane.translate.proxyless import kinds_of, proxyless_listeners
from control_plane.translate.routes import route_configuration
from control_plane.translate.scope import listener_scope
from control_plane.translate.secrets import secrets
from control_plane.translate.tracing import otlp_clusters, tracing_resources

__all__ = ["Materials", "translate"]


def translate(gateway: Gateway, endpoints: Endpoints, materials: Materials) -> Snapshot:
    """Translate one gateway.

    Args:
        gateway: a configuration without faults, so every reference in it resolves.
        endpoints: what discovery found, by the name of the Kubernetes service in gateway.yaml; those of a callout
            under its cluster's name (`callout:ext_authz`, `callout:ext_proc`, `analytics:access_log`). What is missing
            has no endpoints.
        materials: the content of every file and Secret that the configuration names.

    Raises:
        PatchError: an entry of envoy_patches does not apply.
    """
    return Snapshot.of(patched(gateway.envoy_patches, _resources(gateway, endpoints, materials)))


def _resources(gateway: Gateway, endpoints: Endpoints, materials: Materials) -> Iterator[Resource]:
    routes = effective_routes(gateway)
    known_policies = policies(gateway, routes, materials)
    yield from secrets(gateway, materials)
    yield from known_policies.resources
    yield from tracing_resources(gateway)
    for cluster in (
        *callout_clusters(),
        *otlp_clusters(gateway),
        *analytics_clusters(gateway),
        *clusters(gateway, routes, materials),
    ):
        yield Resource.of(cluster.name, cluster, kinds_of(gateway, cluster.name))
    for assignment in cluster_load_assignments(gateway, endpoints):
        yield Resource.of(assignment.cluster_name, assignment, kinds_of(gateway, assignment.cluster_name))
    for configured in gateway.listeners:
        scope = listener_scope(gateway, configured, routes, known_policies, materials)
        yield Resource.of(configured.name, listener(scope))
        yield Resource.of(configured.name, route_configuration(scope))
    yield from proxyless_listeners(gateway)
