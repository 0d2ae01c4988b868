"""The forge's workflows: what they run exists, and they may no more than they need."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
MAKE_TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
_MAKE = r"^make ([\w-]+)"
MARKERS = set(re.findall(r'^    "(\w+): needs', (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE))


def jobs(workflow: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
    return loaded


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(workflow).values():
        yield from job["steps"]


def commands(workflow: Path) -> str:
    return "\n".join(step["run"] for step in steps(workflow) if "run" in step)


def test_there_are_workflows_for_everything() -> None:
    """Checks, a cluster, releases."""
    assert {"ci", "kubernetes", "release"} == {workflow.stem for workflow in WORKFLOWS}
    wanted = {"lint", "docs", "test", "test-full", "audit", "images", "kind-test"}
    assert wanted <= {
        target for workflow in WORKFLOWS for target in re.findall(_MAKE, commands(workflow), re.MULTILINE)
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_make_targets_exist(workflow: Path) -> None:
    """A renamed target breaks here, not in the forge."""
    assert set() == set(re.findall(_MAKE, commands(workflow), re.MULTILINE)) - MAKE_TARGETS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_permissions_and_time_are_limited(workflow: Path) -> None:
    """Reading is what a workflow may by default; no job runs for hours."""
    assert {"contents": "read"} == yaml.safe_load(workflow.read_text())["permissions"]
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs(workflow).values())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_required_parts_exist(workflow: Path) -> None:
    """GATEWAY_TEST_REQUIRE names markers, so that nothing is skipped quietly."""
    required = [
        step["env"]["GATEWAY_TEST_REQUIRE"] for step in steps(workflow) if "GATEWAY_TEST_REQUIRE" in step.get("env", {})
    ]
    runs_tests = [step for step in steps(workflow) if re.search(r"\bmake test(-full)?\b", step.get("run", ""))]

    assert len(runs_tests) == len(required)
    assert set() == {name for names in required for name in names.split(",")} - MARKERS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_have_versions(workflow: Path) -> None:
    """None is taken from a branch."""
    used = [step["uses"] for step in steps(workflow) if "uses" in step]

    assert [] == [action for action in used if not re.fullmatch(r"[\w./-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", action)]


def test_images_of_a_release_are_all_images() -> None:
    """As many as `make images` builds and the Dockerfile has."""
    (targets,) = re.findall(r"for target in ([\w -]+); do", (CHECKOUT / "Makefile").read_text())
    released = jobs(CHECKOUT / ".github" / "workflows" / "release.yml")["images"]["strategy"]["matrix"]["target"]
    built = re.findall(r"^FROM \S+ AS ([\w-]+)", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)

    assert targets.split() == released
    assert set(released) <= set(built)


def test_dependabot_looks_at_everything_that_is_pinned() -> None:
    """Python packages, base images, actions."""
    loaded = yaml.safe_load((CHECKOUT / ".github" / "dependabot.yml").read_text())

    assert {"pip", "docker", "github-actions"} == {update["package-ecosystem"] for update in loaded["updates"]}
