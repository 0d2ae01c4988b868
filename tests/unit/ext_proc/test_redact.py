"""Redaction blanks every matching member, in each format, or refuses the body."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.transform.problems import UnusableError
from ext_proc.transform.redact import redact_csv, redact_json, redact_xml
from policy.fields import fields


def redacted(text: str, *names: str) -> str:
    return redact_json(text.encode(), fields(names)).decode()


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ('{"password":"x","a":1}', ["password"], '{"password":"[redacted]","a":1}'),
        ('[{"a":[{"password":{"b":1}}]}]', ["password"], '[{"a":[{"password":"[redacted]"}]}]'),
        ('{"ssn":1,"p":{"ssn":2}}', ["*.ssn"], '{"ssn":1,"p":{"ssn":"[redacted]"}}'),
        ('{"user":{"card":1},"card":2}', ["user.card"], '{"user":{"card":"[redacted]"},"card":2}'),
        ('{"user":{"a":1,"b":2}}', ["user.*"], '{"user":{"a":"[redacted]","b":"[redacted]"}}'),
        ('{"pass\\u0077ord": 1}', ["password"], '{"password":"[redacted]"}'),
        ('{"a":{"ssn":1},"ssn":[{"b":1}]}', ["$.a.ssn"], '{"a":{"ssn":"[redacted]"},"ssn":[{"b":1}]}'),
        ('{"a":{"ssn":1},"ssn":[{"b":1}]}', ["$..ssn"], '{"a":{"ssn":"[redacted]"},"ssn":"[redacted]"}'),
        (
            '{"l":[{"k":"a","v":1},{"k":"b","v":2}]}',
            ["$.l[?@.k=='b'].v"],
            '{"l":[{"k":"a","v":1},{"k":"b","v":"[redacted]"}]}',
        ),
        ('["a","b"]', ["$[0]"], '["[redacted]","b"]'),
        (
            '{"n": 123456789012345678901234567890, "ssn": 1}',
            ["ssn"],
            '{"n": 123456789012345678901234567890, "ssn": "[redacted]"}',
        ),
        (
            '{"n":123456789012345678901234567890, "ssn": {}}',
            ["ssn"],
            '{"n":123456789012345678901234567890,"ssn":"[redacted]"}',
        ),
        ('{ "password" : "password" , "a":"password"}', ["password"], '{ "password" : "[redacted]" , "a":"password"}'),
        (
            '{"a":-1.50e+2,"b":true,"c":[{"a":null}]}',
            ["a", "b"],
            '{"a":"[redacted]","b":"[redacted]","c":[{"a":"[redacted]"}]}',
        ),
        ('{"a":1,",":2,":1,":3}', [":1,", ","], '{"a":1,",":"[redacted]",":1,":"[redacted]"}'),
        ('{"é":"ü","a":1.10}', ["é"], '{"é":"[redacted]","a":1.10}'),
        ('{"nothing":  "to do"}', ["password"], '{"nothing":  "to do"}'),
        ("", ["password"], ""),
    ],
)
def test_redaction(text: str, names: list[str], expected: str) -> None:
    """At any depth, in arrays, behind escapes, by JSONPath; numbers keep their digits."""
    assert expected == redacted(text, *names)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "password",
        '{"a":NaN}',
        '\ufeff{"password":1}',
        "[" * 5000 + "]" * 5000,
        '{"password":1e400}',
        '{"ssn": 1, "password": 2, "password": 3}',
        '{"a": {"password": 1}, "a": 2}',
        '{"password" : 1, "b": {"c":1,"c":2}}',
        '{"password":{"c":1,"c":2}}',
        '{"\\":":1,"password":1,"password":2}',
        '{"x":"\\u0022:","password":1,"password":2}',
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    """Never passed unredacted; nor is what two readers would understand differently."""
    with pytest.raises(UnusableError):
        redacted(text, "password")


def test_deep_nesting_is_redacted_or_refused() -> None:
    """Beyond what the library writes, the body is blocked."""
    assert '"ssn":"[redacted]"' in redacted('{"a":' * 200 + '{"ssn":1}' + "}" * 200, "ssn")
    with pytest.raises(UnusableError):
        redacted('{"a":' * 900 + '{"ssn":1}' + "}" * 900, "ssn")


NAMES = st.sampled_from(["ssn", "a", "b", '":', "c :", ",", ":", " ", "[redacted]"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.text(max_size=5) | NAMES | st.sampled_from(['\\":']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=20,
)
SPELLINGS = st.sampled_from([(", ", ": "), (",", ":"), (" , ", " : ")])


@given(JSON, SPELLINGS, st.booleans(), st.lists(NAMES, min_size=1, max_size=3))
def test_no_matching_member_survives_anywhere(
    document: object, separators: tuple[str, str], ascii_only: bool, names: list[str]
) -> None:
    """Everything else stays equal, however it is spelled."""

    def expected(value: object) -> object:
        if isinstance(value, dict):
            return {name: "[redacted]" if name in names else expected(member) for name, member in value.items()}
        return [expected(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(document, separators=separators, ensure_ascii=ascii_only)
    assert expected(document) == json.loads(redacted(text, *names))


PAIRS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ssn", '":']), st.sampled_from(["1", '"x"', '{"a":1}', '"\\":"'])), max_size=5
)


@given(PAIRS, st.sampled_from(["", " ", "\n"]), st.booleans())
def test_every_repeated_name_is_found(pairs: list[tuple[str, str]], space: str, nested: bool) -> None:
    """Whatever stands before the colon, and in texts."""
    text = "{" + ",".join(f"{json.dumps(name)}{space}:{value}" for name, value in [("ssn", "0"), *pairs]) + "}"
    text = f'{{"x":[{text}]}}' if nested else text
    names = ["ssn", *(name for name, _ in pairs)]
    if len(set(names)) == len(names):
        assert "[redacted]" in redacted(text, "ssn")
    else:
        with pytest.raises(UnusableError, match="repeats"):
            redacted(text, "ssn")


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("<u><ssn>1</ssn><b>2</b></u>", ["ssn"], "<u><ssn>[redacted]</ssn><b>2</b></u>"),
        (
            "<u>\n <!-- c --><p:ssn x='1'>1</p:ssn></u>",
            ["ssn"],
            '<u>\n <!-- c --><p:ssn x="[redacted]">[redacted]</p:ssn></u>',
        ),
        (
            "<u><ssn a='1' xmlns:b='urn:b' b:c=\"2\"/></u>",
            ["ssn"],
            '<u><ssn a="[redacted]" xmlns:b=\'urn:b\' b:c="[redacted]"/></u>',
        ),
        ("<u ssn = '1' b='>'><x/></u>", ["ssn"], "<u ssn = \"[redacted]\" b='>'><x/></u>"),
        ("<u><ssn><a>1</a><ssn>2</ssn></ssn><ssn/></u>", ["ssn"], "<u><ssn>[redacted]</ssn><ssn/></u>"),
        ("<u><a><ssn>1</ssn></a><ssn>2</ssn></u>", ["a.ssn"], "<u><a><ssn>[redacted]</ssn></a><ssn>2</ssn></u>"),
        ("<u><ssn><![CDATA[<x>]]></ssn></u>", ["ssn"], "<u><ssn>[redacted]</ssn></u>"),
        ("<é ssn='ü'>ö<ssn>ü</ssn></é>", ["ssn"], '<é ssn="[redacted]">ö<ssn>[redacted]</ssn></é>'),
        ("<u><b>1</b></u>", ["ssn"], "<u><b>1</b></u>"),
    ],
)
def test_xml_is_redacted_in_its_text(text: str, names: list[str], expected: str) -> None:
    """Elements and attributes, whatever their prefix; comments and spaces stay."""
    assert expected == redact_xml(text.encode(), fields(names)).decode()


@pytest.mark.parametrize(
    "body",
    [
        b"<u><ssn>1</ssn>",
        b"no",
        b'<!DOCTYPE u [<!ENTITY e "x">]><u><ssn>&e;</ssn></u>',
        b'<!DOCTYPE u SYSTEM "file:///etc/passwd"><u/>',
        '<?xml version="1.0" encoding="latin-1"?><u><ssn>é</ssn></u>'.encode("latin-1"),
        "<u><ssn>1</ssn></u>".encode("utf-16"),
        b"<a>" * 300 + b"</a>" * 300,
        b"<u>\xff</u>",
    ],
)
def test_xml_that_cannot_be_redacted_is_refused(body: bytes) -> None:
    """Not well-formed, with a document type, nested without end, or in another encoding."""
    with pytest.raises(UnusableError):
        redact_xml(body, fields(["ssn"]))


def test_long_names_take_linear_time() -> None:
    """A prefix of half a MiB is read once."""
    name = "a" * 500_000
    body = f'<r xmlns:{name}="u"><{name}:ssn x="1">2</{name}:ssn></r>'.encode()

    assert b'x="[redacted]">[redacted]</' in redact_xml(body, fields(["ssn"]))


def test_csv_is_redacted_by_column() -> None:
    """Everything but the cells keeps its value."""
    body = b'id,ssn,note\r\n1,2,"a,b"\r\n3,4,=x\r\n'

    assert b'id,ssn,note\r\n1,[redacted],"a,b"\r\n3,[redacted],=x\r\n' == redact_csv(body, fields(["ssn"]))
    assert body == redact_csv(body, fields(["password"]))
    with pytest.raises(UnusableError):
        redact_csv(b"id,ssn\r\n1\r\n", fields(["ssn"]))


@given(st.text(st.sampled_from("<>/a='\"& s"), max_size=30))
def test_xml_keeps_everything_or_is_refused(text: str) -> None:
    """Nothing else than the error that refuses a body ever comes out of the reader."""
    body = f"<r><ssn>{text}</ssn><b>{text}</b></r>".encode()
    try:
        result = redact_xml(body, fields(["ssn"]))
    except UnusableError:
        return
    assert re.match(rb"<r><ssn>\[redacted\]</ssn>|<r><ssn>", result)
    assert len(result) <= len(body) + 40 * (1 + text.count("<"))
