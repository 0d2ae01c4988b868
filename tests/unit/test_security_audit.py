"""The audit names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
AUDIT = TESTS.parent / "docs" / "security_audit.md"


def test_named_tests_exist() -> None:
    """Every test that docs/security_audit.md names is defined somewhere, and each table has some."""
    named = set(re.findall(r"`(test_\w+)`", AUDIT.read_text()))
    sources = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", sources))

    assert 80 < len(named)
    assert set() == named - defined


def test_every_line_has_a_test() -> None:
    """No attack is listed without a test that shows what comes of it."""
    tables = AUDIT.read_text().partition("# What ext_authz withstands")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| ") and not line.startswith("| attack")]

    assert 60 < len(rows)
    assert [] == [row for row in rows if "`test_" not in row.rstrip("| ").rpartition("|")[2]]


def test_named_targets_exist() -> None:
    """The check-list before a release runs what there is."""
    named = set(re.findall(r"`make ([a-z-]+)", AUDIT.read_text()))
    targets = set(re.findall(r"^([a-z-]+):", (TESTS.parent / "Makefile").read_text(), re.MULTILINE))

    assert {"audit", "lint", "test-full", "soak"} <= named
    assert set() == named - targets
