"""Envoys and services: who is connected, and what version each has of every type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control_plane.admin.status import NodeStatus, TypeStatus
from control_plane.dashboard.paging import Page, Query, paged
from control_plane.dashboard.scene import Scene
from control_plane.resource_types import DELIVERY_ORDER, NodeKind, short_name

KINDS = {
    NodeKind.ENVOY.value: "Envoy",
    NodeKind.EXT_AUTHZ.value: "ext_authz",
    NodeKind.EXT_PROC.value: "ext_proc",
    NodeKind.GRPC.value: "gRPC",
}
_SHORT = {
    "Secret": "Secrets",
    "AuthzPolicy": "Authz policies",
    "ProcessingPolicy": "Proc policies",
    "CachePurge": "Purges",
    "Tracing": "Tracing",
    "Cluster": "Clusters",
    "ClusterLoadAssignment": "Endpoints",
    "Listener": "Listeners",
    "RouteConfiguration": "Routes",
}
_ORDER = {short_name(type_url): place for place, type_url in enumerate(DELIVERY_ORDER)}


@dataclass(frozen=True, slots=True)
class Cell:
    """One type on one client."""

    type: str
    status: TypeStatus
    state: str
    """synced, refusing, waiting or behind."""


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One connected client."""

    node: NodeStatus
    kind: str
    state: str
    """The worst of its types."""
    cells: dict[str, Cell]
    numbers_age_s: float | None
    """Since its last report of statistics was read; None: there was none."""

    @property
    def refusals(self) -> list[TypeStatus]:
        return [one for one in self.node.types if one.nack is not None]


_WORST = ("refusing", "waiting", "behind", "synced")


def _cell(one: TypeStatus) -> Cell:
    if one.nack is not None:
        state = "refusing"
    elif one.unanswered_s is not None:
        state = "waiting"
    else:
        state = "synced" if one.in_sync else "behind"
    return Cell(one.type, one, state)


def rows(scene: Scene) -> list[ClientRow]:
    """In the order of their ids."""
    reporting = {name: scene.traffic.reporting(name) for name in ("", *scene.gateways)}
    return [_row(scene, node, reporting) for node in scene.status.nodes]


def _row(scene: Scene, node: NodeStatus, reporting: Mapping[str, Mapping[str, float]]) -> ClientRow:
    cells = {one.type: _cell(one) for one in node.types}
    states = {cell.state for cell in cells.values()} | (set() if node.in_sync else {"behind"})
    state = next((state for state in _WORST if state in states), "synced")
    reports = [
        known[node.id] for known in (reporting.get(node.cluster, {}), *_any(node, reporting)) if node.id in known
    ]
    numbers_age_s = scene.monotonic - max(reports) if reports else None
    return ClientRow(node, KINDS.get(node.kind, node.kind), state, cells, numbers_age_s)


def _any(node: NodeStatus, reporting: Mapping[str, Mapping[str, float]]) -> Sequence[Mapping[str, float]]:
    """A service of all gateways counts for the only one, if there is one."""
    return () if node.cluster else tuple(reporting.values())


def page(scene: Scene, query: Query) -> Page[ClientRow]:
    found = [row for row in rows(scene) if not query.gateway or row.node.cluster in (query.gateway, "")]
    return paged(
        found,
        query,
        words=lambda row: f"{row.node.id} {row.node.cluster} {row.kind} {row.node.version} {row.node.peer}",
        states=lambda row: frozenset({row.state, row.kind, *(() if row.state == "synced" else ("behind",))}),
        orders={"id": lambda row: row.node.id, "connected": lambda row: row.node.connected_at},
    )


def columns(found: Sequence[ClientRow]) -> list[tuple[str, str]]:
    """Type and heading of every type that one of them has, in delivery order."""
    types = {one for row in found for one in row.cells}
    return [(one, _SHORT.get(one, one)) for one in sorted(types, key=lambda one: (_ORDER.get(one, 99), one))]


def client(scene: Scene, node_id: str, cluster: str) -> list[ClientRow]:
    """All connections of that id: an Envoy with a stream for each type has several."""
    return [row for row in rows(scene) if row.node.id == node_id and row.node.cluster == cluster]
