"""What the status page costs with 1,000 services and 100 Envoys: `python -m tests.performance.status_page_bench`.

CPU time of one process, no browser and no network: reading reports, keeping their numbers, rendering pages, finding out
what has changed. Writes docs/performance/status-page.md.
"""

import asyncio
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from control_plane.admin.status import status
from control_plane.dashboard.live import TICK_S, Live
from control_plane.dashboard.pages import Pages
from control_plane.dashboard.rendering import parts, update
from control_plane.dashboard.scene import Scenes
from control_plane.resource_types import NodeKind
from control_plane.traffic.report import Reader
from control_plane.traffic.service import names_from, sender_of
from control_plane.traffic.traffic import Traffic
from control_plane.traffic.turns import Turns
from control_plane.translate import translate
from control_plane.xds.session import Node
from control_plane.xds.store import Client, Store
from tests.feature.dashboard.site import OneFile, document, gateway_of
from tests.reports import envoy_report

SERVICES, ENVOYS, ENDPOINTS = 1000, 100, 10
ROUNDS = 5
TARGET = Path(__file__).resolve().parents[2] / "docs" / "performance" / "status-page.md"
PAGES = ("/", "/clients", "/services?sort=-requests", "/services?q=0987", "/routes", "/history")


def cpu_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median of some rounds."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1e3)
    return statistics.median(taken)


def report(node: str, moment: int) -> bytes:
    """Every service has traffic, and each of its ten endpoints an opinion."""
    counters: dict[str, int] = {"http.public.downstream_rq_2xx": 1000 * moment}
    gauges: dict[str, int] = {}
    latencies: dict[str, list[float]] = {}
    for number in range(SERVICES):
        cluster = f"cluster.service-{number:04}"
        counters[f"{cluster}.upstream_rq_2xx"] = (number + 1) * moment
        latencies[f"{cluster}.upstream_rq_time"] = [3.0] * moment
        gauges[f"{cluster}.membership_total"] = ENDPOINTS
        gauges[f"{cluster}.membership_healthy"] = ENDPOINTS
        for endpoint in range(ENDPOINTS):
            gauges[f"{cluster}.endpoint.10.0.{number // 250}.{endpoint}_8080.healthy"] = 1
    return envoy_report(node, "shop", counters=counters, gauges=gauges, latencies_ms=latencies)


def main() -> None:
    gateway = gateway_of(document(SERVICES))
    source, store = OneFile(gateway), Store()
    store.publish(gateway.name, translate(gateway, {}, {}))
    store.open()
    traffic, reader, turns = Traffic(names_from(store, lambda: source.gateways)), Reader(), Turns()
    feed = store.feeds["shop"]
    for number in range(ENVOYS):
        client = Client(
            Node(f"envoy-{number:03}", "shop", NodeKind.ENVOY, "1.40.0"),
            feed,
            peer=f"10.1.0.{number}:40000",
            variant="delta ADS",
            timings=store.timings,
        )
        client.attach(asyncio.Event())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bodies = [report("envoy-000", moment) for moment in (1, 2)]
    who = cpu_ms(lambda: sender_of(bodies[0]), 50)
    reading = cpu_ms(lambda: reader.read(bodies[0]))
    kept = []
    for moment in range(3):
        for number in range(ENVOYS):
            node = f"envoy-{number:03}"
            found = reader.read(report(node, moment + 1) if number < 3 else bodies[min(moment, 1)])
            named = type(found)(node, "shop", found.kind, found.counters, found.gauges, found.endpoints)
            began = time.process_time()
            traffic.take(named, 5.0 * moment + number / 100)
            kept.append((time.process_time() - began) * 1e3)
            turns.took(node, reading / 1e3, 5.0 * moment)
        traffic.sample(1_800_000_000.0 + 5 * moment)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    scenes = Scenes(
        lambda: status(source.status, store), lambda: source.gateways, store, traffic, lambda: 0.0, fresh_s=0.0
    )
    pages = Pages(scenes, Live(), has_login=False)
    lines = [
        "# What the status page costs",
        "",
        f"CPU time, Python {platform.python_version()}; {SERVICES:,} services of {ENDPOINTS} judged",
        f"endpoints, all with traffic, {ENVOYS} Envoys; medians of {ROUNDS} rounds.",
        "`python -m tests.performance.status_page_bench` measures it again.",
        "",
        "| what | measured |",
        "|---|---|",
        f"| a report of one Envoy | {len(bodies[0]) / 1e6:.2f} MB |",
        f"| ... whose it is, all that one costs that has no turn | {who * 1e3:.0f} us |",
        f"| ... reading it | {reading:.1f} ms |",
        f"| ... keeping its numbers beside those of all others | {statistics.median(kept[ENVOYS:]):.1f} ms |",
        f"| memory of {ENVOYS} Envoys' numbers | {grown:.0f} MiB |",
        f"| each Envoy is read every | {turns.round_s:.0f} s (a tenth of one CPU) |",
    ]
    for path in PAGES:
        where, _, query = path.partition("?")
        parameters = dict(pair.split("=") for pair in query.split("&")) if query else {}
        text = pages._main(where, parameters)
        taken = cpu_ms(lambda where=where, parameters=parameters: pages._main(where, parameters))  # type: ignore[misc]
        known = parts(text)
        diffing = cpu_ms(lambda known=known, text=text: update(known, text))  # type: ignore[misc]
        lines.append(
            f"| `{path}`, {len(text) // 1024} KiB: rendering | {taken:.1f} ms |\n"
            f"| ... what of it has changed, for whoever looks at it, every {TICK_S:.0f} s | {diffing:.2f} ms |"
        )
    text = "\n".join(lines) + "\n"
    TARGET.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
