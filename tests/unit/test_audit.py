"""What `make audit` makes of the answers of its tools."""

import pytest

from scripts.audit import (
    CHECKOUT,
    RUNTIME_LOCK,
    TOOLS_ONLY,
    Failed,
    NotRun,
    Passed,
    Result,
    exit_status,
    is_permissive,
    licences,
    line,
    pinned,
    scanned_alike,
    vulnerabilities,
)


def test_vulnerabilities_fail() -> None:
    """Each with what fixes it, also beside packages about which nothing is known."""
    report: dict[str, list[dict[str, object]]] = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]},
            {"name": "b", "version": "2", "vulns": [{"id": "CVE-2", "fix_versions": []}]},
            {"name": "c", "skip_reason": "not found"},
        ]
    }

    assert Failed(("a 1: CVE-1, fixed in 1.1", "b 2: CVE-2, fixed in no version yet")) == vulnerabilities(report)


def test_without_data_nothing_passes() -> None:
    """A registry that answers nothing is no clean bill."""
    sound, unknown = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found on PyPI"}

    assert Passed("1 packages without known vulnerabilities") == vulnerabilities({"dependencies": [sound]})
    assert NotRun("no vulnerability data for 1 of 2 packages (can pypi.org be reached?)") == (
        vulnerabilities({"dependencies": [sound, unknown]})
    )


@pytest.mark.parametrize(
    ("results", "status", "strict_status"),
    [
        ([Passed("a"), Passed("b")], 0, 0),
        ([Passed("a"), NotRun("no network")], 0, 1),
        ([Failed(("x",)), NotRun("no network")], 1, 1),
    ],
)
def test_what_was_not_run_fails_a_strict_audit(results: list[Result], status: int, strict_status: int) -> None:
    """A release has to know; a machine without a network is told and goes on."""
    assert (status, strict_status) == (exit_status(results, strict=False), exit_status(results, strict=True))


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("GPL-3.0 OR MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("DFSG approved; MIT License", True),
        ("ISC License (ISCL)", True),
        ("GPL-2.0-only", False),
        ("MIT AND GPL-3.0", False),
        ("LGPL-3.0; MIT License", False),
        ("UNKNOWN", False),
        ("", False),
        ("MIT-like", False),
    ],
)
def test_licences(licence: str, permissive: bool) -> None:
    """Everything that is joined, one of what may be chosen; an unknown one is none."""
    assert permissive == is_permissive(licence)


def test_what_is_shipped_is_judged_more_strictly() -> None:
    """A tool under the GPL is a tool; the same in an image is a finding, as is a package that nobody looked at."""
    packages = [{"Name": "Codespell", "License": "GPL-2.0-only"}, {"Name": "some_lib", "License": "MIT"}]

    assert Passed("1 shipped packages and 1 others") == licences(packages, frozenset({"some-lib"}))
    assert Failed(("codespell: GPL-2.0-only (shipped)",)) == licences(packages, frozenset({"codespell"}))
    assert Failed(("not installed, so not looked at: gone",)) == licences(packages, frozenset({"gone"}))


def test_no_tool_with_an_exception_is_shipped() -> None:
    """The lock of the images names none of them."""
    shipped = pinned((CHECKOUT / RUNTIME_LOCK).read_text())

    assert 40 < len(shipped)
    assert set() == shipped & TOOLS_ONLY.keys()


def test_lines() -> None:
    """One line a check; what was not run cannot be overlooked."""
    assert "ok       a: b" == line("a", Passed("b"))
    assert "not run: a: b" == line("a", NotRun("b"))
    assert ["FAIL     a", "           b", "           c"] == line("a", Failed(("b", "c"))).splitlines()


def test_every_file_is_scanned_once() -> None:
    """Examples less strictly; nothing falls between the kinds."""
    scanned = [(kind.baseline, files) for kind, files in scanned_alike(["docs/a.md", "policy/a.py", "tests/a.py", "a"])]

    assert [
        (".secrets.examples.baseline", ["docs/a.md", "tests/a.py"]),
        (".secrets.baseline", ["policy/a.py", "a"]),
    ] == scanned
