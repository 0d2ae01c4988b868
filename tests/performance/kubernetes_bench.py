"""What discovery of endpoints costs: `python -m tests.performance.kubernetes_bench` writes the report."""
# ruff: noqa: T201 - a program for the terminal

import argparse
import gc
import json
import platform
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Any

import orjson
from envoy.config.endpoint.v3 import endpoint_pb2

from control_plane.config.model.services import KubernetesService
from control_plane.endpoints import Endpoint
from control_plane.kubernetes.cluster import Cluster
from control_plane.kubernetes.list_watch import PAGE_SIZE, Changed, Listed, ListWatch, Put
from control_plane.kubernetes.parsing import parse_endpoint_slice, parse_event, parse_page
from control_plane.kubernetes.watched import Kind, Watched
from control_plane.snapshot import Resource
from control_plane.translate.endpoints import lb_endpoint, load_assignment
from tests.performance.stand import ROOT

REPORT = ROOT / "docs" / "performance" / "kubernetes.md"
WATCHED = Watched("shop", Kind.ENDPOINT_SLICES)
USERS = KubernetesService(namespace="shop", service="users", port="http")
ROLLOUT_EVENTS = 200
ROLLOUT_S = 10.0
ENDPOINTS = 100
"""Of one slice: what the controller fills them with."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report."""

    what: str
    value: str
    goal: str = ""


def raw_slice(number: int, moved: int = 0) -> dict[str, Any]:
    """A slice as the controller of Kubernetes writes it, with everything that we do not read."""
    return {
        "metadata": {
            "name": f"users-{number:05}",
            "generateName": "users-",
            "namespace": "shop",
            "uid": f"1e7d1d3c-2b9a-4f6e-9d57-{number:012}",
            "resourceVersion": str(1000 + number),
            "generation": 7,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "app.kubernetes.io/name": "users",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": "users",
            },
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "users", "uid": "0" * 36}],
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [raw_endpoint(number, place, moved) for place in range(ENDPOINTS)],
    }


def raw_endpoint(number: int, place: int, moved: int) -> dict[str, Any]:
    unique = f"{number:05}{place:03}"
    return {
        "addresses": [f"10.{number // 256}.{number % 256}.{place + moved}"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"ip-10-0-{place}-17.eu-west-1.compute.internal",
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": f"users-7d9f8b6c5d-{unique}", "uid": "0" * 36},
        "zone": f"eu-west-1{'abc'[place % 3]}",
    }


def pages(slices: int) -> list[bytes]:
    """The answers to a paginated list."""
    found = []
    for first in range(0, slices, PAGE_SIZE):
        last = min(slices, first + PAGE_SIZE)
        metadata = {"resourceVersion": "9000", **({"continue": str(last)} if last < slices else {})}
        items = [raw_slice(number) for number in range(first, last)]
        found.append(json.dumps({"kind": "EndpointSliceList", "metadata": metadata, "items": items}).encode())
    return found


def event(number: int, moved: int) -> bytes:
    """One line of a watch: all endpoints of a slice have other addresses."""
    return json.dumps({"type": "MODIFIED", "object": raw_slice(number, moved)}).encode()


class Discovered:
    """The way of a service from JSON to its assignment, as the watcher and the reconciler go it."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self.cluster = Cluster()
        machine = ListWatch[Any](lambda: 0.5)
        for answer in answers:
            listed = machine.on_page(parse_page(answer, parse_endpoint_slice))
            if isinstance(listed, Listed):
                self.cluster.apply(WATCHED, listed)
        self.assignment = self.assign()

    def assign(self) -> Resource:
        return load_assignment("users", self.cluster.endpoints(USERS))

    def on_event(self, line: bytes) -> None:
        changed = parse_event(line, parse_endpoint_slice)
        assert isinstance(changed, Put)
        self.cluster.apply(WATCHED, Changed(changed.item.name, changed.item.value))
        self.assignment = self.assign()


def cpu_s(work: Any, *arguments: Any) -> float:
    gc.collect()
    began = process_time()
    work(*arguments)
    return process_time() - began


def measure(*, slices: int, repetitions: int, events: int = ROLLOUT_EVENTS) -> list[Figure]:
    """All figures of the report; `slices` of 100 endpoints are the large service, `events` come in a rollout."""
    answers = pages(slices)
    count = slices * ENDPOINTS
    listing = median(cpu_s(Discovered, answers) for _ in range(repetitions))
    models = cpu_s(_with_model_classes, answers)
    small, large = Discovered(pages(10)), Discovered(answers)
    one_of_small = median(cpu_s(small.on_event, event(3, 100 + turn)) for turn in range(20))
    one_of_large = median(cpu_s(large.on_event, event(3, 100 + turn)) for turn in range(repetitions * 2))
    whole = median(cpu_s(large.assign) for _ in range(repetitions * 2))
    endpoints = large.cluster.endpoints(USERS)
    building = median(cpu_s(load_assignment, "users", endpoints) for _ in range(repetitions * 2))
    plainly = median(cpu_s(_with_messages, endpoints) for _ in range(repetitions))
    rollout = sum(cpu_s(small.on_event, event(turn % 10, turn % 150)) for turn in range(events))
    return [
        Figure(f"list of {slices} slices ({count:,} endpoints) to the first assignment", f"{listing:.2f} s", "0.8 s"),
        Figure("... the same JSON into the client's model classes alone", f"{models:.2f} s"),
        Figure("one slice event to the new assignment, 1,000 endpoints", f"{one_of_small * 1000:.1f} ms", "3 ms"),
        Figure(f"one slice event to the new assignment, {count:,} endpoints", f"{one_of_large * 1000:.0f} ms"),
        Figure("... in times of building that assignment alone", f"{one_of_large / building:.2f}", "1.5"),
        Figure("... of which merge and assignment, without the event", f"{whole * 1000:.0f} ms"),
        Figure("the same assignment from a message for each endpoint", f"{plainly * 1000:.0f} ms"),
        Figure("memory of what is known, per endpoint", f"{_bytes_per_endpoint(answers, count):,.0f} B", "2,048 B"),
        Figure(
            f"a rollout, {events} events in {ROLLOUT_S:.0f} s, 1,000 endpoints",
            f"{rollout / ROLLOUT_S:.1%} of a core",
            "20 %",
        ),
    ]


def _with_messages(endpoints: Sequence[Endpoint]) -> bytes:
    """The plain way, to compare with."""
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name="users")
    for zone in sorted({endpoint.zone for endpoint in endpoints}):
        found = [lb_endpoint(endpoint) for endpoint in endpoints if endpoint.zone == zone]
        locality = assignment.endpoints.add(lb_endpoints=found)
        locality.locality.zone = zone
        locality.load_balancing_weight.value = len(found)
    return assignment.SerializeToString(deterministic=True)


def _with_model_classes(answers: Sequence[bytes]) -> None:
    from kubernetes.aio.client.models.v1_endpoint_slice_list import V1EndpointSliceList

    for answer in answers:
        V1EndpointSliceList.from_dict(orjson.loads(answer))


def _bytes_per_endpoint(answers: Sequence[bytes], count: int) -> float:
    gc.collect()
    tracemalloc.start()
    known = Discovered(answers)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] + len(known.assignment.body)
    tracemalloc.stop()
    return used / count


def document(figures: Sequence[Figure]) -> str:
    rows = [f"| {figure.what} | {figure.value} | {figure.goal} |" for figure in figures]
    return "\n".join(
        [
            "# What discovery costs",
            "",
            f"CPU time of one process, Python {platform.python_version()}, {platform.machine()};"
            " `python -m tests.performance.kubernetes_bench` measures it again.",
            "The slices are as the controller writes them; HTTP is not in the figures, parsing its bodies is.",
            "",
            "| what | measured | at most |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def main(command_line: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.kubernetes_bench")
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run? writes no report")
    quick = parser.parse_args(command_line).quick
    text = document(measure(slices=20 if quick else 500, repetitions=1 if quick else 3))
    print(text)
    if not quick:
        REPORT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
