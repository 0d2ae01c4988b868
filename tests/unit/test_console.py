"""How command blocks of documents are read and compared."""

import pytest

from tests.console import MARK, Step, console_blocks, differences, matches, steps
from tests.e2e.served import is_served

PAGE = """text
```console
$ one
a
b
$ two
```
```sh
$ not this
```
"""


def test_blocks_become_steps() -> None:
    """Commands with what stands under them; other blocks are left alone."""
    assert 1 == len(console_blocks(PAGE))
    assert [Step("one", ("a", "b")), Step("two", ())] == steps(PAGE)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (("a",), "a\n", True),
        (("a",), "a", True),
        (("a",), "a\nb\n", False),
        (("a", "..."), "a\nb\nc\n", True),
        (("a", "..."), "a\n", True),
        (("a ... c",), "a b c\n", True),
        (("a ... c",), "a b\nc\n", False),
        (("a.c",), "abc\n", False),
        ((), "", True),
        ((), "a\n", False),
    ],
)
def test_output_is_compared(expected: tuple[str, ...], printed: str, same: bool) -> None:
    """`...` is any text in its line, alone any lines; nothing else is a pattern."""
    assert same == matches(expected, printed)


def test_differences_are_told_with_both() -> None:
    """And a shell that ended early is one."""
    tour = [Step("one", ("a",)), Step("two", ())]

    assert [] == differences(tour, f"{MARK}a\n{MARK}")
    assert ["$ one\nexpected:\na\nprinted:\nb\n"] == differences(tour, f"{MARK}b\n{MARK}")
    assert [f"1 of 2 commands were executed:\n{MARK}a\n"] == differences(tour, f"{MARK}a\n")


def test_an_edit_is_served_when_nobody_is_behind() -> None:
    """The snapshot is younger than the file, and every client has it."""
    changed = 'gateway_snapshot_timestamp_seconds{gateway="x"} 20.0\n'
    behind = 'gateway_xds_clients{in_sync="no",kind="envoy"} 1.0\n'

    assert is_served(changed, 19.5)
    assert not is_served(changed, 20.5)
    assert not is_served(changed + behind, 19.5)
    assert not is_served("", 0.0)
