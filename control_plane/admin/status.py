"""What the control plane knows about itself and its clients, as plain values that become JSON."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from control_plane.config.model.gateway import Gateway
from control_plane.kubernetes.discovery import Discovery
from control_plane.reconciler import ConfigStatus
from control_plane.resource_types import DELIVERY_ORDER, short_name
from control_plane.xds.store import Client, Feed, Store
from control_plane.xds.subscription import Subscription


@dataclass(frozen=True, slots=True)
class NackStatus:
    """The last refusal of a type that has not been made good."""

    version: str
    reason: str
    resources: tuple[str, ...]
    """What was new in the refused response."""
    parked: tuple[str, ...]
    """What is not sent again until it changes."""
    at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type on one client."""

    type: str
    version_sent: str
    version_acked: str
    unanswered_s: float | None
    """For how long the last response has been without ACK or NACK; None: it has one."""
    in_sync: bool
    """Whether the client has acknowledged all that it is to have."""
    nack: NackStatus | None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One connected client."""

    id: str
    cluster: str
    kind: str
    version: str
    peer: str
    variant: str
    connected_at: float
    age_s: float
    in_sync: bool
    types: tuple[TypeStatus, ...]


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """One snapshot."""

    name: str
    generation: int
    snapshot_age_s: float
    resources: dict[str, int]
    refused_policies: tuple[str, ...]
    """Services cannot take these: routes do not change until that is mended."""


@dataclass(frozen=True, slots=True)
class RefusedStatus:
    """A node whose streams are ended at once: an unknown gateway, or a credential that is not for it."""

    id: str
    cluster: str
    peer: str
    reason: str
    count: int
    age_s: float


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What is known of Kubernetes. While a watch fails, what was known before is served."""

    watches: tuple[dict[str, str | bool], ...]
    problems: dict[str, str]
    """Why a service has no endpoints, by its name; why a TLS Secret cannot serve, by namespace/name."""


@dataclass(frozen=True, slots=True)
class Status:
    """All of it."""

    config: ConfigStatus
    gateways: tuple[GatewayStatus, ...]
    nodes: tuple[NodeStatus, ...]
    configs: tuple[ConfigStatus, ...]
    """Of each gateway's file; `config` is all of them together."""
    refused: tuple[RefusedStatus, ...]
    """Who was not let in during the last minute; the newest last."""
    kubernetes: ClusterStatus | None
    """None outside of a cluster."""
    time: float
    """Seconds since the epoch."""


def cluster_status(discovery: Discovery, gateways: Sequence[Gateway]) -> ClusterStatus:
    """Of what these gateways need."""
    return ClusterStatus(
        watches=tuple(
            {"watched": str(one.watched), "synced": one.synced, "error": one.error} for one in discovery.status()
        ),
        problems={name: text for gateway in gateways for name, text in discovery.cluster.problems(gateway).items()},
    )


def status(
    config: ConfigStatus,
    store: Store,
    cluster: ClusterStatus | None = None,
    configs: tuple[ConfigStatus, ...] | None = None,
) -> Status:
    """How things stand now."""
    now, wall = store.clock(), time.time()
    return Status(
        config=config,
        configs=(config,) if configs is None else configs,
        gateways=tuple(_gateway(feed, wall) for _, feed in sorted(store.feeds.items())),
        nodes=tuple(_node(client, now, wall) for client in store.clients()),
        refused=tuple(
            RefusedStatus(one.node, one.cluster, one.peer, one.reason, one.count, round(now - one.last_at, 3))
            for one in store.refusals.recent(now)
        ),
        kubernetes=cluster,
        time=wall,
    )


def _gateway(feed: Feed, wall: float) -> GatewayStatus:
    current = feed.current
    return GatewayStatus(
        name=feed.name,
        generation=current.generation,
        snapshot_age_s=round(wall - current.at, 3),
        resources={short_name(type_url): len(named) for type_url, named in current.snapshot.resources.items()},
        refused_policies=feed.refused_policies(),
    )


def _node(client: Client, now: float, wall: float) -> NodeStatus:
    types = tuple(_type(client, subscription, now) for subscription in _in_order(client))
    return NodeStatus(
        id=client.node.id,
        cluster=client.node.cluster,
        kind=client.node.kind.value,
        version=client.node.version,
        peer=client.peer,
        variant=client.variant,
        connected_at=client.connected_at,
        age_s=round(wall - client.connected_at, 3),
        in_sync=client.is_up_to_date and all(one.in_sync for one in types),
        types=types,
    )


def _in_order(client: Client) -> Sequence[Subscription]:
    subscriptions = client.session.subscriptions
    known = [type_url for type_url in DELIVERY_ORDER if type_url in subscriptions]
    return [subscriptions[type_url] for type_url in (*known, *sorted(subscriptions.keys() - set(known)))]


def _type(client: Client, subscription: Subscription, now: float) -> TypeStatus:
    outstanding = subscription.outstanding
    return TypeStatus(
        type=short_name(subscription.type_url),
        version_sent=subscription.version_sent,
        version_acked=subscription.version_acked,
        unanswered_s=None if outstanding is None else round(now - outstanding.sent_at, 3),
        in_sync=client.session.has_settled(subscription.type_url),
        nack=_nack(client, subscription),
    )


def _nack(client: Client, subscription: Subscription) -> NackStatus | None:
    nack = subscription.nack
    if nack is None:
        return None
    return NackStatus(
        version=nack.version,
        reason=nack.message,
        resources=nack.names,
        parked=tuple(sorted(subscription.quarantine.parked)),
        at=client.nack_times.get(subscription.type_url, 0.0),
    )
