"""What the leader reports to the cluster: a faulty configuration, refusals by clients, services without endpoints."""

from collections.abc import Iterable, Iterator

from control_plane.config.model.gateway import Gateway
from control_plane.kubernetes.cluster import Cluster
from control_plane.kubernetes.problems import Problem, Reference
from control_plane.kubernetes.watched import kubernetes_secrets, kubernetes_services
from control_plane.resource_types import short_name
from control_plane.xds.store import Client

_MOST_FAULTS = 5


def configuration_problems(faults: tuple[str, ...], config_map: Reference | None) -> Iterator[Problem]:
    """Of a file that came from a ConfigMap; a mounted file belongs to no object that is known here."""
    if faults and config_map is not None:
        more = f" (and {len(faults) - _MOST_FAULTS} more)" if len(faults) > _MOST_FAULTS else ""
        yield Problem(config_map, "ConfigurationFaulty", "; ".join(faults[:_MOST_FAULTS]) + more)


def refusals(clients: Iterable[Client], config_map: Reference | None) -> Iterator[Problem]:
    """What Envoys and services refuse: the configuration passed our checks and not theirs."""
    if config_map is None:
        return
    for client in clients:
        for type_url, subscription in sorted(client.session.subscriptions.items()):
            if subscription.nack is not None:
                said = f"{client.node.kind.value} refuses {short_name(type_url)}: {subscription.nack.message}"
                yield Problem(config_map, "ConfigurationRejected", said)


def discovery_problems(gateway: Gateway, cluster: Cluster) -> Iterator[Problem]:
    """Services that have no endpoint and TLS Secrets that cannot serve."""
    texts = cluster.problems(gateway)
    for name, reference in kubernetes_services(gateway):
        if name in texts:
            yield Problem(Reference("Service", reference.namespace, reference.service), "NoEndpoints", texts[name])
    for namespace, name in kubernetes_secrets(gateway):
        text = texts.get(f"{namespace}/{name}")
        if text is not None:
            yield Problem(Reference("Secret", namespace, name), "CertificateUnusable", text)
