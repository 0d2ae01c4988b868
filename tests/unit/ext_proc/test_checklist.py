"""The check-list names tests that exist, and one through a real Envoy for every line."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
CHECKLIST = TESTS.parent / "docs" / "developer" / "cache-checklist.md"


def test_named_tests_exist() -> None:
    """Test functions by name, files by path; those of the third column are among the end-to-end tests."""
    rows = [line.split("|")[1:-1] for line in CHECKLIST.read_text().splitlines() if re.match(r"\| \d+ ", line)]
    through_envoy = {name for row in rows for name in re.findall(r"`(test_\w+)`", row[2])}
    named = through_envoy | {name for row in rows for name in re.findall(r"`(test_\w+)`", row[3])}
    files = {name for row in rows for name in re.findall(r"`(tests/\S+)`", row[3])}

    assert [*range(1, 34)] == [int(row[0]) for row in rows]
    assert all("`test_" in row[2] for row in rows)
    assert set() == named - _defined(TESTS)
    assert set() == through_envoy - _defined(TESTS / "e2e")
    assert [] == [name for name in sorted(files) if not (TESTS.parent / name).is_file()]


def _defined(folder: Path) -> set[str]:
    sources = "".join(path.read_text() for path in folder.rglob("test_*.py"))
    return set(re.findall(r"def (test_\w+)\(", sources))
