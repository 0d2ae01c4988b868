"""Redaction blanks every matching member, or refuses the body."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.transform.redact import UnreadableError, check_readable, header_changes, redact
from policy.redaction import field_path


def redacted(text: str, *fields: str) -> str:
    return redact(text.encode(), [field_path(field) for field in fields]).decode()


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ('{"password":"x","a":1}', ["password"], '{"password":"[redacted]","a":1}'),
        ('[{"a":[{"password":{"b":1}}]}]', ["password"], '[{"a":[{"password":"[redacted]"}]}]'),
        ('{"ssn":1,"p":{"ssn":2}}', ["*.ssn"], '{"ssn":1,"p":{"ssn":"[redacted]"}}'),
        ('{"user":{"card":1},"card":2}', ["user.card"], '{"user":{"card":"[redacted]"},"card":2}'),
        ('{"user":{"a":1,"b":2}}', ["user.*"], '{"user":{"a":"[redacted]","b":"[redacted]"}}'),
        ('{"a": {"ssn": 1}, "a": 2}', ["ssn"], '{"a":2}'),
        ('{"pass\\u0077ord": 1}', ["password"], '{"password":"[redacted]"}'),
        (
            '{"n": 123456789012345678901234567890, "ssn": 1}',
            ["ssn"],
            '{"n":123456789012345678901234567890,"ssn":"[redacted]"}',
        ),
        ('{"nothing":  "to do"}', ["password"], '{"nothing":  "to do"}'),
        ("", ["password"], ""),
    ],
)
def test_redaction(text: str, fields: list[str], expected: str) -> None:
    """At any depth, in arrays, behind escapes and repeated names; numbers keep their digits."""
    assert expected == redacted(text, *fields)


@pytest.mark.parametrize("text", ["{", "password", '{"a":NaN}', '\ufeff{"password":1}', "[" * 5000 + "]" * 5000])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    """Never passed unredacted."""
    with pytest.raises(UnreadableError):
        redacted(text, "password")


def test_deep_nesting_is_redacted_or_refused() -> None:
    """Beyond what the library writes, the body is blocked."""
    assert '"ssn":"[redacted]"' in redacted('{"a":' * 200 + '{"ssn":1}' + "}" * 200, "ssn")
    with pytest.raises(UnreadableError):
        redacted('{"a":' * 900 + '{"ssn":1}' + "}" * 900, "ssn")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ssn", "a", "b"]), inner, max_size=3),
    max_leaves=20,
)


@given(JSON)
def test_no_matching_member_survives_anywhere(document: object) -> None:
    """Everything else stays equal."""

    def expected(value: object) -> object:
        if isinstance(value, dict):
            return {name: "[redacted]" if name == "ssn" else expected(member) for name, member in value.items()}
        return [expected(item) for item in value] if isinstance(value, list) else value

    assert expected(document) == json.loads(redacted(json.dumps(document), "ssn"))


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "text/html"},
        {"content-type": "application/json", ":status": "206"},
    ],
)
def test_bodies_that_hide_their_members_are_refused(headers: dict[str, str]) -> None:
    """Encoded, of another type, or in parts."""
    with pytest.raises(UnreadableError):
        check_readable(headers)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "application/problem+json"])
def test_json_types_are_readable(media_type: str) -> None:
    """Also with parameters and suffixes."""
    check_readable({"content-type": media_type})


def test_a_changed_body_has_a_weak_etag_and_no_digest() -> None:
    """They would describe the service's own octets."""
    assert (("digest",), (("etag", 'W/"a"'),)) == header_changes({"etag": '"a"', "digest": "x", "x": "1"})
    assert ((), ()) == header_changes({"etag": 'W/"a"'})
