"""JSON, XML, CSV and content codings: what survives, and what is refused with a reason."""

import gzip
import os
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.transform import csv_text, json_text, xml_text
from ext_proc.transform.coding import CODINGS, decoded, encoded
from ext_proc.transform.media import format_of, preferred
from ext_proc.transform.problems import Cause, UnusableError
from policy.transforms import Format

NAMES = st.from_regex(r"[A-Za-z_\u00e9][-.A-Za-z0-9_\u00e9]{0,5}", fullmatch=True).filter(
    lambda name: not name.lower().startswith("xml")
)
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\n\r", exclude_characters="\ufffe\uffff"),
    max_size=8,
)
NUMBERS = st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_survives_xml(document: object) -> None:
    """The documented subset: names of XML without @ and #, characters of XML."""
    assert document == xml_text.loads(xml_text.dumps(document, "root"))  # type: ignore[arg-type]  # any JSON


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6) | st.text(
    st.sampled_from("='+-@\t\r\n\",a"), max_size=5
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, str]]:
    names = draw(st.lists(CELLS.filter(bool), min_size=1, max_size=4, unique=True))
    lines = draw(st.lists(st.tuples(*[CELLS] * len(names)), min_size=1, max_size=4))
    return [dict(zip(names, line, strict=True)) for line in lines]


@given(tables(), st.booleans())
def test_flat_objects_of_texts_survive_csv(table: list[dict[str, str]], formulas: bool) -> None:
    """The documented subset; cells like formulas too, with and without the apostrophe."""
    written = csv_text.dumps(table, formulas=formulas)  # type: ignore[arg-type]  # any JSON

    assert table == csv_text.loads(written, formulas=formulas)
    if not formulas:
        assert not any(
            cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in csv_text.rows(written) for cell in row
        )


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<r><a>1</a><a>2</a><b/></r>", {"a": ["1", "2"], "b": ""}),
        ('<r id="7">text</r>', {"@id": "7", "#text": "text"}),
        ('<r type="home"><a/></r>', {"@type": "home", "a": ""}),
        ("<r>\n  <a> x </a>\n</r>", {"a": " x "}),
        ('<r type="array"><x type="null"/><y type="boolean">true</y></r>', [None, True]),
        ("<?xml version='1.0' encoding='iso-8859-1'?><r>\xe9</r>", "\xe9"),
    ],
)
def test_xml_from_elsewhere_becomes_json(xml: str, expected: object) -> None:
    """Repeated elements are arrays, attributes have an @, and declared encodings are understood."""
    assert expected == xml_text.loads(xml.encode("latin-1"))


@pytest.mark.parametrize(
    ("xml", "told"),
    [
        ("<r><a></r>", "not valid XML"),
        ('<!DOCTYPE r [<!ENTITY a "b">]><r>&a;</r>', "document type"),
        ('<!DOCTYPE r SYSTEM "http://127.0.0.1/x"><r/>', "document type"),
        ("<r>text<a/></r>", "text beside elements"),
        ('<r xmlns="urn:x"/>', "namespaces"),
        ("<p:r/>", "namespaces"),
        ('<r type="number">NaN</r>', "does not hold one"),
        ('<r type="number">1e999</r>', "too large"),
        ('<r type="number">0x10</r>', "does not hold one"),
        ("<r>" * 300 + "</r>" * 300, "nested too deeply"),
        ('<?xml version="1.0" encoding="klingon"?><r/>', "encoding"),
        ("", "not valid XML"),
    ],
)
def test_xml_without_a_place_in_json_is_refused(xml: str, told: str) -> None:
    """With the reason; nothing is fetched or expanded."""
    with pytest.raises(UnusableError, match=told):
        xml_text.loads(xml.encode())


@pytest.mark.parametrize(
    "document",
    [
        {"a b": 1},
        {"": 1},
        {"xml": 1},
        {"a:b": 1},
        {"@a": 1},
        {"@type": "null"},
        {"#text": "a"},
        {"a": "\0"},
        {"a": "\ufffe"},
    ],
)
def test_json_without_a_place_in_xml_is_refused(document: dict[str, object]) -> None:
    """Names that are none of XML's, characters that it cannot hold, and what would be read as something else."""
    with pytest.raises(UnusableError):
        xml_text.dumps(document, "root")  # type: ignore[arg-type]  # any JSON


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'a,b\n1,"2', "not valid CSV"),
        (b"a,b\n1", "more or fewer cells"),
        (b"a,a\n1,2", "same name"),
        (b"a,\n1,2", "has none"),
        (b"\xef\xbb\xbfa\n1", "byte order mark"),
        (b"a\n\xff", "not UTF-8"),
        (b"a\n\0", "NUL"),
    ],
)
def test_csv_that_is_none_is_refused(body: bytes, told: str) -> None:
    """With the reason."""
    with pytest.raises(UnusableError, match=told):
        csv_text.loads(body)


@pytest.mark.parametrize("document", [{"a": 1}, [1], [{"a": {}}], [{"a": []}], [{}], [{"": 1}], "text", None])
def test_json_without_a_place_in_csv_is_refused(document: object) -> None:
    """Only lists of flat objects are tables."""
    with pytest.raises(UnusableError):
        csv_text.dumps(document)  # type: ignore[arg-type]  # any JSON


def test_numbers_are_no_formulas_and_absent_cells_are_empty() -> None:
    """-1 stays a number for who reads it."""
    assert b"a,b\r\n-1,\r\n,true\r\n" == csv_text.dumps([{"a": -1, "b": None}, {"b": True}])
    assert b"" == csv_text.dumps([])


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"nul", b'{"a":1,"a":1}', b"[1e400]", b"[NaN]", b"\xef\xbb\xbf{}", b'"\xff"', b'"\\ud800"'),
        *(b"[" * 2000, b"[" + b"1" * 5000 + b"]", b'{"a":01}'),
    ],
)
def test_json_is_read_strictly(body: bytes) -> None:
    """Nothing else than the error that refuses a body ever comes out."""
    with pytest.raises(UnusableError):
        json_text.loads(body)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """By every reader."""
    for read in (json_text.loads, xml_text.loads, csv_text.loads):
        try:
            read(body)
        except UnusableError:
            continue
    for coding in CODINGS:
        try:
            decoded(body, coding, 1000)
        except UnusableError:
            continue


@given(st.sampled_from(CODINGS), st.binary(max_size=200), st.integers(1, 1000))
def test_codings_there_and_back(coding: str, content: bytes, repeated: int) -> None:
    """The same bytes, for the limit is not reached."""
    body = content * repeated
    assert body == decoded(encoded(body, coding), coding, len(body))


@pytest.mark.parametrize("coding", CODINGS)
def test_what_is_cut_or_too_large_is_refused(coding: str) -> None:
    """A bomb is given up as soon as the limit is passed."""
    body = os.urandom(5000)
    written = encoded(body, coding)
    with pytest.raises(UnusableError) as too_large:
        decoded(encoded(b"a" * 50_000_000, coding), coding, 100_000)
    for cut in (written[:-1], written[:100], b"", written + b"x", b"junk"):
        if cut or coding == "br":
            with pytest.raises(UnusableError):
                decoded(cut, coding, 10_000)

    assert Cause.TOO_LARGE is too_large.value.cause


def test_gzip_may_have_several_members() -> None:
    """RFC 1952 section 2.2; together they are bounded, too."""
    assert b"ab" == decoded(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10)
    with pytest.raises(UnusableError):
        decoded(gzip.compress(b"a" * 8) + gzip.compress(b"b" * 8), "gzip", 10)
    assert b"a" == decoded(zlib.compress(b"a"), "deflate", 10)
    assert b"a" == decoded(brotli.compress(b"a"), "br", 10)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, Format.JSON),
        ("*/*", Format.JSON),
        ("text/csv", Format.CSV),
        ("text/*", Format.XML),
        ("application/xml;q=0.9, text/csv;q=0.8", Format.XML),
        ("application/json;q=0.1, text/csv", Format.CSV),
        ("text/xml", Format.XML),
        ("image/png", Format.JSON),
        ("application/json;q=0, */*", Format.XML),
        ("text/csv;q=nonsense", Format.JSON),
        ("TEXT/CSV; Q=1", Format.CSV),
    ],
)
def test_the_client_chooses(accept: str | None, expected: Format) -> None:
    """RFC 9110 section 12.5.1; what is not acceptable is sent as the service has it."""
    assert expected is preferred(accept, Format.JSON, (Format.XML, Format.JSON, Format.CSV))


def test_without_its_own_form_in_the_list_the_first_is_sent() -> None:
    """A list of one always converts."""
    assert Format.XML is preferred(None, Format.JSON, (Format.XML, Format.CSV))


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("", Format.JSON),
        ("Application/Problem+JSON; charset=utf-8", Format.JSON),
        ("text/xml", Format.XML),
        ("application/soap+xml", Format.XML),
        ("application/xhtml+xml", None),
        ("image/svg+xml", None),
        ("text/csv; header=present", Format.CSV),
        ("text/plain", None),
        ("application/x-ndjson", None),
    ],
)
def test_forms_by_type(content_type: str, expected: Format | None) -> None:
    """Suffixes count (RFC 6839)."""
    assert expected is format_of(content_type)
