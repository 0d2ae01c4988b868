"""The README's five minutes, executed from the README itself."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from control_plane.supervisor.ports import Ports, demo_ports
from tests.e2e.stack import CHECKOUT, Stack

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("stack"), pytest.mark.timeout(120)]

README = CHECKOUT / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANYTHING = "..."
MARK = "\x1e"


@dataclass(frozen=True)
class Step:
    """One command of the tour and the lines that it should print."""

    command: str
    expected: tuple[str, ...]


def steps(markdown: str) -> list[Step]:
    """Every `$ command` of the console blocks, with the lines under it."""
    found: list[Step] = []
    for block in BLOCK.findall(markdown):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line[2:], ()))
            else:
                found[-1] = Step(found[-1].command, (*found[-1].expected, line))
    return found


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Whether the output is as shown: `...` is any text, alone on a line any lines."""
    patterns = [
        r"(?:.*\n)*?" if line.strip() == ANYTHING else ".*".join(map(re.escape, line.split(ANYTHING))) + "\n"
        for line in expected
    ]
    lines = printed.replace("\r", "")
    if lines and not lines.endswith("\n"):
        lines += "\n"  # a body without one; the README cannot show the difference
    return re.fullmatch("".join(patterns), lines) is not None


def adapted(text: str, stack: Stack) -> str:
    """The same command for the ports and the configuration of the stack under test."""
    demo, demo_default = demo_ports(stack.ports.demo), demo_ports(Ports().demo)
    numbers = {10000: stack.port} | {demo_default[instance]: demo[instance] for instance in demo}
    for default, ours in numbers.items():
        text = text.replace(f"localhost:{default}", f"localhost:{ours}")
    text = text.replace("envoy/gateway.yaml", str(stack.config))
    return text.replace(".venv/bin/", f"{Path(sys.executable).parent}/")


def test_every_step_of_the_tour_prints_what_the_readme_shows(stack: Stack) -> None:
    """In the order of the README, in one shell, so that variables live on."""
    tour = steps(README.read_text())
    script = "".join(f"printf '{MARK}'\n{adapted(step.command, stack)}\n" for step in tour)
    shell = subprocess.run(
        ("bash", "-c", script),
        cwd=CHECKOUT,
        env=stack.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    printed = shell.stdout.split(MARK)[1:]

    assert len(tour) == len(printed)
    differences = [
        "\n".join([f"$ {step.command}", "expected:", *step.expected, "printed:", text])
        for step, text in zip(tour, printed, strict=True)
        if not matches(tuple(adapted(line, stack) for line in step.expected), text)
    ]
    assert not differences, "\n".join(differences)


def test_the_tour_covers_what_the_gateway_promises() -> None:
    """Each feature of the default configuration has its commands; an emptied README would pass otherwise."""
    commands = "\n".join(step.command for step in steps(README.read_text()))
    for feature in ("/health", "TOKEN=", "/api/admin", "events-v", "8104/demo", "popular", "login", "OPTIONS", "/docs"):
        assert feature in commands
