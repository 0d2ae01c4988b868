"""What is known while one listener is translated."""

from dataclasses import dataclass
from functools import cached_property

from control_plane.config.effective import EffectiveRoute
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.listeners import Listener
from control_plane.config.model.services import LoadBalancing, Service
from control_plane.translate.policies import Policies, RoutePolicyNames


@dataclass(frozen=True)
class ListenerScope:
    """One listener with the routes that it serves."""

    gateway: Gateway
    listener: Listener
    routes: tuple[EffectiveRoute, ...]
    """In file order."""
    policies: Policies
    materials: Materials

    def policies_of(self, route: EffectiveRoute) -> RoutePolicyNames:
        return self.policies.by_route[self.listener.name, route.name]

    def services_of(self, route: EffectiveRoute) -> tuple[Service, ...]:
        """The services of the route's backends, in their order."""
        return tuple(self.gateway.services[backend.service] for backend in route.backends)

    def traits_of(self, route: EffectiveRoute) -> tuple[tuple[str, LoadBalancing], ...]:
        """What matters of these services for the route: it does not change with their other settings."""
        return tuple([(service.protocol, service.load_balancing) for service in self.services_of(route)])

    def max_request_body(self, route: EffectiveRoute) -> int:
        """Bytes."""
        own = route.max_request_body
        return self.listener.limits.request_body if own is None else own

    def is_signed(self, route: EffectiveRoute) -> bool:
        """Whether ext_authz needs the request's body."""
        references = (route.auth.any_of or route.auth.all_of or ()) if route.auth is not None else ()
        return any(reference.startswith("signatures.") for reference in references)

    @cached_property
    def has_signed_routes(self) -> bool:
        """Asked once a route; looking through all routes each time would make translation quadratic."""
        return any(self.is_signed(route) for route in self.routes)


def listener_scope(
    gateway: Gateway,
    listener: Listener,
    routes: tuple[EffectiveRoute, ...],
    policies: Policies,
    materials: Materials,
) -> ListenerScope:
    """The scope of a listener, given the routes of the whole gateway."""
    own = tuple(route for route in routes if listener.name in route.listeners)
    return ListenerScope(gateway, listener, own, policies, materials)
