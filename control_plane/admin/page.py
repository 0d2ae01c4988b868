"""The status as one plain page: no script, nothing from elsewhere, loaded again every 5 seconds."""

from collections.abc import Iterator
from html import escape

from control_plane.admin.status import GatewayStatus, NodeStatus, RefusedStatus, Status, TypeStatus

_STYLE = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:70em}"
    "table{border-collapse:collapse;margin:0 0 1.5em}td,th{padding:.2em 1em .2em 0;text-align:left}"
    "th{border-bottom:1px solid #999}code{font-family:ui-monospace,monospace}.bad{color:#b00020}.good{color:#1b7e3a}"
)


def page(status: Status) -> str:
    """The whole document."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">',
        f"<title>Gateway status</title><style>{_STYLE}</style><h1>Gateway status</h1>",
        *_config(status),
        *(part for gateway in status.gateways for part in _gateway(gateway)),
        *(_refused(one) for one in status.refused),
        *(part for node in status.nodes for part in _node(node)),
    ]
    if not status.nodes:
        parts.append("<p>Nothing is connected.</p>")
    return "".join(parts)


def _config(status: Status) -> Iterator[str]:
    config = status.config
    word = '<b class="good">valid</b>' if config.valid else '<b class="bad">faulty, the last good text is served</b>'
    yield f"<p><code>{escape(config.file)}</code>: {word}</p>"
    if config.faults:
        yield f'<pre class="bad">{escape(chr(10).join(config.faults))}</pre>'
    if config.warnings:
        yield f"<details><summary>{len(config.warnings)} warnings</summary>"
        yield f"<pre>{escape(chr(10).join(config.warnings))}</pre></details>"


def _gateway(gateway: GatewayStatus) -> Iterator[str]:
    counts = ", ".join(f"{count} {name}" for name, count in gateway.resources.items() if count)
    yield f"<p>Gateway <b>{escape(gateway.name)}</b>, changed {gateway.snapshot_age_s:.0f} s ago: {escape(counts)}</p>"
    for name in gateway.refused_policies:
        yield f'<p class="bad">Policy {escape(name)} is refused by a service: routes stay as they are.</p>'


def _refused(one: RefusedStatus) -> str:
    facts = f"{one.id} of gateway {one.cluster} at {one.peer} is not let in ({one.count} times): {one.reason}"
    return f'<p class="bad">{escape(facts)}</p>'


def _node(node: NodeStatus) -> Iterator[str]:
    gateway = f"gateway {node.cluster}" if node.cluster else "all gateways"
    facts = f"{node.kind} {node.version}, {gateway}, {node.variant}, connected for {node.age_s:.0f} s"
    yield f"<h2>{escape(node.id)}</h2><p>{escape(facts)}</p>"
    yield "<table><tr><th>type<th>sent<th>acknowledged<th>state</tr>"
    for one in node.types:
        versions = "".join(f"<td><code>{escape(text or '-')}</code>" for text in (one.version_sent, one.version_acked))
        yield f"<tr><td>{escape(one.type)}{versions}<td>{_state(one)}</tr>"
    yield "</table>"


def _state(one: TypeStatus) -> str:
    if one.nack is not None:
        return f'<span class="bad">NACK: {escape(one.nack.reason)}</span>'
    if one.unanswered_s is not None:
        return f"no answer for {one.unanswered_s:.0f} s"
    return '<span class="good">in sync</span>' if one.in_sync else "behind"
