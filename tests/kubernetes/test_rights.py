"""The shipped Roles are enough, and no more is granted: a ServiceAccount of a real cluster with exactly them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest
import yaml
from kubernetes.aio.client.configuration import Configuration

from control_plane.kubernetes.connection import Connection, from_kubeconfig
from control_plane.kubernetes.election import Election
from control_plane.kubernetes.problems import Problem, Reference
from control_plane.kubernetes.watched import Kind, Watched
from tests.kubernetes.cluster import CORE, SLICES, Namespace, endpoint_slice, kubeconfig, service
from tests.kubernetes.manifests import DEPLOY
from tests.kubernetes.store import Object
from tests.kubernetes.test_discovery import DEADLINE_S, observed
from tests.kubernetes.test_reporting import events_of, reporting

RBAC = "/apis/rbac.authorization.k8s.io/v1"
pytestmark = pytest.mark.skipif(not kubeconfig(), reason="needs a real cluster: the double has no RBAC")


def shipped_roles() -> list[Object]:
    files = (DEPLOY / "base" / "rbac.yaml", DEPLOY / "discovery" / "role.yaml")
    documents = [one for file in files for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    return [one for one in documents if one["kind"] == "Role"]


@pytest.fixture
async def account(shop: Namespace) -> AsyncIterator[Namespace]:
    """The namespace as the ServiceAccount `control-plane` sees it."""
    name = "control-plane"
    await shop.create(CORE, "serviceaccounts", {"metadata": {"name": name}})
    for role in shipped_roles():
        named = role["metadata"]["name"]
        await shop.create(RBAC, "roles", role)
        subject = {"kind": "ServiceAccount", "name": name, "namespace": shop.name}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": named}
        binding = {"metadata": {"name": named}, "roleRef": reference, "subjects": [subject]}
        await shop.create(RBAC, "rolebindings", binding)
    asked = {"spec": {"expirationSeconds": 600}}
    token = (await shop.create(CORE, f"serviceaccounts/{name}/token", asked))["status"]["token"]

    async def credentials() -> Configuration:
        configuration = await from_kubeconfig(kubeconfig())()
        configuration.cert_file = configuration.key_file = None
        configuration.refresh_api_key_hook = None
        configuration.api_key = {"BearerToken": f"bearer {token}"}
        return configuration

    async with Connection(credentials) as connection:
        yield replace(shop, connection=connection)


async def test_services_are_discovered_with_the_shipped_role(shop: Namespace, account: Namespace) -> None:
    """And a namespace without it is one clear error, beside which the other one works."""
    await shop.create(CORE, "services", service())
    await shop.create(SLICES, "endpointslices", endpoint_slice("10.1.0.1"))
    refused = Watched("default", Kind.ENDPOINT_SLICES)
    async with observed(account) as observer:
        observer.discovery.want(observer.watched | {refused})
        await observer.until(lambda: observer.addresses() == ["10.1.0.1"])
        await observer.until(lambda: observer.discovery.answered(frozenset({refused})))
        errors = {one.watched: one.error for one in observer.discovery.status()}

    assert {""} == {errors[one] for one in observer.watched}
    wanted = "RBAC of namespace default forbids it: grant the verbs list and watch on endpointslices"
    assert errors[refused].startswith(wanted)
    assert 'cannot list resource "endpointslices" in API group "discovery.k8s.io"' in errors[refused]


async def test_the_config_map_is_watched_by_name(shop: Namespace, account: Namespace) -> None:
    """`gateway` and no other; no Secret at all."""
    await shop.create(CORE, "configmaps", {"metadata": {"name": "gateway"}, "data": {"gateway.yaml": "version: 1"}})
    mine, other = (Watched(shop.name, Kind.CONFIG_MAPS, name) for name in ("gateway", "other"))
    secret = Watched(shop.name, Kind.SECRETS, "cert")
    async with observed(account) as observer:
        observer.discovery.want(frozenset({mine, other, secret}))
        await observer.until(lambda: observer.discovery.cluster.content(mine) is not None)
        async with asyncio.timeout(DEADLINE_S):
            await observer.discovery.wait_for(frozenset({other, secret}))
        errors = {one.watched: one.error for one in observer.discovery.status()}

    assert "" == errors[mine]
    assert "grant the verbs list and watch on configmaps, resourceNames [other]" in errors[other]
    assert "grant the verbs list and watch on secrets, resourceNames [cert]" in errors[secret]


async def test_the_lease_and_events_may_be_written(shop: Namespace, account: Namespace) -> None:
    """Under the names of the process."""
    candidate = Election(account.connection, namespace=shop.name, identity="control-plane-0")
    running = asyncio.create_task(candidate.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not candidate.is_leader:  # noqa: ASYNC110 - it has no event of its own
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.wait([running])
    await reporting(account, [Problem(Reference("Service", shop.name, "users"), "NoEndpoints", "x")]).report()

    assert ["NoEndpoints"] == [event["reason"] for event in await events_of(shop)]


async def test_nothing_else_may_be_read(account: Namespace) -> None:
    """Pods, nodes, other namespaces' Secrets: a gateway that is taken over tells nothing of them."""
    for path in (f"{CORE}/namespaces/{account.name}/pods", f"{CORE}/nodes", f"{CORE}/secrets", f"{CORE}/configmaps"):
        answer = await account.connection.request("GET", path)
        assert (403, "Forbidden") == (answer.status, orjson.loads(answer.body)["reason"])
