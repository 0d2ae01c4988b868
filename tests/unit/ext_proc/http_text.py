"""One exchange through ext_proc's core, with Envoy's part played here: messages as text in, messages as text out."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson

from ext_proc.cache.cache import Cache
from ext_proc.cache.memory import MemoryStore
from ext_proc.cache.single_flight import Flights
from ext_proc.events import (
    Action,
    BodyMode,
    Chunk,
    Forward,
    PassBody,
    PassHeaders,
    PassRequestRest,
    Refuse,
    ReplaceBody,
    ReplaceRequestBody,
    RequestRest,
    RequestStart,
    ResponseStart,
    Serve,
    Work,
)
from ext_proc.exchange import Exchange, route_of
from ext_proc.metrics import RouteMetrics
from ext_proc.transform.headers import applied
from policy.processing import Processing


@dataclass
class Message:
    """A request (`:method`, `:path`) or a response (`:status`)."""

    headers: dict[str, str]
    body: bytes = b""

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


@dataclass
class Result:
    seen: Message | None
    """By the service; None: nothing reached it."""
    got: Message
    """By the client."""
    actions: list[Action] = field(default_factory=list)


def request(line: str = "GET /", body: bytes | str = b"", **headers: str) -> Message:
    method, _, path = line.partition(" ")
    return _message({":method": method, ":path": path, ":scheme": "http", ":authority": "api.test"}, body, headers)


def answer(body: bytes | str = b"", status: int = 200, **headers: str) -> Message:
    return _message({":status": str(status)}, body, headers)


def _message(pseudo: dict[str, str], body: bytes | str, headers: Mapping[str, str]) -> Message:
    data = body.encode() if isinstance(body, str) else body
    fields = pseudo | {name.replace("_", "-"): value for name, value in headers.items()}
    if data and "content-length" not in fields:
        fields["content-length"] = str(len(data))
    return Message(fields, data)


class Gateway:
    """One route of one ext_proc process, which keeps what it stores."""

    def __init__(self, processing: Processing) -> None:
        self._route = route_of(processing, "example")
        self._cache = Cache(MemoryStore(max_bytes=1 << 24, max_entries=100), Flights(), wait_s=1.0)
        self._metrics = RouteMetrics()

    def exchange(self, asked: Message, answered: Message, claims: Mapping[str, str] | None = None) -> Result:
        exchange = Exchange(self._route, self._cache, self._metrics)
        identity = "alice" if claims is not None else ""
        actions: list[Action] = []
        try:
            first = exchange.on(RequestStart(dict(asked.headers), identity, claims or {}, not asked.body), 1e9)
            actions.append(first)
            seen = _forwarded(exchange, first, asked, actions)
            if isinstance(seen, Message):
                return Result(seen, _returned(exchange, actions, answered), actions)
            return Result(None, _reply(seen), actions)
        finally:
            exchange.close()


def _forwarded(exchange: Exchange, action: Action, asked: Message, actions: list[Action]) -> Message | Action:
    if not isinstance(action, Forward):
        return action
    seen = Message(applied(action.changes, asked.headers), asked.body)
    if action.new_body is not None:
        seen.body = action.new_body
    if not action.wants_body:
        return seen
    rest = _done(exchange, exchange.on(RequestRest("body", asked.body), 1e9), actions)
    match rest:
        case ReplaceRequestBody():
            headers = applied(rest.changes, seen.headers) | {"content-length": str(len(rest.body))}
            return Message(headers, rest.body)
        case PassRequestRest():
            return seen
        case _:
            return rest


def _done(exchange: Exchange, action: Action, actions: list[Action]) -> Action:
    """What becomes of a body; a large one is worked on in another thread, as the service does it."""
    actions.append(action)
    if isinstance(action, Work):
        with ThreadPoolExecutor(1) as threads:
            action = exchange.worked(threads.submit(action.run).result(), 1e9)
        actions.append(action)
    return action


def _returned(exchange: Exchange, actions: list[Action], answered: Message) -> Message:
    first = actions[0]
    assert isinstance(first, Forward)
    if not first.watch:
        return answered
    head = exchange.on(ResponseStart(dict(answered.headers), not answered.body, True), 1e9)
    actions.append(head)
    if not isinstance(head, PassHeaders):
        return _reply(head)
    got = Message(applied(head.changes, answered.headers), answered.body)
    if head.body is BodyMode.NONE:
        return got
    rest = _done(exchange, exchange.on(Chunk(answered.body, True), 1e9), actions)
    match rest:
        case ReplaceBody():
            return Message(applied(rest.changes, got.headers) | {"content-length": str(len(rest.body))}, rest.body)
        case PassBody():
            return got
        case _:
            return _reply(rest)


def _reply(action: Action) -> Message:
    if isinstance(action, Serve):
        return Message({":status": str(action.entry.status), **dict(action.entry.headers)}, action.entry.body)
    assert isinstance(action, Refuse), action
    problem: dict[str, object] = {"type": f"urn:meetinity:{action.name}", "detail": action.detail}
    if action.problems and action.status < 500:
        problem["errors"] = [{"in": each.where, "at": each.at, "problem": each.text} for each in action.problems]
    return Message({":status": str(action.status), "content-type": "application/problem+json"}, orjson.dumps(problem))
