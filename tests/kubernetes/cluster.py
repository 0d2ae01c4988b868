"""A namespace of its own in whatever cluster the tests run against, and the objects that they put into it."""

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
from kubernetes.aio.client.configuration import Configuration

from control_plane.kubernetes.api import Answer
from control_plane.kubernetes.connection import Connection, Credentials, from_kubeconfig
from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.store import Object

SLICES = "/apis/discovery.k8s.io/v1"
CORE = "/api/v1"


def kubeconfig() -> str:
    """ "" when there is no cluster."""
    return os.environ.get("KUBECONFIG", "")


def credentials_of(server: ApiServer, token: str = "good") -> Credentials:
    async def load() -> Configuration:
        return Configuration(host=server.url, api_key={"BearerToken": f"bearer {token}"})

    return load


@dataclass
class Namespace:
    """Creates, changes and deletes objects as an administrator would."""

    name: str
    connection: Connection
    server: ApiServer | None
    """The double; None for a real cluster."""

    async def create(self, prefix: str, resource: str, wanted: Object) -> Object:
        return await self._json("POST", f"{prefix}/namespaces/{self.name}/{resource}", wanted)

    async def replace(self, prefix: str, resource: str, wanted: Object) -> Object:
        path = f"{prefix}/namespaces/{self.name}/{resource}/{wanted['metadata']['name']}"
        return await self._json("PUT", path, wanted)

    async def patch(self, prefix: str, resource: str, name: str, change: Object) -> Object:
        return await self._json("PATCH", f"{prefix}/namespaces/{self.name}/{resource}/{name}", change)

    async def delete(self, prefix: str, resource: str, name: str) -> None:
        answer = await self.connection.request("DELETE", f"{prefix}/namespaces/{self.name}/{resource}/{name}")
        assert answer.status in (200, 202), answer

    async def list(self, prefix: str, resource: str, query: Mapping[str, str] | None = None) -> Answer:
        return await self.connection.request("GET", f"{prefix}/namespaces/{self.name}/{resource}", query)

    async def _json(self, method: str, path: str, body: Object) -> Object:
        answer = await self.connection.request(method, path, body=body)
        assert answer.status in (200, 201), answer
        found: Object = orjson.loads(answer.body)
        return found


@asynccontextmanager
async def namespace(server: ApiServer | None, credentials: Credentials | None = None) -> AsyncIterator[Namespace]:
    """A fresh namespace, removed at the end."""
    if credentials is None:
        credentials = credentials_of(server) if server is not None else from_kubeconfig(kubeconfig())
    name = f"gateway-test-{uuid.uuid4().hex[:8]}"
    async with Connection(credentials) as connection:
        made = await connection.request("POST", f"{CORE}/namespaces", body={"metadata": {"name": name}})
        assert made.status == 201, made
        try:
            yield Namespace(name, connection, server)
        finally:
            if server is None:
                await _clean(connection, name)


async def _clean(connection: Connection, name: str) -> None:
    """Its objects too: a bare API server has no controller that would."""
    for prefix, resource in ((CORE, "services"), (SLICES, "endpointslices"), (CORE, "secrets"), (CORE, "configmaps")):
        await connection.request("DELETE", f"{prefix}/namespaces/{name}/{resource}")
    await connection.request("DELETE", f"{CORE}/namespaces/{name}")


def service(name: str = "users", **spec: object) -> Object:
    """A selector-less Service; headless, so that a bare API server needs no address range for it."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"clusterIP": "None", "ports": ports, **spec},
    }


def endpoint_slice(
    *addresses: str,
    name: str = "users-a",
    of: str = "users",
    port: int = 8080,
    conditions: Mapping[str, bool] | None = None,
    address_type: str = "IPv4",
) -> Object:
    """A hand-written slice; addresses may not be loopback (the API server refuses them)."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": of}},
        "addressType": address_type,
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [address], "conditions": dict(conditions or {"ready": True, "serving": True})}
            for address in addresses
        ],
    }
