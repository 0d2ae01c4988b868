"""gatewayctl render and bootstrap."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from control_plane.cli.app import app

CONFIGURATION = """
version: 1
name: test
listeners: [{name: public, port: 10000}]
services: {users: {endpoints: [{address: 127.0.0.1, port: 8101}]}}
auth: {jwt: {main: {issuer: "https://i.example", algorithms: [HS256], secret: "an example secret of 32 bytes or more"}}}
routes: [{name: users, match: {path_prefix: /users}, service: users, auth: {any_of: [jwt.main]}}]
"""
SECRET_BASE64 = "YW4gZXhhbXBsZSBzZWNyZXQgb2YgMzIgYnl0ZXMgb3IgbW9yZQ=="


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIGURATION)
    return str(path)


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout


def test_every_type_is_printed(file: str) -> None:
    """Without options, all types stand under their words, as YAML."""
    status, output = _run("render", file)

    assert 0 == status
    assert ["clusters", "endpoints", "listeners", "routes", "secrets", "policies"] == list(yaml.safe_load(output))


def test_one_type_as_json(file: str) -> None:
    """`--type` leaves out the others; `-o json` is JSON."""
    status, output = _run("render", file, "--type", "clusters", "-o", "json")

    assert 0 == status
    assert ["callout:ext_authz", "callout:ext_proc", "users"] == [c["name"] for c in json.loads(output)["clusters"]]


def test_secrets_are_shown_only_on_request(file: str) -> None:
    """[redacted] stands for a secret unless --show-secrets is given."""
    hidden, shown = _run("render", file)[1], _run("render", file, "--show-secrets")[1]

    assert "[redacted]" in hidden
    assert SECRET_BASE64 not in hidden
    assert SECRET_BASE64 in shown


def test_static_is_a_whole_bootstrap(file: str) -> None:
    """--static has everything in static_resources, and nothing of ext_authz's secrets."""
    status, output = _run("render", file, "--static")
    bootstrap = yaml.safe_load(output)

    assert 0 == status
    assert {"status", "public"} == {listener["name"] for listener in bootstrap["static_resources"]["listeners"]}
    assert "dynamic_resources" not in bootstrap
    assert SECRET_BASE64 not in output


def test_faults_are_exit_status_2(tmp_path: Path) -> None:
    """A faulty file renders nothing."""
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 1\n")

    assert (2, "") == _run("render", str(path))


def test_bootstrap() -> None:
    """The bootstrap has the gateway's name and the control plane's address."""
    status, output = _run("bootstrap", "--name", "meetinity", "--xds-address", "cp:18000", "--mode", "sidecar")
    bootstrap = yaml.safe_load(output)

    assert (0, "meetinity") == (status, bootstrap["node"]["cluster"])
    assert "port_value: 18000" in output


@pytest.mark.parametrize(
    "arguments", [("--xds-address", "nowhere"), ("--xds-address", "cp:0"), ("--xds-address", "cp:18000", "--ca", "x")]
)
def test_bad_usage_of_bootstrap(arguments: tuple[str, ...]) -> None:
    """A bad address or half of a certificate is exit status 2."""
    assert (2, "") == _run("bootstrap", "--name", "meetinity", *arguments)
