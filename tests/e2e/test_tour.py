"""The command blocks of the documents, executed from the documents themselves, page by page.

Each page has a shell and a folder of its own, which looks like the checkout: what it writes is gone afterwards. All
pages but the first steps share the running gateway, so a page that changes something changes it back.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.supervisor.ports import Ports, demo_ports
from tests.console import Step, differences, script, steps
from tests.e2e.stack import CHECKOUT, Stack
from tests.ports import free_port

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]

README = CHECKOUT / "README.md"
FIRST_STEPS = CHECKOUT / "docs" / "getting-started.md"
PAGES = [
    page
    for page in sorted(
        [*(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "deploy").rglob("*.md"), CHECKOUT / "CONTRIBUTING.md"]
    )
    if steps(page.read_text()) and page != FIRST_STEPS
]
BIN = Path(sys.executable).parent


def adapted(text: str, ports: dict[int, int], config: Path | None = None) -> str:
    """The same command for the ports and the configuration of the gateway under test."""
    for default, ours in ports.items():
        text = re.sub(rf"\b(localhost|127\.0\.0\.1):{default}\b", rf"\1:{ours}", text)
    if config is not None:
        text = text.replace("envoy/gateway.yaml", str(config))
    return text.replace(".venv/bin/", f"{BIN}/")


def ports_of(stack: Stack) -> dict[int, int]:
    """From where things listen by default to where they do here."""
    ours, default = stack.ports, Ports()
    demo, demo_default = demo_ports(ours.demo), demo_ports(default.demo)
    named = ("xds", "http", "envoy_admin", "envoy_ready", "ext_authz_admin", "ext_proc_admin", "analytics_http")
    return (
        {10000: stack.port}
        | {demo_default[instance]: demo[instance] for instance in demo}
        | {getattr(default, name): getattr(ours, name) for name in named}
    )


def executed(tour: list[Step], folder: Path, variables: dict[str, str], http: int, config: Path) -> list[str]:
    """What is not as shown, after all commands in one shell. An edit is waited for, instead of two seconds."""
    served = f"{sys.executable} -m tests.e2e.served {http} {config}"
    tour = [Step(step.command.replace("; sleep 2", f"; {served}"), step.expected) for step in tour]
    shell = subprocess.run(
        ("bash", "-m", "-c", script([step.command for step in tour])),
        cwd=folder,
        env={**variables, "PATH": f"{BIN}:{variables['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return differences(tour, shell.stdout)


def adapted_steps(page: Path, ports: dict[int, int], config: Path | None = None) -> list[Step]:
    return [
        Step(adapted(step.command, ports, config), tuple(adapted(line, ports, config) for line in step.expected))
        for step in steps(page.read_text())
    ]


def like_the_checkout(folder: Path) -> Path:
    """Links to everything that is there."""
    for entry in CHECKOUT.iterdir():
        if entry.name not in (".git", ".gateway", "build", ".env"):
            (folder / entry.name).symlink_to(entry)
    return folder


def test_every_step_of_the_tour_prints_what_the_readme_shows(stack: Stack) -> None:
    """In the order of the README."""
    tour = adapted_steps(README, ports_of(stack), stack.config)
    found = executed(tour, CHECKOUT, stack.variables(), stack.ports.http, stack.config)

    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_command_of_a_page_prints_what_it_shows(stack: Stack, page: Path, tmp_path: Path) -> None:
    """And leaves the configuration as it was."""
    before = stack.config.read_text()
    ports = stack.ports
    variables = stack.variables() | {
        "GATEWAY_SERVER": f"http://127.0.0.1:{ports.http}",
        "GATEWAY_PROC_ADMIN": f"http://127.0.0.1:{ports.ext_proc_admin}",
        "GATEWAY_XDS_ADDRESS": f"127.0.0.1:{ports.xds}",
        "GATEWAY_ANALYTICS_SERVER": f"http://127.0.0.1:{ports.analytics_http}",
    }
    try:
        tour = adapted_steps(page, ports_of(stack), stack.config)
        found = executed(tour, like_the_checkout(tmp_path), variables, ports.http, stack.config)
        assert not found, "\n".join(found)
        assert before == stack.config.read_text()
    finally:
        stack.config.write_text(before)


def test_the_first_steps_print_what_they_show(tmp_path: Path) -> None:
    """They make a gateway of their own, and end it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    own = Stack.make(tmp_path)
    ports = own.ports
    numbers = {name: str(getattr(ports, name)) for name in _PORT_VARIABLES}
    variables = {name: value for name, value in own.variables().items() if name not in ("GATEWAY_PORT", "JWT_SECRET")}
    variables |= {variable: numbers[name] for name, variable in _PORT_VARIABLES.items()}
    variables |= {"GATEWAY_SERVER": f"http://127.0.0.1:{ports.http}"}
    service = free_port()
    tour = [
        Step(re.sub(r"\b8191\b", str(service), re.sub(r"\b10080\b", str(own.port), step.command)), step.expected)
        for step in adapted_steps(FIRST_STEPS, {})
    ]
    try:
        found = executed(tour, like_the_checkout(folder), variables, ports.http, folder / "gateway.yaml")
        assert not found, "\n".join(found)
    finally:
        subprocess.run([f"{BIN}/gatewayctl", "down"], cwd=folder, env=variables, capture_output=True, check=False)


_PORT_VARIABLES = {
    "xds": "GATEWAY_XDS_PORT",
    "http": "GATEWAY_HTTP_PORT",
    "envoy_admin": "GATEWAY_ENVOY_ADMIN_PORT",
    "envoy_ready": "GATEWAY_ENVOY_READY_PORT",
    "ext_authz": "GATEWAY_EXT_AUTHZ_PORT",
    "ext_authz_admin": "GATEWAY_EXT_AUTHZ_ADMIN_PORT",
    "ext_proc": "GATEWAY_EXT_PROC_PORT",
    "ext_proc_admin": "GATEWAY_EXT_PROC_ADMIN_PORT",
    "analytics": "GATEWAY_ANALYTICS_PORT",
    "analytics_http": "GATEWAY_ANALYTICS_HTTP_PORT",
}


def test_the_tour_covers_what_the_gateway_promises() -> None:
    """Each feature of the default configuration has its commands; an emptied README would pass otherwise."""
    commands = "\n".join(step.command for step in steps(README.read_text()))
    for feature in ("/health", "TOKEN=", "/api/admin", "events-v", "8104/demo", "popular", "login", "OPTIONS", "/docs"):
        assert feature in commands
    assert {"getting-started.md"} | {page.name for page in PAGES} >= {"deployment.md", "upgrades.md", "performance.md"}
