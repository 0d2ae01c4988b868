"""Ranges of a stored response of ten octets."""

import pytest

from ext_proc.cache.ranges import WHOLE, Part, Unsatisfiable, wanted_part
from tests.unit.ext_proc.rules import DATE, stored


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-3", Part(0, 3)),
        ("BYTES=5-", Part(5, 9)),
        ("bytes=-3", Part(7, 9)),
        ("bytes=-30", Part(0, 9)),
        ("bytes=8-99", Part(8, 9)),
        ("bytes=10-", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
        ("bytes=3-1", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=0-1,3-4", WHOLE),
        ("items=0-1", WHOLE),
        ("bytes=a-b", WHOLE),
    ],
)
def test_ranges(value: str, expected: Part | Unsatisfiable | None) -> None:
    """RFC 9110 section 14.1.2; what is not understood is ignored."""
    assert expected == wanted_part({"range": value}, stored({"cache-control": "max-age=60"}))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [('"a"', Part(0, 0)), ('W/"a"', WHOLE), ('"b"', WHOLE), (DATE, Part(0, 0)), ("x", WHOLE)],
)
def test_if_range(condition: str, expected: Part | None) -> None:
    """RFC 9110 section 13.1.5: strong comparison or exactly the date, else the whole."""
    entry = stored({"cache-control": "max-age=60", "etag": '"a"', "last-modified": DATE})

    assert expected == wanted_part({"range": "bytes=0-0", "if-range": condition}, entry)


def test_only_a_200_has_ranges() -> None:
    """A stored 404 is served whole."""
    assert WHOLE is wanted_part({"range": "bytes=0-0"}, stored({"cache-control": "max-age=60"}, status=404))
