"""/api: what the status page shows, for programs, and the removal of a gateway that is gone."""

from collections.abc import Callable

import orjson
from aiohttp import web

from control_plane.admin.cache import purge_handler
from control_plane.admin.resources import resources
from control_plane.admin.status import Status
from control_plane.gateways import Gateways, StillConfiguredError
from control_plane.purges import Purges
from control_plane.reconciler import Reconciler
from control_plane.xds.store import Store


class Api:
    """Its paths."""

    def __init__(self, store: Store, source: Reconciler | Gateways, current: Callable[[], Status]) -> None:
        self._store = store
        self._source = source
        self._current = current

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/status", self._status),
            web.post("/api/cache/purge", purge_handler(Purges(self._store))),
            web.get("/api/resources", self._resources),
            web.delete("/api/gateways/{name}", self._remove_gateway),
        ]

    async def _status(self, _request: web.Request) -> web.Response:
        return _json(self._current())

    async def _resources(self, request: web.Request) -> web.Response:
        """Of one gateway, or of all: what is served, by type and name, with versions."""
        name, feeds = request.query.get("gateway"), self._store.feeds
        if name is not None and name not in feeds:
            raise web.HTTPNotFound(text=f"no gateway {name!r}; there is: {', '.join(sorted(feeds)) or 'none'}\n")
        wanted = sorted(feeds) if name is None else [name]
        return _json({"gateways": {feed: resources(feeds[feed].current.snapshot) for feed in wanted}})

    async def _remove_gateway(self, request: web.Request) -> web.Response:
        """Of a gateway whose file is gone, and that nobody needs any more."""
        if not isinstance(self._source, Gateways):
            raise web.HTTPConflict(text="the only gateway cannot be removed\n")
        try:
            self._source.remove(request.match_info["name"])
        except KeyError:
            raise web.HTTPNotFound(text="no such gateway\n") from None
        except StillConfiguredError as error:
            raise web.HTTPConflict(text=f"{error}\n") from error
        return web.Response(status=204)


def _json(content: object) -> web.Response:
    body = orjson.dumps(content)
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})
