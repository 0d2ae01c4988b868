"""The paths of the status page."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from aiohttp import web

from control_plane.dashboard import changes, clients, overview, routes, services
from control_plane.dashboard.findings import findings
from control_plane.dashboard.live import Live
from control_plane.dashboard.paging import Query
from control_plane.dashboard.rendering import Templates
from control_plane.dashboard.scene import Scene, Scenes
from control_plane.history import UnknownGenerationError
from control_plane.traffic.traffic import SAMPLE_S

_STATIC = {
    "app.css": "text/css",
    "app.js": "text/javascript",
    "theme.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
Values = dict[str, Any]
View = Callable[[Scene, Query, Mapping[str, str]], Values]
"""What a template gets; raises HTTPNotFound."""


class Pages:
    """All of them; each is a template and the function that fills it."""

    def __init__(self, scenes: Scenes, live: Live, *, has_login: bool) -> None:
        """
        Args:
            has_login: whether there is a session that can be ended.
        """
        self._scenes = scenes
        self._live = live
        self._has_login = has_login
        self._templates = Templates()
        self._views: dict[str, tuple[str, View]] = {
            "/": ("overview.html", _overview),
            "/clients": ("clients.html", _clients),
            "/clients/view": ("client.html", _client),
            "/services": ("services.html", _services),
            "/services/view": ("service.html", _service),
            "/routes": ("routes.html", _routes),
            "/routes/view": ("route.html", _route),
            "/history": ("history.html", _history),
            "/history/diff": ("diff.html", _diff),
        }

    def routes(self) -> list[web.RouteDef]:
        static = [web.get(f"/static/{name}", _static(name, kind)) for name, kind in _STATIC.items()]
        return [*(web.get(path, self._page) for path in self._views), web.get("/live", self._stream), *static]

    async def _page(self, request: web.Request) -> web.Response:
        text = self._rendered(request.path, request.query, self._templates.render)
        return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-store"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Of the page that `path` and `query` name."""
        path = request.query.get("path", "/")
        if path not in self._views:
            raise web.HTTPNotFound(text="no such page\n")
        parameters = {name: value for name, value in request.query.items() if name != "path"}
        key = f"{path}?{sorted(parameters.items())}"
        self._main(path, parameters)  # what is not there is said now
        return await self._live.stream(request, key, lambda: self._main(path, parameters))

    def _main(self, path: str, parameters: Mapping[str, str]) -> str:
        try:
            return self._rendered(path, parameters, self._templates.main)
        except web.HTTPNotFound:
            return self._templates.main("gone.html", self._common(path, Query.of(parameters), self._scenes.now()))

    def _rendered(
        self, path: str, parameters: Mapping[str, str], render: Callable[[str, Mapping[str, Any]], str]
    ) -> str:
        scene, query = self._scenes.now(), Query.of(parameters)
        template, view = self._views[path]
        try:
            values = view(scene, query, parameters)
        except web.HTTPNotFound:
            if render is self._templates.main:
                raise
            values, template = {}, "gone.html"
        return render(template, {**self._common(path, query, scene), **values})

    def _common(self, path: str, query: Query, scene: Scene) -> Values:
        return {
            "path": path,
            "section": f"/{path.split('/')[1]}",
            "query": query,
            "scene": scene,
            "now": scene.at,
            "gateways": list(scene.gateways),
            "alarms": len(findings(scene)),
            "sample_s": SAMPLE_S,
            "has_login": self._has_login,
        }


def login_page(goal: str, fault: str) -> str:
    """The form that asks for the token.

    Args:
        goal: the path to go to afterwards.
        fault: what was wrong with the last attempt; "" at first.
    """
    return Templates().render("login.html", {"goal": goal, "fault": fault})


def _chosen(scene: Scene, query: Query) -> str:
    """The gateway that was asked for, else the first."""
    return query.gateway if query.gateway in scene.gateways else next(iter(scene.gateways), "")


def _overview(scene: Scene, query: Query, _parameters: Mapping[str, str]) -> Values:
    return {"view": overview.overview(scene, _chosen(scene, query))}


def _clients(scene: Scene, query: Query, _parameters: Mapping[str, str]) -> Values:
    page = clients.page(scene, query)
    return {"page": page, "columns": clients.columns(page.rows)}


def _client(scene: Scene, _query: Query, parameters: Mapping[str, str]) -> Values:
    found = clients.client(scene, parameters.get("id", ""), parameters.get("cluster", ""))
    if not found:
        raise web.HTTPNotFound
    return {"rows": found}


def _services(scene: Scene, query: Query, _parameters: Mapping[str, str]) -> Values:
    page = services.page(scene, query)
    return {"page": page, "trend": lambda row: services.trend(scene, row)}


def _service(scene: Scene, query: Query, parameters: Mapping[str, str]) -> Values:
    found = services.service(scene, _chosen(scene, query), parameters.get("name", ""))
    if found is None:
        raise web.HTTPNotFound
    return {"view": found}


def _routes(scene: Scene, query: Query, _parameters: Mapping[str, str]) -> Values:
    return {"page": routes.page(scene, query)}


def _route(scene: Scene, query: Query, parameters: Mapping[str, str]) -> Values:
    found = routes.route(scene, _chosen(scene, query), parameters.get("name", ""))
    if found is None:
        raise web.HTTPNotFound
    return {"view": found}


def _history(scene: Scene, query: Query, _parameters: Mapping[str, str]) -> Values:
    gateway = _chosen(scene, query)
    return {"gateway": gateway, "rows": changes.rows(scene, gateway)}


def _diff(scene: Scene, query: Query, parameters: Mapping[str, str]) -> Values:
    try:
        older, newer = (int(parameters.get(name, "")) for name in ("from", "to"))
        return {"view": changes.difference(scene, _chosen(scene, query), older, newer)}
    except (ValueError, UnknownGenerationError):
        raise web.HTTPNotFound from None


def _static(name: str, kind: str) -> Callable[[web.Request], Any]:
    body = (files("control_plane.dashboard") / "static" / name).read_bytes()

    async def send(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": "no-cache"})

    return send
