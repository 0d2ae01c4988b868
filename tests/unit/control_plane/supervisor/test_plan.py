"""Which processes run, with which flags, and what is suggested to try."""

from pathlib import Path

import pytest

from control_plane.config.loading import load
from control_plane.config.model.gateway import Gateway
from control_plane.supervisor.plan import Plan, processes
from control_plane.supervisor.ports import Ports
from control_plane.supervisor.summary import addresses, summary
from demo.login import DEMO_SECRET

CONFIG = """
version: 1
name: edge
listeners:
  - {name: public, port: 10000, limits: {drain: 3s}}
  - {name: internal, address: 127.0.0.1, port: 10001}
services:
  users: {endpoints: [{address: 127.0.0.1, port: 8101}]}
auth:
  jwt:
    demo: {issuer: "https://a", algorithms: [HS256], secret: "a secret that is thirty-two bytes"}
    real: {issuer: "https://b", algorithms: [RS256], jwks_url: "https://b/keys"}
defaults: {auth: {any_of: [jwt.demo]}}
routes:
  - {name: docs, match: {path: /docs}, listeners: [public], auth: none, redirect: {path: /d}}
  - {name: post, match: {path: /post, methods: [POST]}, listeners: [public], service: users}
  - {name: real, match: {path: /real}, listeners: [public], auth: {any_of: [jwt.real]}, service: users}
  - {name: host, hosts: ["*.example.com"], match: {path_prefix: /h}, listeners: [public], service: users}
  - {name: inside, match: {path: /inside}, listeners: [internal], auth: none, direct_response: {body: hi}}
  - {name: users, match: {path_prefix: [/users, /u]}, listeners: [public], service: users}
  - {name: fourth, match: {path: /fourth}, listeners: [public], service: users}
CALLOUTS
"""


class _Files:
    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, path: str) -> bytes:
        return self._text.encode()

    def glob(self, pattern: str) -> list[str]:
        return []


def _gateway(callouts: str = "") -> Gateway:
    loaded = load("gateway.yaml", _Files(CONFIG.replace("CALLOUTS", callouts)), {})
    assert loaded.gateway is not None, [str(fault) for fault in loaded.faults]
    return loaded.gateway


def _plan(gateway: Gateway, *, demo: bool = False) -> Plan:
    return Plan(
        "gateway.yaml",
        gateway,
        Ports(),
        demo,
        "python",
        "envoy",
        bootstrap="envoy.json",
        state_dir="kept",
        analytics_dir="counted",
        environment={"A": "1"},
        log_format="auto",
    )


def test_the_processes_are_the_commands_of_containers() -> None:
    """One each, on loopback, Envoy last; demo instances only where they are wanted."""
    plan = _plan(_gateway())
    names = [process.name for process in processes(plan)]
    authz = processes(plan)[1]

    assert ["control_plane", "ext_authz", "ext_proc", "analytics", "envoy"] == names
    assert 11 == len(processes(_plan(_gateway(), demo=True)))
    assert ("python", "-m", "ext_authz", "--xds-address", "127.0.0.1:18000") == authz.command[:5]
    assert "1" == authz.environment["A"]


def test_envoy_has_as_long_to_drain_as_its_listeners_say() -> None:
    """The longest of them, 30 s being the default."""
    envoy = processes(_plan(_gateway()))[-1]
    assert envoy.drain is not None

    assert 30.0 == envoy.drain.limit_s
    assert {"127.0.0.1"} == {probe.host for probe in envoy.probes}


@pytest.mark.parametrize(
    ("callouts", "filled"),
    [
        ("", {"--ext-authz-endpoint", "--ext-proc-endpoint"}),
        ("callouts: {ext_proc: {message_timeout: 2s}}", {"--ext-authz-endpoint", "--ext-proc-endpoint"}),
        ("callouts: {ext_authz: {endpoints: [{address: 127.0.0.1, port: 9009}]}}", {"--ext-proc-endpoint"}),
    ],
)
def test_callouts_that_the_file_does_not_name_are_filled_in(callouts: str, filled: set[str]) -> None:
    """With the endpoints that are started here."""
    command = processes(_plan(_gateway(callouts)))[0].command

    assert filled == {"--ext-authz-endpoint", "--ext-proc-endpoint"} & set(command)


@pytest.mark.parametrize(
    ("section", "runs"),
    [
        ("", True),
        ("analytics: {}", True),
        ("analytics: none", False),
        ("analytics: {endpoints: [{address: 127.0.0.1, port: 9009}]}", False),
        ("analytics: {kubernetes: {namespace: a, service: analytics, port: grpc}}", False),
    ],
)
def test_analytics_runs_unless_it_is_off_or_elsewhere(section: str, runs: bool) -> None:
    """And Envoy never waits for it; its ports are told and asked for only if it runs."""
    gateway = _gateway(section)
    every = {process.name: process for process in processes(_plan(gateway))}

    assert runs == ("analytics" in every) == ("--analytics-endpoint" in every["control_plane"].command)
    assert runs == ("analytics" in addresses(gateway, Ports(), demo=False))
    assert "analytics" not in every["envoy"].after


def test_what_can_be_tried_is_suggested() -> None:
    """The first three GETs that need no more than the file: no redirect, POST, or token that cannot be made."""
    text = summary(_gateway(), Ports(), demo=False, logs="logs", token_for=lambda provider: f"token-of-{provider}")

    assert [
        "TOKEN=token-of-demo",
        """curl -i http://localhost:10000/h -H 'Host: www.example.com' -H "Authorization: Bearer $TOKEN\"""",
        "curl -i http://localhost:10001/inside",
        'curl -i http://localhost:10000/users -H "Authorization: Bearer $TOKEN"',
    ] == [line.strip() for line in text.splitlines() if line.strip().startswith(("TOKEN", "curl"))]


def test_every_address_is_told() -> None:
    """To people in the table, to programs in the state."""
    known = addresses(_gateway(), Ports(), demo=True)

    assert ("0.0.0.0:10000", "127.0.0.1:9001") == (known["listener public"], known["ext_authz"])
    assert 2 + 10 + 6 == len(known)


def test_every_predecessor_is_a_process() -> None:
    """A process that waits for one that nobody runs would never start."""
    every = processes(_plan(_gateway(), demo=True))
    names = {process.name for process in every}

    assert all(process.after <= names for process in every)


def test_the_demo_and_its_configuration_share_a_secret() -> None:
    """Otherwise the tokens of the demo's login are worth nothing."""
    text = (Path(__file__).resolve().parents[4] / "envoy" / "gateway.yaml").read_text()

    assert f"${{JWT_SECRET:-{DEMO_SECRET}}}" in text
