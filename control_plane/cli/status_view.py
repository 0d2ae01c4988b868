"""How the control plane's status looks on a terminal."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

_TIMEOUT_S = 5.0


class StatusError(Exception):
    """The control plane gives no status."""


class _Shape(BaseModel):
    """What a newer control plane says in addition is left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Config(_Shape):
    file: str
    valid: bool
    faults: tuple[str, ...]
    serving_since: float
    is_last_good: bool
    withheld: tuple[str, ...] = ()


class _Gateway(_Shape):
    name: str
    snapshot_age_s: float
    resources: dict[str, int]
    refused_policies: tuple[str, ...] = ()


class _Nack(_Shape):
    reason: str
    at: float
    parked: tuple[str, ...]


class _RefusedNode(_Shape):
    id: str
    reason: str
    count: int
    age_s: float


class _Type(_Shape):
    type: str
    version_sent: str
    version_acked: str
    unanswered_s: float | None
    in_sync: bool
    nack: _Nack | None


class _Node(_Shape):
    id: str
    cluster: str
    kind: str
    version: str
    variant: str
    age_s: float
    types: tuple[_Type, ...]


class _Status(_Shape):
    config: _Config
    gateways: tuple[_Gateway, ...]
    nodes: tuple[_Node, ...]
    time: float
    refused: tuple[_RefusedNode, ...] = ()


def fetch(server: str, token: str, path: str = "/api/status") -> bytes:
    """The status, or what else stands there, as JSON; raises StatusError."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(server.rstrip("/") + path, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # nosec B310 - the caller's own --server
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        hint = ": set GATEWAY_TOKEN" if error.code == 401 else ""
        raise StatusError(f"{server} answers {error.code} {error.reason}{hint}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise StatusError(f"no control plane at {server}: {reason}") from error


def show(body: bytes) -> None:
    """Print it once."""
    Console().print(rendered(body))


def watching(server: str, token: str) -> None:
    """Print it every second, until interrupted."""
    with Live(rendered(fetch(server, token)), auto_refresh=False) as live:
        while True:
            time.sleep(1)
            try:
                live.update(rendered(fetch(server, token)), refresh=True)
            except StatusError as error:
                live.update(Text(str(error), style="red"), refresh=True)


def rendered(body: bytes) -> RenderableType:
    """The configuration, each node with its types, and what is wrong."""
    try:
        status = _Status.model_validate_json(body)
    except ValidationError as error:
        raise StatusError("the answer is no status of a control plane of this version") from error
    return Group(*_config(status), *_refused(status), *_nodes(status), *_nacks(status))


def _config(status: _Status) -> Iterator[RenderableType]:
    config = status.config
    since = f"since {_age(status.time - config.serving_since)}"
    if config.valid:
        yield Text.assemble(("valid", "green"), f"  {config.file}, served {since}")
    else:
        served = "the last good text of the state directory" if config.is_last_good else "the last good text"
        yield Text.assemble(("FAULTY", "bold red"), f"  {config.file}, {served} is served {since}")
        yield from (Text(f"  {fault}", style="red") for fault in config.faults)
    yield from (Text(f"  not served: {one}", style="red") for one in config.withheld)
    for gateway in status.gateways:
        counts = ", ".join(f"{count} {name}" for name, count in gateway.resources.items() if count)
        yield Text(f"gateway {gateway.name}, changed {_age(gateway.snapshot_age_s)} ago: {counts}")
        for policy in gateway.refused_policies:
            yield Text(f"  policy {policy} is refused by a service: routes stay as they are", style="red")


def _refused(status: _Status) -> Iterator[RenderableType]:
    for one in status.refused:
        times = f"{one.count} times, " if one.count > 1 else ""
        yield Text(f"{one.id} is not let in ({times}{_age(one.age_s)} ago): {one.reason}", style="red")


def _nodes(status: _Status) -> Iterator[RenderableType]:
    if not status.nodes:
        yield Text("nothing is connected")
    for node in status.nodes:
        program = f"{node.kind} {node.version}".strip()
        gateway = f"gateway {node.cluster}" if node.cluster else "all gateways"
        yield Text.assemble((node.id, "bold"), f"  {program}, {gateway}, {node.variant}, for {_age(node.age_s)}")
        yield _types(node)


def _types(node: _Node) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in node.types:
        sent = one.version_sent or "-"
        acked = "acked" if one.version_acked == sent else f"acked {one.version_acked or '-'}"
        table.add_row("", one.type, sent, acked, _state(one))
    return table


def _state(one: _Type) -> Text:
    if one.nack is not None:
        return Text("NACK", style="bold red")
    if one.unanswered_s is not None:
        return Text(f"no answer for {one.unanswered_s:.0f} s", style="yellow")
    return Text("in sync", style="green") if one.in_sync else Text("behind", style="yellow")


def _nacks(status: _Status) -> Iterator[RenderableType]:
    for node in status.nodes:
        for one in node.types:
            if one.nack is not None:
                parked = f" (not sent again: {', '.join(one.nack.parked)})" if one.nack.parked else ""
                ago = _age(status.time - one.nack.at)
                yield Text(f"{node.id} refused {one.type} {ago} ago{parked}: {one.nack.reason}", style="red")


def _age(seconds: float) -> str:
    """The two largest units."""
    whole = max(0, int(seconds))
    for unit, size, smaller in (("d", 86400, "h"), ("h", 3600, "m"), ("m", 60, "s")):
        if whole >= size:
            below = {"h": 3600, "m": 60, "s": 1}[smaller]
            return f"{whole // size}{unit}{whole % size // below}{smaller}"
    return f"{whole}s"
