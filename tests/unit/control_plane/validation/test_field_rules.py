"""Envoy's field rules, as Envoy's own validation would apply them."""

import pytest
from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.validation.field_rules import FieldRules


def _assignment(port: int = 80, weight: int = 1, address: str = "127.0.0.1") -> ClusterLoadAssignment:
    endpoint = LbEndpoint(
        endpoint=Endpoint(address=Address(socket_address=SocketAddress(address=address, port_value=port))),
        load_balancing_weight=UInt32Value(value=weight),
    )
    return ClusterLoadAssignment(cluster_name="users", endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])])


def _paths(message: Message) -> list[str]:
    return [violation.path for violation in FieldRules().violations(message)]


@pytest.mark.parametrize(
    "message",
    [
        _assignment(),
        Cluster(name="users", connect_timeout=Duration(seconds=1)),
        Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster="users")),
        Route(match=RouteMatch(prefix="/"), redirect=RedirectAction(path_redirect="/x")),
    ],
)
def test_valid_messages_have_no_violations(message: Message) -> None:
    """What Envoy accepts passes."""
    assert [] == FieldRules().violations(message)


@pytest.mark.parametrize(
    ("message", "paths"),
    [
        (Cluster(), ["name"]),
        (Cluster(name="a", connect_timeout=Duration()), ["connect_timeout"]),
        (Route(), ["match", "action"]),
        (Route(match=RouteMatch(), route=RouteAction(cluster="a")), ["match.path_specifier"]),
        (Route(match=RouteMatch(prefix="/"), route=RouteAction()), ["route.cluster_specifier"]),
        (_assignment(port=70_000), ["endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value"]),
        (_assignment(weight=0), ["endpoints[0].lb_endpoints[0].load_balancing_weight"]),
        (_assignment(address=""), ["endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address"]),
        (
            RouteConfiguration(virtual_hosts=[VirtualHost(name="a", domains=["*"]), VirtualHost(name="")]),
            ["virtual_hosts[1].name", "virtual_hosts[1].domains"],
        ),
        (
            Route(
                match=RouteMatch(prefix="/", headers=[HeaderMatcher(name="x\n", exact_match="1")]),
                route=RouteAction(cluster="a"),
            ),
            ["match.headers[0].name"],
        ),
        (
            Route(match=RouteMatch(prefix="/"), redirect=RedirectAction.FromString(b"\x18\x63")),
            ["redirect.response_code"],
        ),
        (Cluster(name="a", circuit_breakers=CircuitBreakers(thresholds=[])), []),
    ],
)
def test_each_broken_rule_is_named_by_its_path(message: Message, paths: list[str]) -> None:
    """A violation says which field is wrong, however deep it stands."""
    assert paths == _paths(message)


def test_packed_messages_are_looked_into() -> None:
    """A rule that is broken inside an Any is found, as Envoy would find it when it unpacks the filter."""
    packed = Any()
    packed.Pack(HttpConnectionManager())
    listener = Listener(name="public", filter_chains=[FilterChain(filters=[Filter(name="hcm", typed_config=packed)])])

    assert [
        "filter_chains[0].filters[0].typed_config.route_specifier",
        "filter_chains[0].filters[0].typed_config.stat_prefix",
    ] == sorted(_paths(listener))


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (Any(type_url="type.googleapis.com/no.such.Type"), "is of the unknown type no.such.Type"),
        (
            Any(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster", value=b"\xff"),
            "is not a envoy.config.cluster.v3.Cluster",
        ),
    ],
)
def test_an_any_that_envoy_could_not_unpack_is_a_violation(packed: Any, reason: str) -> None:
    """Unknown types and bytes that do not parse are named."""
    listener = Listener(name="public", filter_chains=[FilterChain(filters=[Filter(name="x", typed_config=packed)])])

    assert [reason] == [violation.reason for violation in FieldRules().violations(listener)]


def test_every_annotated_message_compiles() -> None:
    """No rule of Envoy's API is one that we do not know: an empty message of each root type can be checked."""
    rules = FieldRules()
    for message in (Cluster(), Listener(), RouteConfiguration(), ClusterLoadAssignment(), HttpConnectionManager()):
        rules.violations(message)

    assert ["cluster_name"] == [violation.path for violation in rules.violations(ClusterLoadAssignment())]
