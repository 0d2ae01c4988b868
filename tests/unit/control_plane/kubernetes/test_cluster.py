"""What follows from what is known of the cluster."""

from collections.abc import Mapping

import pytest

from control_plane.config.model.gateway import Gateway
from control_plane.config.model.services import Envoys, KubernetesService, Service
from control_plane.endpoints import (
    AddressType,
    Condition,
    Endpoint,
    EndpointSlice,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
)
from control_plane.kubernetes.cluster import Affected, Cluster, Known, ServiceKey, services_of
from control_plane.kubernetes.list_watch import Changed, Listed
from control_plane.kubernetes.parsing import ObjectContent
from control_plane.kubernetes.watched import Kind, Watched, watched_by
from control_plane.translate.clusters import cluster as translated_cluster

SLICES = Watched("shop", Kind.ENDPOINT_SLICES)
SERVICES = Watched("shop", Kind.SERVICES)
SECRET = Watched("shop", Kind.SECRETS, "cert")
USERS = KubernetesService(namespace="shop", service="users", port="http")
KEY = ServiceKey("shop", "users")


def slice_of(
    *addresses: str, name: str = "users-a", service: str = "users", kind: AddressType = AddressType.IPV4
) -> EndpointSlice:
    ports = (SlicePort("http", 8080),)
    return EndpointSlice("shop", service, name, kind, ports, tuple(SliceEndpoint(one) for one in addresses))


def spec(*ports: ServicePort, external_name: str = "") -> ServiceSpec:
    return ServiceSpec("shop", "users", ports, external_name=external_name)


def cluster(*known: Known) -> Cluster:
    found = Cluster()
    slices = {one.name: one for one in known if isinstance(one, EndpointSlice)}
    found.apply(SLICES, Listed(slices))
    found.apply(SERVICES, Listed({one.name: one for one in known if isinstance(one, ServiceSpec)}))
    return found


def gateway(services: Mapping[str, object] | None = None, tls: object = None) -> Gateway:
    named = {"users": {"kubernetes": {"namespace": "shop", "service": "users", "port": "http"}}}
    listener: dict[str, object] = {"name": "public", "port": 10000}
    return Gateway.model_validate(
        {
            "version": 1,
            "name": "meetinity",
            "listeners": [listener | ({"tls": tls} if tls else {})],
            "services": services or named,
        }
    )


def test_a_list_replaces_what_was_known() -> None:
    """Slices that were deleted while nobody watched are gone; their Service is affected."""
    known = cluster(slice_of("10.0.0.1"), slice_of("10.0.0.2", name="users-b"))

    affected = known.apply(SLICES, Listed({"users-b": slice_of("10.0.0.2", name="users-b")}))

    assert Affected(frozenset({KEY})) == affected
    assert (Endpoint("10.0.0.2", 8080),) == known.endpoints(USERS)


def test_what_is_equal_affects_nothing() -> None:
    """Lists repeat everything, and events come for every touched annotation."""
    known = cluster(slice_of("10.0.0.1"))

    assert not known.apply(SLICES, Changed("users-a", slice_of("10.0.0.1")))
    assert not known.apply(SLICES, Listed({"users-a": slice_of("10.0.0.1")}))
    assert not known.apply(SLICES, Changed("never-seen", None))


def test_a_slice_that_moves_to_another_service_affects_both() -> None:
    """The label may change."""
    known = cluster(slice_of("10.0.0.1"))

    affected = known.apply(SLICES, Changed("users-a", slice_of("10.0.0.1", service="orders")))

    assert frozenset({KEY, ServiceKey("shop", "orders")}) == affected.services
    assert () == known.endpoints(USERS)


def test_namespaces_are_kept_apart() -> None:
    """Slices of one name in two namespaces are two slices."""
    known = cluster(slice_of("10.0.0.1"))
    other = Watched("payroll", Kind.ENDPOINT_SLICES)
    known.apply(other, Listed({}))

    assert (Endpoint("10.0.0.1", 8080),) == known.endpoints(USERS)


def test_a_forgotten_namespace_is_empty() -> None:
    """Its Services are affected, its Secrets too."""
    known = cluster(slice_of("10.0.0.1"))
    known.apply(SECRET, Changed("cert", ObjectContent("shop", "cert", {"tls.crt": b"x"})))

    assert Affected(frozenset({KEY})) == known.forget(SLICES)
    assert Affected(contents=frozenset({SECRET})) == known.forget(SECRET)
    assert () == known.endpoints(USERS)
    assert known.content(SECRET) is None


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([], "Service shop/users does not exist"),
        ([spec(ServicePort("grpc", 9000), ServicePort("", 80))], "has no port 'http' (it has grpc (9000), 80)"),
        ([spec(ServicePort("http", 80))], "Service shop/users has no ready endpoint"),
        ([spec(ServicePort("http", 80)), slice_of()], "Service shop/users has no ready endpoint"),
        ([spec(external_name="users.example.com")], "an ExternalName without a port 'http': write its number"),
    ],
)
def test_problems_say_why_a_service_has_no_endpoint(known: list[Known], expected: str) -> None:
    """In the words of the one who has to mend it."""
    (text,) = cluster(*known).problems(gateway()).values()

    assert expected in text


def test_a_service_with_endpoints_has_no_problem() -> None:
    """Also when its Service object cannot be read."""
    assert {} == cluster(slice_of("10.0.0.1")).problems(gateway())
    assert {} == cluster(slice_of("10.0.0.1"), spec(ServicePort("http", 80))).problems(gateway())


def test_an_external_name_is_a_dns_service() -> None:
    """As if gateway.yaml said dns; the file itself stays as it is."""
    known = cluster(spec(ServicePort("http", 8000), external_name="users.example.com"))
    found = known.discovered(gateway()).gateway.services["users"]

    assert found.kubernetes is None
    assert found.dns is not None
    assert ("users.example.com", 8000) == (found.dns.host, found.dns.port)


def test_a_host_name_in_a_slice_makes_a_dns_service() -> None:
    """Envoy's EDS would refuse it."""
    known = cluster(slice_of("users.example.com", kind=AddressType.FQDN))
    found = known.discovered(gateway()).gateway.services["users"]

    assert found.dns is not None
    assert ("users.example.com", 8080) == (found.dns.host, found.dns.port)


def test_host_names_never_reach_eds() -> None:
    """Envoy refuses an assignment with one; addresses of the same Service win over them."""
    names = slice_of("a.example.com", kind=AddressType.FQDN)
    known = cluster(names)
    assert () == known.endpoints(USERS)
    assert {} == known.problems(gateway())

    known.apply(SLICES, Changed("users-b", slice_of("10.0.0.1", name="users-b")))
    assert ["10.0.0.1"] == [one.address for one in known.endpoints(USERS)]
    assert known.service_as_discovered(Service(kubernetes=USERS)).dns is None

    known.apply(SLICES, Changed("users-b", None))
    known.apply(SLICES, Changed("users-a", None))
    assert {"users": "Service shop/users does not exist"} == known.problems(gateway())


def test_several_host_names_are_all_served() -> None:
    """With their zones and weights, as endpoints of one DNS cluster."""
    entries = (SliceEndpoint("b.example.com", zone="b"), SliceEndpoint("a.example.com", zone="a"))
    ports = (SlicePort("http", 8080),)
    names = EndpointSlice("shop", "users", "users-a", AddressType.FQDN, ports, entries, weight=3)
    service = cluster(names).service_as_discovered(Service(kubernetes=USERS))
    message = translated_cluster("users", service, None, {})

    found = [(zone.locality.zone, one) for zone in message.load_assignment.endpoints for one in zone.lb_endpoints]
    assert [("a", "a.example.com", 3), ("b", "b.example.com", 3)] == [
        (zone, one.endpoint.hostname, one.load_balancing_weight.value) for zone, one in found
    ]
    assert "envoy.clusters.dns" == message.cluster_type.name


def test_app_protocol_counts_where_the_file_says_nothing() -> None:
    """What the file says wins."""
    known = cluster(slice_of("10.0.0.1"), spec(ServicePort("http", 80, app_protocol="kubernetes.io/h2c")))
    unsaid, said = Service(kubernetes=USERS), Service(kubernetes=USERS, protocol="http1")

    assert "http2" == known.service_as_discovered(unsaid).protocol
    assert "http1" == known.service_as_discovered(said).protocol


def test_services_that_are_not_discovered_stay_as_they_are() -> None:
    """Nothing is copied, so that nothing looks changed."""
    fixed = gateway({"fixed": {"endpoints": [{"address": "10.0.0.9", "port": 80}]}})

    assert cluster().discovered(fixed).gateway is fixed


def test_draining_endpoints_reach_the_assignment() -> None:
    """Conditions survive the way."""
    slices = EndpointSlice(
        "shop",
        "users",
        "users-a",
        AddressType.IPV4,
        (SlicePort("http", 8080),),
        (SliceEndpoint("10.0.0.1"), SliceEndpoint("10.0.0.2", Condition.TERMINATING)),
    )
    found = cluster(slices).discovered(gateway()).endpoints["users"]

    assert ["healthy", "draining"] == [one.health.value for one in found]


def test_only_what_the_configuration_names_is_watched() -> None:
    """Services and slices of its namespaces, and Secrets by their names."""
    tls = {"kubernetes_secret": "edge/cert"}

    assert {
        Watched("shop", Kind.SERVICES),
        Watched("shop", Kind.ENDPOINT_SLICES),
        Watched("edge", Kind.SECRETS, "cert"),
    } == watched_by(gateway(tls=tls))
    assert not watched_by(gateway({"fixed": {"endpoints": [{"address": "10.0.0.9", "port": 80}]}}))


def test_the_envoys_of_the_gateway_are_discovered() -> None:
    """As a service is, under the name of their cluster."""
    reference = {"namespace": "gateway", "service": "envoy", "port": "http"}
    fixed = {"fixed": {"endpoints": [{"address": "10.0.0.9", "port": 80}]}}
    named = gateway(fixed).model_copy(update={"envoys": Envoys.model_validate({"kubernetes": reference})})
    ports, entries = (SlicePort("http", 8080),), (SliceEndpoint("10.0.0.1", zone="a"),)
    known = EndpointSlice("gateway", "envoy", "envoy-a", AddressType.IPV4, ports, entries)

    assert {Watched("gateway", Kind.SERVICES), Watched("gateway", Kind.ENDPOINT_SLICES)} == watched_by(named)
    assert (Endpoint("10.0.0.1", 8080, "a"),) == cluster(known).discovered(named).endpoints["gateway:envoys"]


def test_a_single_object_is_selected_by_name() -> None:
    """RBAC with resourceNames grants nothing else."""
    assert {"fieldSelector": "metadata.name=cert"} == SECRET.selector
    assert {} == SLICES.selector
    assert "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices" == SLICES.path
    assert ("discovery.k8s.io", "") == (Kind.ENDPOINT_SLICES.group, Kind.SECRETS.group)


def test_services_of_a_key() -> None:
    """Two names of one Service, for two of its ports, are both affected."""
    both = {
        name: {"kubernetes": {"namespace": "shop", "service": "users", "port": port}}
        for name, port in (("users", "http"), ("users-grpc", "grpc"))
    }

    assert ["users", "users-grpc"] == sorted(services_of(gateway(both), [KEY]))
