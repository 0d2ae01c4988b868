"""Where variables come from, and how .env is read."""

from pathlib import Path

import pytest

from control_plane.cli.environment import EnvFileError, environment_for, parse_env


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("export A = 1 # one", {"A": "1"}),
        ("# A=1\n\n  B=2", {"B": "2"}),
        ("A=", {"A": ""}),
        ("A=x#y", {"A": "x#y"}),
        ("A='x # $y \\n' # z", {"A": "x # $y \\n"}),
        ('A="x\\n\\"y\\" \\d"', {"A": 'x\n"y" \\d'}),
        ("A=b=c", {"A": "b=c"}),
    ],
)
def test_a_file_is_read_as_shells_read_it(text: str, expected: dict[str, str]) -> None:
    """Quotes, comments and export."""
    assert expected == parse_env(text, ".env")


@pytest.mark.parametrize("line", ["A", "1A=x", "A='x", 'A="x', "A='x' y"])
def test_a_line_that_is_none_is_told_by_its_number(line: str) -> None:
    """And never taken for a value."""
    with pytest.raises(EnvFileError, match=r"^\.env:2: "):
        parse_env("B=1\n" + line, ".env")


def test_the_process_wins_over_a_named_file_and_that_over_the_one_beside(tmp_path: Path) -> None:
    """The nearest word counts."""
    (tmp_path / ".env").write_text("A=beside\nB=beside\nC=beside\n")
    named = tmp_path / "named.env"
    named.write_text("A=named\nB=named\n")

    expected = {"A": "process", "B": "named", "C": "beside"}
    assert expected == environment_for(tmp_path / "gateway.yaml", named, {"A": "process"})
    assert {} == environment_for(tmp_path / "elsewhere" / "gateway.yaml", None, {})


def test_a_named_file_has_to_be_there(tmp_path: Path) -> None:
    """A typo must not start a gateway with other secrets."""
    with pytest.raises(EnvFileError, match="No such file"):
        environment_for(tmp_path / "gateway.yaml", tmp_path / "missing.env", {})
