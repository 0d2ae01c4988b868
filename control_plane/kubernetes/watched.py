"""Which objects are listed and watched: a kind, a namespace, and one name if a single object is meant."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import Analytics, KubernetesService
from control_plane.translate.names import ANALYTICS_CLUSTER, ENVOYS_CLUSTER, EXT_AUTHZ_CLUSTER, EXT_PROC_CLUSTER


class Kind(Enum):
    """API path up to the namespace, and the resource's plural name."""

    SERVICES = ("/api/v1", "services")
    ENDPOINT_SLICES = ("/apis/discovery.k8s.io/v1", "endpointslices")
    SECRETS = ("/api/v1", "secrets")
    CONFIG_MAPS = ("/api/v1", "configmaps")

    @property
    def resource(self) -> str:
        return self.value[1]

    @property
    def group(self) -> str:
        """The API group as RBAC rules name it; "" is the core group."""
        return self.value[0].split("/")[2] if self.value[0].startswith("/apis/") else ""


@dataclass(frozen=True, slots=True, order=True)
class Watched:
    """The objects of one list/watch."""

    namespace: str
    kind: Kind
    name: str = ""
    """"" means every object of the namespace."""

    def __str__(self) -> str:
        return f"{self.kind.resource} {self.namespace}/{self.name or '*'}"

    @property
    def path(self) -> str:
        prefix, resource = self.kind.value
        return f"{prefix}/namespaces/{self.namespace}/{resource}"

    @property
    def selector(self) -> dict[str, str]:
        """RBAC grants list and watch of one object by resourceNames only if this selector asks for that name."""
        return {"fieldSelector": f"metadata.name={self.name}"} if self.name else {}


def watched_by(gateway: Gateway) -> frozenset[Watched]:
    """Everything in Kubernetes that one configuration needs: no namespace and no Secret that it does not name."""
    namespaces = {reference.namespace for _, reference in kubernetes_services(gateway)}
    found = {Watched(namespace, kind) for namespace in namespaces for kind in (Kind.SERVICES, Kind.ENDPOINT_SLICES)}
    for namespace, name in kubernetes_secrets(gateway):
        found.add(Watched(namespace, Kind.SECRETS, name))
    return frozenset(found)


def kubernetes_services(gateway: Gateway) -> Iterator[tuple[str, KubernetesService]]:
    """What is named in gateway.yaml and what it refers to; callouts and Envoys stand under their clusters' names."""
    for name, service in gateway.services.items():
        if service.kubernetes is not None:
            yield name, service.kubernetes
    if gateway.callouts.ext_authz.kubernetes is not None:
        yield EXT_AUTHZ_CLUSTER, gateway.callouts.ext_authz.kubernetes
    if gateway.callouts.ext_proc.kubernetes is not None:
        yield EXT_PROC_CLUSTER, gateway.callouts.ext_proc.kubernetes
    if gateway.envoys is not None and gateway.envoys.kubernetes is not None:
        yield ENVOYS_CLUSTER, gateway.envoys.kubernetes
    if isinstance(gateway.analytics, Analytics) and gateway.analytics.kubernetes is not None:
        yield ANALYTICS_CLUSTER, gateway.analytics.kubernetes


def kubernetes_secrets(gateway: Gateway) -> Iterator[tuple[str, str]]:
    """Namespace and name of every TLS Secret that a listener names."""
    for listener in gateway.listeners:
        for certificate in listener.tls or ():
            if certificate.kubernetes_secret is not None:
                namespace, _, name = certificate.kubernetes_secret.partition("/")
                yield namespace, name
