"""gateway.yaml + endpoints + materials -> Snapshot: a pure function, equal input gives equal bytes.

One module per resource type (clusters, endpoints, listeners, routes, secrets, policies), one per thing that a type is
made of; http_filters.py holds the order of the filter chain. `Translator` is the same function with a memory, so that
a translation costs what has changed since the last one.
"""

from collections.abc import Iterator
from types import MappingProxyType

from control_plane.config.effective import EffectiveRoute, EffectiveRoutes
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.endpoints import Endpoints
from control_plane.remembered import Remembered
from control_plane.resource_types import ROUTE_CONFIGURATION
from control_plane.snapshot import Resource, ResourceMap, Snapshot, with_changes
from control_plane.translate.analytics import analytics_clusters
from control_plane.translate.callouts import callout_clusters
from control_plane.translate.endpoints import other_assignments
from control_plane.translate.listeners import listener
from control_plane.translate.patches import patched
from control_plane.translate.policies import KnownPolicies, policies
from control_plane.translate.routes import KnownRoutes, route_configuration
from control_plane.translate.scope import listener_scope
from control_plane.translate.secrets import secrets
from control_plane.translate.services import OfServices
from control_plane.translate.tracing import otlp_clusters, tracing_resources

__all__ = ["Materials", "Translator", "translate"]


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
    return Translator().translate(gateway, endpoints, materials)


class Translator:
    """Translates one configuration after the other; equal input gives equal bytes, whatever came before.

    What is made of one route or one service is made again only if that route or service is another object than
    before, or if anything else of the gateway differs. Not for two threads at once.
    """

    def __init__(self) -> None:
        self._context: object = None
        self._effective = EffectiveRoutes()
        self._policies = KnownPolicies()
        self._routes = KnownRoutes()
        self._of_routes = Remembered[tuple[Resource, ...]]()
        self._services = OfServices()
        self._with_services: dict[str, ResourceMap] = {}
        """By the types that services have a part in, all resources of the last translation."""

    def translate(self, gateway: Gateway, endpoints: Endpoints, materials: Materials) -> Snapshot:
        """As the function of that name."""
        self._prepare(gateway, materials)
        routes = self._effective.of(gateway)
        others = Snapshot.of(self._others(gateway, routes, endpoints, materials))
        differences = self._services.differences(gateway, routes, endpoints, materials)
        for type_url, difference in differences.items():
            changes = {**difference, **others.of_type(type_url)}
            self._with_services[type_url] = with_changes(self._with_services.get(type_url, {}), changes)
        snapshot = Snapshot(MappingProxyType({**others.resources, **self._with_services}))
        if not gateway.envoy_patches:
            return snapshot
        every = (resource for named in snapshot.resources.values() for resource in named.values())
        return Snapshot.of(patched(gateway.envoy_patches, every))

    def _prepare(self, gateway: Gateway, materials: Materials) -> None:
        """Forget everything if more than routes and services may differ."""
        sections = {key: getattr(gateway, key) for key in Gateway.model_fields if key not in ("routes", "services")}
        context = (sections, dict(materials))
        if context != self._context:
            self._context = context
            self._services = OfServices()
            self._with_services.clear()
            for known in (self._policies, self._routes, self._of_routes):
                known.forget()
        self._of_routes.next_round()

    def _others(
        self, gateway: Gateway, routes: tuple[EffectiveRoute, ...], endpoints: Endpoints, materials: Materials
    ) -> Iterator[Resource]:
        yield from secrets(gateway, materials)
        yield from tracing_resources(gateway)
        for cluster in (*callout_clusters(), *otlp_clusters(gateway), *analytics_clusters(gateway)):
            yield Resource.of(cluster.name, cluster)
        yield from other_assignments(gateway, endpoints)
        key = _traits(gateway, routes)
        yield from self._of_routes.of(key, (routes,), lambda: tuple(self._made_of(gateway, routes, materials)))

    def _made_of(
        self, gateway: Gateway, routes: tuple[EffectiveRoute, ...], materials: Materials
    ) -> Iterator[Resource]:
        self._policies.next_round()
        self._routes.next_round()
        known_policies = policies(gateway, routes, materials, self._policies)
        yield from known_policies.resources
        for configured in gateway.listeners:
            scope = listener_scope(gateway, configured, routes, known_policies, materials)
            yield Resource.of(configured.name, listener(scope))
            yield Resource.of_body(ROUTE_CONFIGURATION, configured.name, route_configuration(scope, self._routes))


def _traits(gateway: Gateway, routes: tuple[EffectiveRoute, ...]) -> tuple[object, ...]:
    """All that matters of services for what is made of routes: see `ListenerScope.traits_of`."""
    services = gateway.services
    names = dict.fromkeys(backend.service for route in routes for backend in route.backends)
    return tuple([(name, services[name].protocol, services[name].load_balancing) for name in names])
