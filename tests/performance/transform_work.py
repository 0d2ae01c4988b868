"""What transforming one message costs, from its bytes to those that go on; CPU of one thread, no transport."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

import orjson

from ext_proc.transform import csv_text, json_text, xml_text
from ext_proc.transform.checking import body_problems
from ext_proc.transform.redact import redact_json, redact_xml
from ext_proc.transform.steps import applied
from policy.fields import fields
from policy.json_patch import operations
from policy.openapi.operations import openapi
from policy.transforms import Patch

BODY_BYTES = 100 * 1024
_SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "name"],
        "properties": {"id": {"type": "integer"}, "name": {"type": "string", "maxLength": 100}},
    },
}
_DOCUMENT = {
    "openapi": "3.1.0",
    "paths": {"/": {"post": {"requestBody": {"content": {"application/json": {"schema": _SCHEMA}}}, "responses": {}}}},
}


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of work on a body of 100 KiB, in times of the base."""

    what: str
    cpu_us: Sequence[float]
    """Of each round."""
    ratios: Sequence[float]
    """To parsing and writing the same body by orjson, of each round."""
    at_most: float | None = None


def customers(size: int = BODY_BYTES) -> list[dict[str, object]]:
    """So many that their JSON is about that long; each has one field that is to be redacted."""
    made: list[dict[str, object]] = []
    length = 2
    while length < size:
        number = len(made)
        made.append(
            {
                "id": number,
                "name": f"Customer {number}",
                "password": f"secret-{number}",
                "email": f"customer{number}@example.com",
                "active": number % 3 == 0,
                "balance": number * 1.25,
                "tags": ["a", "b"],
                "address": {"street": f"Main Street {number}", "zip": "12345", "country": None},
            }
        )
        length += len(orjson.dumps(made[-1])) + 1
    return made


def measure(rounds: int, repetitions: int) -> list[Work]:
    """Each kind of work in each round, and the base beside it."""
    document = customers()
    flat = [{name: value for name, value in each.items() if name not in ("tags", "address")} for each in document]
    body = orjson.dumps(document)
    xml, csv = xml_text.dumps(orjson.loads(body), "customers"), csv_text.dumps(orjson.loads(orjson.dumps(flat)))
    names, paths, query = fields(["password"]), fields(["*.zip"]), fields(["$[*].password"])
    patch = Patch(operations([{"op": "add", "path": "/-", "value": {}}, {"op": "remove", "path": "/0/password"}]))
    content = openapi(orjson.loads(orjson.dumps(_DOCUMENT))).literal["/"][0].body
    assert content is not None
    works: list[tuple[str, Callable[[], object], float | None]] = [
        ("redact `password` in JSON", lambda: redact_json(body, names), 3.0),
        ("redact `*.zip` in JSON", lambda: redact_json(body, paths), None),
        ("redact `$[*].password` in JSON", lambda: redact_json(body, query), 3.0),
        (f"redact `password` in XML ({len(xml) >> 10} KiB)", lambda: redact_xml(xml, names), None),
        ("JSON Patch of two operations", lambda: json_text.dumps(applied(patch, json_text.loads(body), _none)), None),
        ("JSON to XML", lambda: xml_text.dumps(json_text.loads(body), "customers"), None),
        (f"XML to JSON ({len(xml) >> 10} KiB)", lambda: json_text.dumps(xml_text.loads(xml)), None),
        (f"CSV to JSON ({len(csv) >> 10} KiB)", lambda: json_text.dumps(csv_text.loads(csv)), None),
        ("OpenAPI validation", lambda: body_problems(content, "application/json", body), None),
    ]
    samples: dict[str, list[tuple[float, float]]] = {what: [] for what, _, _ in works}
    for _ in range(rounds):
        for what, work, _ in works:
            base = _cpu_us(lambda: orjson.dumps(orjson.loads(body)), repetitions)
            samples[what].append((_cpu_us(work, repetitions), base))
    return [
        Work(what, [ours for ours, _ in samples[what]], [ours / base for ours, base in samples[what]], at_most)
        for what, _, at_most in works
    ]


def _none(_: object) -> None:
    return None


def _cpu_us(work: Callable[[], object], repetitions: int) -> float:
    """The best of three runs."""
    best = float("inf")
    for _ in range(3):
        gc.collect()
        began = process_time()
        for _ in range(repetitions):
            work()
        best = min(best, (process_time() - began) / repetitions)
    return best * 1e6
