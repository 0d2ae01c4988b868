"""The schema that editors check gateway.yaml with."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from control_plane.config.json_schema import Schema, gateway_schema
from tests.unit.control_plane.config.documents import document

ROOT = Path(__file__).resolve().parents[4]
CONTRACT = Path(__file__).parent / "contract.yaml"


class _EditorLoader(yaml.SafeLoader):
    """Scalars as an editor with YAML 1.2 sees them: dates are text, and so are `on` and `no`."""


_EditorLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if not tag.endswith(":timestamp") and (not tag.endswith(":bool") or first in "tTfF")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _errors(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(gateway_schema())
    return [error.json_path for error in validator.iter_errors(yaml.load(text, Loader=_EditorLoader))]


def test_is_fresh() -> None:
    """The committed file is what the model says: scripts/generate_schema.py writes it."""
    committed: Schema = json.loads((ROOT / "docs" / "reference" / "gateway.schema.json").read_text())

    assert gateway_schema() == committed


def test_is_a_schema() -> None:
    """The schema itself is sound."""
    jsonschema.Draft202012Validator.check_schema(gateway_schema())


def test_takes_the_contract() -> None:
    """The whole example of the contract has no red line."""
    assert [] == _errors(CONTRACT.read_text())


def test_takes_the_demo() -> None:
    """Neither has the gateway.yaml that comes with the project."""
    assert [] == _errors((ROOT / "envoy" / "gateway.yaml").read_text())


@pytest.mark.parametrize(
    "extra",
    [
        "x-anything: {a: [1]}",
        'tracing: {sample_percent: "${PERCENT}"}',
        'mode: "${MODE}"',
        "access_log: {path: 1}",
        "defaults: {cache: none, retry: none, auth: none}",
    ],
)
def test_takes(extra: str) -> None:
    """Variables, unquoted text, switches."""
    assert [] == _errors(document(extra=extra))


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        ("routs: []", "$"),
        ("mode: side", "$.mode"),
        ("defaults: {retry: nothing}", "$.defaults.retry"),
        ("stores: {cache: [redis]}", "$.stores.cache"),
    ],
)
def test_refuses(extra: str, path: str) -> None:
    """What is wrong for certain is underlined."""
    assert [path] == _errors(document(extra=extra))
