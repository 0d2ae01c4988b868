"""Nothing that Envoy would refuse is published, and nothing else is held back."""

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from hypothesis import given
from hypothesis import strategies as st

from control_plane.endpoints import Endpoint
from control_plane.resource_types import CLUSTER, CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION
from control_plane.snapshot import Resource, Snapshot
from control_plane.translate.endpoints import cluster_load_assignment
from control_plane.validation.admission import Admission
from control_plane.validation.field_rules import FieldRules
from control_plane.validation.verdicts import Verdicts, is_plain

Route = route_components_pb2.Route


def cluster(name: str, *, connect_timeout_s: int = 1) -> Resource:
    message = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS)
    message.connect_timeout.FromSeconds(connect_timeout_s)
    message.eds_cluster_config.eds_config.ads.CopyFrom(config_source_pb2.AggregatedConfigSource())
    return Resource.of(name, message)


def route(name: str, to: str, prefix: str = "/") -> Route:
    message = Route(name=name)
    message.match.prefix = prefix
    message.route.cluster = to
    return message


def routes(*all_of_them: Route, domain: str = "*") -> Resource:
    host = route_components_pb2.VirtualHost(name="all", domains=[domain], routes=all_of_them)
    return Resource.of("public", route_pb2.RouteConfiguration(name="public", virtual_hosts=[host]))


def served_routes(snapshot: Snapshot) -> list[Route]:
    body = snapshot.of_type(ROUTE_CONFIGURATION)["public"].body
    return list(route_pb2.RouteConfiguration.FromString(body).virtual_hosts[0].routes)


def test_a_sound_snapshot_is_published_as_it_is() -> None:
    """The very same object."""
    snapshot = Snapshot.of([cluster("a"), routes(route("to-a", "a"))])

    admitted = Admission().admit(snapshot, None)

    assert snapshot is admitted.snapshot
    assert () == admitted.withheld


def test_a_cluster_that_envoy_would_refuse_keeps_its_last_good_version_alone() -> None:
    """The others are published, and the reason names the field."""
    good = Snapshot.of([cluster("a"), cluster("b")])
    bad = Snapshot.of([cluster("a", connect_timeout_s=-1), cluster("b", connect_timeout_s=2), cluster("c")])

    admitted = Admission().admit(bad, good)

    clusters = admitted.snapshot.of_type(CLUSTER)
    assert good.of_type(CLUSTER)["a"] == clusters["a"]
    assert bad.of_type(CLUSTER)["b"] == clusters["b"]
    assert "c" in clusters
    (withheld,) = admitted.withheld
    assert ("Cluster", "a", "the last good version") == (withheld.type, withheld.name, withheld.instead)
    assert "connect_timeout" in withheld.reason


def test_a_new_cluster_that_envoy_would_refuse_is_left_out_and_its_route_answers_503() -> None:
    """The route stays in its place: behind it stand routes with other policies."""
    snapshot = Snapshot.of(
        [
            cluster("a"),
            cluster("bad", connect_timeout_s=-1),
            routes(route("to-bad", "bad", "/bad"), route("to-a", "a")),
        ]
    )

    admitted = Admission().admit(snapshot, None)

    refusing, kept = served_routes(admitted.snapshot)
    assert ["a"] == list(admitted.snapshot.of_type(CLUSTER))
    assert ("to-bad", "/bad", 503) == (refusing.name, refusing.match.prefix, refusing.direct_response.status)
    assert route("to-a", "a") == kept
    assert ["nothing", "503"] == [one.instead for one in admitted.withheld]


def test_a_route_that_envoy_would_refuse_keeps_its_last_good_version_alone() -> None:
    """The edit of the route beside it is published."""
    good = Snapshot.of([cluster("a"), cluster("b"), routes(route("one", "a", "/one"), route("two", "a"))])
    broken = route("one", "b", "/one")
    broken.route.retry_policy.retry_back_off.max_interval.FromSeconds(1)  # without a base interval
    bad = Snapshot.of([cluster("a"), cluster("b"), routes(broken, route("two", "b"))])

    admitted = Admission().admit(bad, good)

    assert [route("one", "a", "/one"), route("two", "b")] == served_routes(admitted.snapshot)
    assert ["public/one"] == [one.name for one in admitted.withheld]
    assert "base_interval" in admitted.withheld[0].reason


def test_what_is_wrong_outside_of_the_routes_keeps_the_last_good_configuration() -> None:
    """A virtual host with a bad domain is no matter of one route."""
    good = Snapshot.of([cluster("a"), routes(route("one", "a"))])
    bad = Snapshot.of([cluster("a"), routes(route("one", "a"), domain="\n")])

    admitted = Admission().admit(bad, good)

    assert good.of_type(ROUTE_CONFIGURATION) == admitted.snapshot.of_type(ROUTE_CONFIGURATION)


def test_a_fix_is_published() -> None:
    """Nothing is remembered against a name."""
    admission = Admission()
    bad = Snapshot.of([cluster("a", connect_timeout_s=-1)])
    good = Snapshot.of([cluster("a")])
    admission.admit(bad, None)

    assert good is admission.admit(good, Snapshot.of([])).snapshot


def test_clusters_of_one_shape_name_their_own_endpoints() -> None:
    """Only the verdict is shared."""
    verdicts = Verdicts()

    assert [{"a"}, {"b"}] == [{one.name for one in verdicts.of(cluster(name)).references} for name in ("a", "b")]


ENDPOINTS = st.builds(
    Endpoint,
    address=st.sampled_from(["10.0.0.1", "10.0.0.2", "::1", "/run/a.sock"]),
    port=st.sampled_from([0, 1, 65_535]),
    weight=st.integers(0, 3),
    zone=st.sampled_from(["", "a"]),
)


@given(st.lists(ENDPOINTS, max_size=4))
def test_what_passes_by_hand_passes_by_the_rules(endpoints: list[Endpoint]) -> None:
    """Assignments as translation makes them: the short cut is never more lenient than Envoy's own rules."""
    assignment = cluster_load_assignment("a", endpoints)

    assert not is_plain(assignment) or [] == FieldRules().violations(assignment)


def test_an_assignment_that_is_odd_goes_through_the_rules() -> None:
    """One made by a patch."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name="a")
    locality = assignment.endpoints.add()
    locality.priority = 129
    snapshot = Snapshot.of([cluster("a"), Resource.of("a", assignment)])

    admitted = Admission().admit(snapshot, None)

    assert {} == admitted.snapshot.of_type(CLUSTER_LOAD_ASSIGNMENT)
    assert "priority" in admitted.withheld[0].reason


def test_an_expression_that_envoy_would_refuse_is_withheld() -> None:
    """One that is put together of several may be too large although each part is not."""
    good, large = route("large", "a"), route("large", "a")
    large.match.safe_regex.regex = "/a{1,1000}"
    admission = Admission()
    served = admission.admit(Snapshot.of([cluster("a"), routes(good)]), None).snapshot

    admitted = admission.admit(Snapshot.of([cluster("a"), routes(large, route("to-a", "a"))]), served)

    assert [good, route("to-a", "a")] == served_routes(admitted.snapshot)
    assert "too large a regular expression" in admitted.withheld[0].reason
