"""What services have become since the last translation: clusters, assignments, listeners of proxyless gRPC."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from control_plane.config.effective import EffectiveRoute
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.routes import RetryBudget
from control_plane.config.model.services import Service
from control_plane.endpoints import Endpoints
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, LISTENER
from control_plane.snapshot import Resource
from control_plane.translate.clusters import cluster, retry_budgets, zone_aware
from control_plane.translate.endpoints import service_assignment
from control_plane.translate.proxyless import kinds_of, proxyless_listener

Difference = Mapping[str, Resource | None]
"""New resources by name; None: there is none any more."""


class OfServices:
    """Ten thousand services cost a comparison each; those that are other objects than before are translated."""

    def __init__(self) -> None:
        self._services: Mapping[str, Service] = {}
        self._budgets: Mapping[str, RetryBudget] = {}
        self._endpoints: Endpoints = {}

    def differences(
        self, gateway: Gateway, routes: Iterable[EffectiveRoute], endpoints: Endpoints, materials: Materials
    ) -> Mapping[str, Difference]:
        """By type URL, what differs from the last call; all that is not of services or routes is equal."""
        services = gateway.services
        budgets = retry_budgets(routes)
        gone = dict.fromkeys(self._services.keys() - services.keys())
        changed = _differing(self._services, services) - gone.keys()
        clusters = changed | (_differing(self._budgets, budgets) & services.keys())
        assignments = changed | (_differing(self._endpoints, endpoints) & services.keys())
        differences = {
            CLUSTER: gone | dict(_clusters(gateway, sorted(clusters), budgets, materials)),
            CLUSTER_LOAD_ASSIGNMENT: gone | dict(_assignments(services, sorted(assignments), endpoints)),
            LISTENER: gone | {name: proxyless_listener(gateway, name) for name in sorted(changed)},
        }
        self._services, self._budgets, self._endpoints = services, budgets, dict(endpoints)
        return differences


def _differing(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    known = before.get
    found = {name for name, value in after.items() if known(name) is not value}
    return {name for name in found if known(name) != after[name]} | (before.keys() - after.keys())


def _clusters(
    gateway: Gateway,
    names: Collection[str],
    budgets: Mapping[str, RetryBudget],
    materials: Materials,
) -> Iterator[tuple[str, Resource]]:
    for name in names:
        service = gateway.services[name]
        message = cluster(name, service, budgets.get(name), materials)
        if gateway.envoys is not None and service.load_balancing.hash is None:
            message.common_lb_config.zone_aware_lb_config.CopyFrom(zone_aware(service))
        yield name, Resource.of(name, message, kinds_of(service))


def _assignments(
    services: Mapping[str, Service], names: Collection[str], endpoints: Endpoints
) -> Iterator[tuple[str, Resource | None]]:
    for name in names:
        service = services[name]
        if service.dns is not None:
            yield name, None
        else:
            yield name, service_assignment(name, service, endpoints, kinds_of(service))
