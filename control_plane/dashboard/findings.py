"""What is wrong, the worst first: the first thing that an operator sees, each with the page that tells more."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlencode

from control_plane.admin.status import NackStatus, NodeStatus, TypeStatus
from control_plane.dashboard.scene import Scene
from control_plane.dashboard.wording import age, count, percent
from control_plane.resource_types import AUTHZ_POLICY, PROCESSING_POLICY, NodeKind
from control_plane.traffic.numbers import Membership
from control_plane.traffic.report import stat_name
from control_plane.translate.names import EXT_AUTHZ_CLUSTER, EXT_PROC_CLUSTER

_UNANSWERED_S = 20.0
"""Envoy may withhold its answer for 15 s while a cluster warms up."""
_ERRORS = 0.05
_MOST = 40


class Severity(IntEnum):
    """How bad it is."""

    CRITICAL = 0
    """Requests fail, or will."""
    WARNING = 1
    """Something that was asked for does not hold; requests are served."""
    NOTICE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    severity: Severity
    title: str
    detail: str
    """In the words of whoever said it, "" for nothing more."""
    link: str
    key: str
    """Stays the same while the same is wrong."""


def findings(scene: Scene) -> tuple[Finding, ...]:
    """The worst first, at most 40 of them."""
    found = [
        *_configuration(scene),
        *_gateways(scene),
        *_refused_nodes(scene),
        *_nacks(scene),
        *_unanswered(scene),
        *_services(scene),
        *_traffic(scene),
        *_kubernetes(scene),
    ]
    return tuple(sorted(found, key=lambda one: one.severity)[:_MOST])


def _configuration(scene: Scene) -> Iterator[Finding]:
    for config in scene.status.configs:
        if not config.valid:
            served = "the last good text of the state directory" if config.is_last_good else "the last good text"
            since = (
                f"; {served} has been served for {age(scene.at - config.serving_since)}" if config.serving_since else ""
            )
            yield Finding(
                Severity.WARNING if config.serving_since else Severity.CRITICAL,
                f"{config.file} is faulty{since}",
                "\n".join(config.faults),
                "/",
                f"config:{config.file}",
            )
        for withheld in config.withheld:
            yield Finding(
                Severity.WARNING, "Not served, because Envoy would refuse it", withheld, "/", f"withheld:{withheld}"
            )


def _gateways(scene: Scene) -> Iterator[Finding]:
    connected = {
        node.cluster for node in scene.status.nodes if node.kind in (NodeKind.ENVOY.value, NodeKind.GRPC.value)
    }
    for gateway in scene.status.gateways:
        if gateway.name not in connected:
            yield Finding(
                Severity.CRITICAL,
                f"No Envoy of gateway {gateway.name} is connected",
                "Envoys that run keep what they have; changes reach nobody.",
                "/clients",
                f"no-envoy:{gateway.name}",
            )
        for policy in gateway.refused_policies:
            yield Finding(
                Severity.WARNING,
                f"A service refuses policy {policy}: routes of {gateway.name} stay as they are",
                "",
                "/clients?state=refusing",
                f"policy:{gateway.name}:{policy}",
            )


def _refused_nodes(scene: Scene) -> Iterator[Finding]:
    for one in scene.status.refused:
        yield Finding(
            Severity.WARNING,
            f"{one.id or 'A node without id'} is not let in ({count(one.count, 'time')}, {age(one.age_s)} ago)",
            one.reason,
            "/clients",
            f"refused:{one.id}:{one.cluster}",
        )


def _nacks(scene: Scene) -> Iterator[Finding]:
    """One for each type and reason, however many clients say it."""
    grouped: dict[tuple[str, str, str], list[tuple[NodeStatus, NackStatus]]] = {}
    for node in scene.status.nodes:
        for one in node.types:
            if one.nack is not None:
                grouped.setdefault((node.cluster, one.type, one.nack.reason), []).append((node, one.nack))
    for (cluster, kind, reason), clients in sorted(grouped.items(), key=lambda item: item[0]):
        parked = sorted({name for _, nack in clients for name in nack.parked})
        who = clients[0][0].id if len(clients) == 1 else count(len(clients), "client")
        what = f" {', '.join(parked[:3])}{' …' if len(parked) > 3 else ''}" if parked else ""
        yield Finding(
            Severity.WARNING,
            f"{who} {'refuses' if len(clients) == 1 else 'refuse'} {kind}{what}",
            reason,
            f"/clients?{urlencode({'state': 'refusing', **({'gateway': cluster} if cluster else {})})}",
            f"nack:{cluster}:{kind}:{reason}",
        )


def _unanswered(scene: Scene) -> Iterator[Finding]:
    late = [(node, one) for node in scene.status.nodes for one in node.types if _is_late(one)]
    if not late:
        return
    longest = max(one.unanswered_s or 0.0 for _, one in late)
    names = sorted({node.id for node, _ in late})
    yield Finding(
        Severity.WARNING,
        f"{names[0] if len(names) == 1 else count(len(names), 'client')} gave no answer for {age(longest)}",
        "Neither ACK nor NACK: what was sent may wait for something that does not come.",
        "/clients?state=behind",
        "unanswered",
    )


def _is_late(one: TypeStatus) -> bool:
    return one.unanswered_s is not None and one.unanswered_s > _UNANSWERED_S


def _services(scene: Scene) -> Iterator[Finding]:
    for name, gateway in scene.gateways.items():
        members = scene.traffic.memberships(name)
        for service in sorted(gateway.services):
            one = members.get(stat_name(service))
            if one is not None and one.healthy < one.total:
                yield _lacking(name, service, one)
        for callout, (without, policies) in _CALLOUTS.items():
            one = members.get(stat_name(callout))
            if one is not None and one.healthy == 0 and scene.snapshot_of(name).of_type(policies):
                text = "It has endpoints, and none is healthy." if one.total else "It has no endpoints."
                yield Finding(
                    Severity.CRITICAL, f"No {without} answers for {name}", text, "/clients", f"callout:{name}:{callout}"
                )


_CALLOUTS: Mapping[str, tuple[str, str]] = {
    EXT_AUTHZ_CLUSTER: ("ext_authz", AUTHZ_POLICY),
    EXT_PROC_CLUSTER: ("ext_proc", PROCESSING_POLICY),
}
"""By cluster: the service, and the policies without which nobody needs it."""


def _lacking(gateway: str, service: str, one: Membership) -> Finding:
    ejected = f" ({one.ejected} ejected because of errors)" if one.ejected else ""
    link = f"/services/view?{urlencode({'gateway': gateway, 'name': service})}"
    if one.healthy == 0:
        title = f"Service {service} has no healthy endpoint: 0 of {one.total}{ejected}"
        return Finding(Severity.CRITICAL, title, "", link, f"service:{gateway}:{service}")
    title = f"Service {service} has {one.healthy} of {one.total} endpoints healthy{ejected}"
    return Finding(Severity.WARNING, title, "", link, f"service:{gateway}:{service}")


def _traffic(scene: Scene) -> Iterator[Finding]:
    for name in scene.gateways:
        total = scene.traffic.total(name)
        if total.error_ratio is not None and total.error_ratio > _ERRORS and total.requests >= 1:
            yield Finding(
                Severity.CRITICAL,
                f"{percent(total.error_ratio)} of the answers of {name} are server errors",
                "",
                f"/services?{urlencode({'gateway': name, 'sort': '-errors'})}",
                f"errors:{name}",
            )


def _kubernetes(scene: Scene) -> Iterator[Finding]:
    cluster = scene.status.kubernetes
    if cluster is None:
        return
    for watch in cluster.watches:
        if watch["error"] or not watch["synced"]:
            yield Finding(
                Severity.WARNING,
                f"The watch of {watch['watched']} does not work: what was known before is served",
                str(watch["error"] or "not listed yet"),
                "/",
                f"watch:{watch['watched']}",
            )
    for name, text in sorted(cluster.problems.items()):
        yield Finding(
            Severity.WARNING, f"Kubernetes: {name}", text, f"/services?{urlencode({'q': name})}", f"k8s:{name}"
        )
