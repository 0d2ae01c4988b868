"""Field values are read as HTTP says, the odd spellings included."""

import pytest

from ext_proc.cache.fields import (
    EntityTag,
    delta_seconds,
    directives,
    entity_tags,
    format_http_date,
    http_date,
    structured_directives,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("max-age=5", {"max-age": "5"}),
        ("MAX-AGE=5 , Public", {"max-age": "5", "public": None}),
        ('max-age="5"', {"max-age": "5"}),
        ('private="set-cookie, x-a", max-age=5', {"private": "set-cookie, x-a", "max-age": "5"}),
        ("max-age=5, max-age=5", {"max-age": "5"}),
        ("max-age=5, max-age=9", {"max-age": "conflict"}),
        ('private="a", private', {"private": None}),
        ('no-cache="a", no-cache="b"', {"no-cache": "a,b"}),
        (",, ,no-store,", {"no-store": None}),
        ('private="unterminated, max-age=5', {"private": None, "max-age": "5"}),
        ("max-age", {"max-age": None}),
        ('ext="a\\"b,no-store"', {"ext": 'a\\"b,no-store'}),
        ("", {}),
    ],
)
def test_cache_control(value: str, expected: dict[str, str | None]) -> None:
    """RFC 9111 section 5.2: names in any case, tokens or quoted strings, commas inside quotes."""
    assert expected == directives(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("007", 7),
        ("9" * 30, 2**31),
        ("-1", None),
        ("1.5", None),
        ("", None),
        (None, None),
        ("1a", None),
        ("١", None),
    ],
)
def test_delta_seconds(value: str | None, expected: int | None) -> None:
    """RFC 9111 section 1.2.2: digits only, overflow is the largest number."""
    assert expected == delta_seconds(value)


@pytest.mark.parametrize(
    "value",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_date_forms(value: str) -> None:
    """RFC 9110 section 5.6.7."""
    assert 784111777.0 == http_date(value)


@pytest.mark.parametrize("value", ["0", "-1", "", "Sun, 06 Nov 1994 08:49:37", "Sun, 99 Nov 1994 08:49:37 GMT", "now"])
def test_what_is_no_date(value: str) -> None:
    """Expires: 0 is common and no date."""
    assert http_date(value) is None


def test_dates_are_written_as_imf_fixdate() -> None:
    """Independently of the locale."""
    assert "Sun, 06 Nov 1994 08:49:37 GMT" == format_http_date(784111777)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('"a"', [EntityTag(False, '"a"')]),
        ('W/"a", "b,c"', [EntityTag(True, '"a"'), EntityTag(False, '"b,c"')]),
        ('bad, "a"', [EntityTag(False, '"a"')]),
        ("unquoted", []),
        ("", []),
    ],
)
def test_entity_tags(value: str, expected: list[EntityTag]) -> None:
    """Malformed ones match nothing."""
    assert expected == entity_tags(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("max-age=60, private", {"max-age": "60", "private": None}),
        ("max-age=60;p=1, no-store=?0", {"max-age": "60"}),
        ('private="a"', {"private": "a"}),
        ("max-age=1, max-age=2", {"max-age": "2"}),
        ("", None),
        ("max-age=60,", None),
        ("MAX-AGE=60", None),
        ("max-age=", None),
        ("max-age = 60", None),
    ],
)
def test_targeted_cache_control_is_a_dictionary(value: str, expected: dict[str, str | None] | None) -> None:
    """RFC 9213 section 2.1: one that does not parse is as good as absent."""
    assert expected == structured_directives(value)
