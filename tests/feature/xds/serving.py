"""A real xDS server on a free port, and the resources that tests serve."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from prometheus_client import CollectorRegistry

from control_plane.metrics import Metrics, StoreCollector
from control_plane.resource_types import NodeKind
from control_plane.snapshot import Resource, Snapshot
from control_plane.xds.access import Access
from control_plane.xds.server import Pacing, XdsServer
from control_plane.xds.session import Timings
from control_plane.xds.store import PolicyTimings, Store
from gateway_runtime.grpc_server import MIB, GrpcServer, ServerOptions
from protos.gateway.policy.v1 import authz_pb2

QUICK = Timings(answer_s=1.0, hold_s=1.0, grace_s=2.0, in_flight_s=0.1)


@dataclass
class Serving:
    store: Store
    server: XdsServer
    registry: CollectorRegistry
    address: str

    def publish(self, *resources: Resource, gateway: str = "meetinity") -> None:
        """Serve exactly these."""
        self.store.publish(gateway, Snapshot.of(resources))
        self.store.open()

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def serving(
    timings: Timings = QUICK,
    policy_timings: PolicyTimings | None = None,
    at: str = "127.0.0.1:0",
    *,
    access: Access | None = None,
    credentials: grpc.ServerCredentials | None = None,
    pacing: Pacing | None = None,
) -> AsyncIterator[Serving]:
    """A server that has nothing to serve yet."""
    registry = CollectorRegistry()
    store = Store(timings=timings, policy_timings=policy_timings)
    registry.register(StoreCollector(store))
    xds = XdsServer(store, Metrics(registry), access, pacing)
    server = GrpcServer(ServerOptions(max_receive_bytes=32 * MIB))
    server.server.add_generic_rpc_handlers(tuple(xds.handlers()))
    address = server.bind(at, name="xDS", credentials=credentials)
    await server.start()
    try:
        yield Serving(store, xds, registry, address)
    finally:
        xds.close()
        await server.stop(drain_s=0.5)


def cluster(name: str, version: str = "") -> Resource:
    return Resource.of(name, cluster_pb2.Cluster(name=name, alt_stat_name=version))


def assignment(name: str, version: str = "") -> Resource:
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    if version:
        message.endpoints.add().locality.zone = version
    return Resource.of(name, message)


def listener(name: str, version: str = "") -> Resource:
    return Resource.of(name, listener_pb2.Listener(name=name, stat_prefix=version))


def routes(name: str, version: str = "") -> Resource:
    message = route_pb2.RouteConfiguration(name=name)
    if version:
        message.internal_only_headers.append(version)
    return Resource.of(name, message)


def policy(name: str) -> Resource:
    return Resource.of(name, authz_pb2.AuthzPolicy(name=name), frozenset({NodeKind.EXT_AUTHZ}))
