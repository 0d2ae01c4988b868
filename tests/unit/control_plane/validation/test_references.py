"""Names that nothing has are found before anything is sent."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost, WeightedCluster
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import CheckSettings, ExtAuthzPerRoute
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import ExtProcOverrides, ExtProcPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from control_plane.snapshot import Resource, Snapshot
from control_plane.validation.references import References
from protos.gateway.policy.v1.authz_pb2 import Authentication, AuthzPolicy, JwtProvider, Method


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message, deterministic=True)
    return packed


def _routes(*routes: Route) -> Resource:
    return Resource.of(
        "public",
        RouteConfiguration(name="public", virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=routes)]),
    )


_LISTENER = Listener(
    name="public",
    filter_chains=[
        FilterChain(
            filters=[
                Filter(name="hcm", typed_config=_packed(HttpConnectionManager(rds=Rds(route_config_name="public"))))
            ]
        )
    ],
)
_TO_USERS = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster="users"))
_SPLIT = Route(
    match=RouteMatch(prefix="/"),
    route=RouteAction(
        weighted_clusters=WeightedCluster(
            clusters=[WeightedCluster.ClusterWeight(name="users"), WeightedCluster.ClusterWeight(name="next")]
        ),
        request_mirror_policies=[RouteAction.RequestMirrorPolicy(cluster="shadow")],
    ),
)
_WITH_POLICIES = Route(
    match=RouteMatch(prefix="/"),
    route=RouteAction(cluster="users"),
    typed_per_filter_config={
        "authz": _packed(ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions={"policy": "authz-1"}))),
        "proc": _packed(
            ExtProcPerRoute(
                overrides=ExtProcOverrides(grpc_initial_metadata=[HeaderValue(key="x-gateway-policy", value="proc-1")])
            )
        ),
    },
)
_USERS = Resource.of("users", Cluster(name="users", type=Cluster.EDS))
_USERS_ENDPOINTS = Resource.of("users", ClusterLoadAssignment(cluster_name="users"))
_POLICY = AuthzPolicy(
    name="authz-1",
    authentication=Authentication(methods=[Method(name="jwt.a", jwt=JwtProvider(shared_secret="jwt.a-1"))]),
)


@pytest.mark.parametrize(
    ("resources", "messages"),
    [
        ([_routes(_TO_USERS), _USERS, _USERS_ENDPOINTS], []),
        ([_routes(_TO_USERS)], ["RouteConfiguration public names the Cluster 'users', which does not exist"]),
        ([_USERS], ["Cluster users names the ClusterLoadAssignment 'users', which does not exist"]),
        (
            [_routes(_SPLIT), _USERS, _USERS_ENDPOINTS],
            [
                "RouteConfiguration public names the Cluster 'next', which does not exist",
                "RouteConfiguration public names the Cluster 'shadow', which does not exist",
            ],
        ),
        (
            [Resource.of("public", _LISTENER)],
            ["Listener public names the RouteConfiguration 'public', which does not exist"],
        ),
        (
            [_routes(_WITH_POLICIES), _USERS, _USERS_ENDPOINTS],
            [
                "RouteConfiguration public names the AuthzPolicy 'authz-1', which does not exist",
                "RouteConfiguration public names the ProcessingPolicy 'proc-1', which does not exist",
            ],
        ),
        (
            [Resource.of("authz-1", _POLICY)],
            ["AuthzPolicy authz-1 names the Secret 'jwt.a-1', which does not exist"],
        ),
    ],
)
def test_every_name_without_a_resource_is_reported(resources: list[Resource], messages: list[str]) -> None:
    """One line for each name that is missing, and none when all are there."""
    assert messages == [str(each) for each in References().dangling(Snapshot.of(resources))]


def test_resources_that_left_are_forgotten() -> None:
    """What was read of a resource does not outlive it: an edited route is read again."""
    references = References()
    references.dangling(Snapshot.of([_routes(_SPLIT), _USERS, _USERS_ENDPOINTS]))

    assert [] == references.dangling(Snapshot.of([_routes(_TO_USERS), _USERS, _USERS_ENDPOINTS]))
