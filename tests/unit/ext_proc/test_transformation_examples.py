"""Every example of docs/developer/transformations.md does what it says."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from control_plane.config.effective import effective_routes
from control_plane.config.loading import load
from control_plane.translate.policies import processing_policy
from policy.processing import Processing, compile_policy
from tests.unit.ext_proc.http_text import Gateway, Message, answer, request

PAGE = Path(__file__).parents[3] / "docs" / "developer" / "transformations.md"
GATEWAY = """
version: 1
name: edge
listeners: [{name: public, port: 10000}]
services: {api: {endpoints: [{address: 127.0.0.1, port: 1}]}}
auth: {jwt: {main: {issuer: i, algorithms: [HS256], secret: "0123456789012345678901234567890123"}}}
routes:
  - name: example
    service: api
    auth: {any_of: [jwt.main]}
    transform:
"""


@dataclass
class Example:
    """One block `yaml transform` and those that follow it."""

    line: int
    transform: str
    blocks: dict[str, str] = field(default_factory=dict)


def examples() -> Iterator[Example]:
    text = PAGE.read_text()
    current: Example | None = None
    for block in re.finditer(r"^```(\w+) (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        kind, content = block[2], block[3]
        if kind == "transform":
            if current is not None:
                yield current
            current = Example(text.count("\n", 0, block.start()) + 1, content)
        elif current is not None and kind in ("request", "service", "answer", "client"):
            current.blocks[kind] = content
    assert current is not None
    yield current


def files() -> Mapping[str, bytes]:
    return {
        block[1]: block[2].encode()
        for block in re.finditer(r"^```yaml (\S+\.yaml)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    }


class PageFiles:
    """The loader's files: the configuration of one example, and what the page shows."""

    def __init__(self, gateway: str) -> None:
        self._files = {"gateway.yaml": gateway.encode(), **files()}

    def read(self, path: str) -> bytes:
        if path not in self._files:
            raise FileNotFoundError(2, "No such file", path)
        return self._files[path]

    def glob(self, pattern: str) -> Sequence[str]:
        return ()


def compiled(transform: str) -> Processing:
    indented = "".join(f"      {line}\n" for line in transform.splitlines())
    loaded = load("gateway.yaml", PageFiles(GATEWAY + indented), {})
    assert loaded.gateway is not None, [str(fault) for fault in loaded.faults]
    policy = processing_policy(loaded.gateway, effective_routes(loaded.gateway)[0], loaded.materials, invalidates=False)
    assert policy is not None
    return compile_policy(policy)


def message(text: str) -> Message:
    head, _, body = text.partition("\n\n")
    first, *lines = head.splitlines()
    headers = {name.replace("-", "_"): value for name, _, value in (line.partition(": ") for line in lines)}
    return (
        answer(body.rstrip("\n"), int(first), **headers)
        if first.isdigit()
        else request(first, body.rstrip("\n"), **headers)
    )


def assert_as_shown(shown: str, actual: Message) -> None:
    """What the page shows is there; what it does not show is not compared."""
    wanted = message(shown)
    wanted.headers = {
        name: value
        for name, value in wanted.headers.items()
        if name not in (":scheme", ":authority", "content-length") or "content-length" in shown
    }
    for name, value in wanted.headers.items():
        if value == "(none)":
            assert name not in actual.headers
        elif name not in (":scheme", ":authority"):
            assert value == actual.headers[name]
    if wanted.body:
        assert wanted.body == actual.body.replace(b"\r\n", b"\n").rstrip(b"\n")


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: f"line {example.line}")
def test_the_example_is_true(example: Example) -> None:
    """The service sees, and the client gets, what the page says."""
    said = re.match(r"# claims: (.*)", example.transform)
    claims = yaml.safe_load(said[1]) if said else None
    answered = message(example.blocks["answer"]) if "answer" in example.blocks else answer()

    result = Gateway(compiled(example.transform)).exchange(message(example.blocks["request"]), answered, claims)

    if "service" in example.blocks:
        assert result.seen is not None
        assert_as_shown(example.blocks["service"], result.seen)
    if "client" in example.blocks:
        assert_as_shown(example.blocks["client"], result.got)
    assert {"service", "client"} & example.blocks.keys()
