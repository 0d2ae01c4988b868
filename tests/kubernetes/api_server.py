"""A double of a Kubernetes API server, for tests without a cluster.

It obeys the documented list/watch semantics (https://kubernetes.io/docs/reference/using-api/api-concepts/): resource
versions, pages with `continue`, bookmarks, 410 after compaction, watch timeouts, optimistic locking, and answers 401,
403 and 429 as the real one does. test_contract.py runs against it and against real clusters. (PyPI's kmock knows
neither pages nor bookmarks nor 410.)
"""

import asyncio
import ipaddress
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.kubernetes.store import Collection, Object, StatusError, Store

_KINDS = {
    "services": "Service",
    "endpointslices": "EndpointSlice",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "events": "Event",
    "leases": "Lease",
    "namespaces": "Namespace",
}


@dataclass
class ApiServer:
    """Start it with `serving()`; change its behaviour while it runs."""

    store: Store = field(default_factory=Store)
    tokens: set[str] = field(default_factory=lambda: {"good"})
    bookmark_s: float = 0.05
    """How long a watch is silent before it gets a bookmark; 0: never any."""
    loud: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: half-open, watches stay open and get nothing at all."""
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    """(namespace, resource) that RBAC does not allow."""
    hanging: set[str] = field(default_factory=set)
    """Namespaces whose requests get no answer while they are in here."""
    throttled: int = 0
    """So many of the next requests get 429."""
    expiring: int = 0
    """So many of the next list tokens are refused: the cluster is compacted between two pages."""
    refusals: Callable[[web.Request], StatusError | None] = lambda _: None
    """A further rule of a test's own."""
    tls: ssl.SSLContext | None = None
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and query of everything asked."""
    port: int = 0
    watching: int = 0
    """Watches that are open now."""
    _runner: web.AppRunner | None = None
    _watches: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; after `stop` on the same port as before."""
        self.loud.set()
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 2**20)
        for prefix in ("/api/{version}", "/apis/{group}/{version}"):
            base = prefix + "/namespaces/{namespace}/{resource}"
            app.router.add_get(base, self._list_or_watch)
            app.router.add_post(base, self._create)
            app.router.add_get(base + "/{name}", self._read)
            app.router.add_put(base + "/{name}", self._replace)
            app.router.add_patch(base + "/{name}", self._patch)
            app.router.add_delete(base + "/{name}", self._delete)
        app.router.add_post("/api/v1/namespaces", self._create_namespace)
        app.router.add_delete("/api/v1/namespaces/{name}", self._delete_namespace)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Break every connection; what is stored stays."""
        for watch in tuple(self._watches):
            watch.cancel()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ApiServer"]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query)))
        try:
            self._require_access(request)
            while request.match_info.get("namespace", "") in self.hanging:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            return await handler(request)
        except StatusError as error:
            return web.json_response(error.body, status=error.code, headers=error.headers)

    def _require_access(self, request: web.Request) -> None:
        if request.headers.get("Authorization", "").lower().removeprefix("bearer ") not in self.tokens:
            raise StatusError(401, "Unauthorized", "Unauthorized")
        if self.throttled:
            self.throttled -= 1
            raise StatusError(429, "TooManyRequests", "too many requests", headers={"Retry-After": "1"})
        if (refusal := self.refusals(request)) is not None:
            raise refusal
        resource, namespace = request.match_info.get("resource", ""), request.match_info.get("namespace", "")
        if (namespace, resource) in self.forbidden:
            verb = "watch" if request.query.get("watch") else "list"
            group = _collection(request).group
            raise StatusError(
                403,
                "Forbidden",
                f'{resource} is forbidden: User "system:serviceaccount:gateway:control-plane" cannot {verb} resource '
                f'"{resource}" in API group "{group}" in the namespace "{namespace}"',
            )

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        collection = _collection(request)
        if request.query.get("watch") in ("1", "true"):
            return await self._watch(request, collection)
        if request.query.get("continue") and self.expiring:
            self.expiring -= 1
            await self.store.compact()
        objects, version, token = self.store.page(collection, _selector(request), request.query)
        metadata = {"resourceVersion": str(version), **({"continue": token} if token else {})}
        kind = _KINDS[collection.resource] + "List"
        # Like the real one: items of a list carry neither kind nor apiVersion.
        return web.json_response({"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": objects})

    async def _watch(self, request: web.Request, collection: Collection) -> web.StreamResponse:
        given = request.query.get("resourceVersion") or "0"
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        self.watching += 1
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds") or 1800)):
                await self._stream(request, response, collection, int(given))
        except StatusError as error:
            await _send(response, "ERROR", error.body)
        except TimeoutError:
            pass
        finally:
            self._watches.discard(task)
            self.watching -= 1
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, collection: Collection, version: int
    ) -> None:
        selects = _selector(request)
        if version == 0:
            for known in self.store.objects.get(collection, {}).values():
                if selects(known):
                    await _send(response, "ADDED", _typed(collection, known))
            version = self.store.version
        self.store.require_not_compacted(version)
        began = self.store.cuts
        bookmarks = request.query.get("allowWatchBookmarks") in ("1", "true") and self.bookmark_s > 0
        while True:
            await self.loud.wait()
            self.store.require_not_cut(began, version)
            reached = self.store.version
            for event in self.store.since(version):
                if event.collection == collection and selects(event.object):
                    await _send(response, event.type, _typed(collection, event.object))
                version = event.version
            version = max(version, reached)  # not every version has an event
            try:
                async with asyncio.timeout(self.bookmark_s if bookmarks else None):
                    await self.store.wait_beyond(version)
            except TimeoutError:
                if version > self.store.version:
                    continue  # of the future: as the real one, it says nothing until then
                await _send(response, "BOOKMARK", _typed(collection, {"metadata": {"resourceVersion": str(version)}}))

    async def _create(self, request: web.Request) -> web.Response:
        collection = _collection(request)
        wanted = _validated(collection, await request.json())
        if "name" not in wanted["metadata"]:
            wanted["metadata"]["name"] = f"{wanted['metadata']['generateName']}{self.store.version:05x}"
        if collection.resource == "endpointslices":
            wanted["metadata"]["generation"] = 1
        created = await self.store.put(collection, _created(wanted), create=True)
        return web.json_response(_typed(collection, created), status=201)

    async def _create_namespace(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        created = await self.store.put(Collection("/api/v1", "namespaces", ""), wanted, create=True)
        return web.json_response(created, status=201)

    async def _delete_namespace(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        for collection in [known for known in self.store.objects if known.namespace == name]:
            for one in tuple(self.store.objects[collection]):
                await self.store.delete(collection, one)
        return web.json_response(await self.store.delete(Collection("/api/v1", "namespaces", ""), name))

    async def _read(self, request: web.Request) -> web.Response:
        collection = _collection(request)
        return web.json_response(_typed(collection, self.store.get(collection, request.match_info["name"])))

    async def _replace(self, request: web.Request) -> web.Response:
        collection = _collection(request)
        replaced = await self.store.put(collection, _validated(collection, await request.json()), create=False)
        return web.json_response(_typed(collection, replaced))

    async def _patch(self, request: web.Request) -> web.Response:
        collection = _collection(request)
        stored = self.store.get(collection, request.match_info["name"])
        wanted = _merge_patch(stored, json.loads(await request.read()))
        return web.json_response(_typed(collection, await self.store.put(collection, wanted, create=False)))

    async def _delete(self, request: web.Request) -> web.Response:
        collection = _collection(request)
        return web.json_response(await self.store.delete(collection, request.match_info["name"]))


def _collection(request: web.Request) -> Collection:
    match = request.match_info
    prefix = f"/apis/{match['group']}/{match['version']}" if "group" in match else f"/api/{match['version']}"
    return Collection(prefix, match["resource"], match["namespace"])


def _selector(request: web.Request) -> Callable[[Object], bool]:
    field_selector = request.query.get("fieldSelector", "")
    label_selector = request.query.get("labelSelector", "")
    name = field_selector.removeprefix("metadata.name=")
    label, _, value = label_selector.partition("=")

    def selects(one: Object) -> bool:
        metadata = one["metadata"]
        named = not field_selector or metadata["name"] == name
        return named and (not label_selector or (metadata.get("labels") or {}).get(label) == value)

    return selects


def _typed(collection: Collection, one: Object) -> Object:
    version = collection.prefix.removeprefix("/apis/").removeprefix("/api/")
    return {"kind": _KINDS[collection.resource], "apiVersion": version, **one}


def _created(wanted: Object) -> Object:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**wanted, "metadata": {"creationTimestamp": now, **wanted["metadata"]}}


def _validated(collection: Collection, wanted: Object) -> Object:
    """The rules that tests could break by accident: EndpointSlices hold no loopback addresses and need a type."""
    if collection.resource != "endpointslices":
        return wanted
    if wanted.get("addressType") not in ("IPv4", "IPv6", "FQDN"):
        raise StatusError(422, "Invalid", "EndpointSlice is invalid: addressType: Required value")
    for endpoint in wanted.get("endpoints") or ():
        for address in endpoint["addresses"]:
            if wanted["addressType"] != "FQDN" and ipaddress.ip_address(address).is_loopback:
                raise StatusError(
                    422, "Invalid", f"EndpointSlice is invalid: {address}: may not be in the loopback range"
                )
    return wanted


def _merge_patch(stored: Object, patch: Object) -> Object:
    """RFC 7386."""
    merged = dict(stored)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merge_patch(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged


async def _send(response: web.StreamResponse, kind: str, subject: Object) -> None:
    await response.write(json.dumps({"type": kind, "object": subject}).encode() + b"\n")
