"""From the headers of a message to what is done with its body, and from its body to the one that goes on.

Order: decode, validate, the steps, write, encode. What a body's change makes wrong in the headers is put right with it.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ext_proc.transform import csv_text, json_text, xml_text
from ext_proc.transform.checking import body_problems, invalid
from ext_proc.transform.coding import coding_of, decoded, encoded
from ext_proc.transform.media import CONTENT_TYPES, check_charset, format_of, is_opaque, preferred
from ext_proc.transform.problems import Cause, Problem, UnusableError
from ext_proc.transform.redact import redact_csv, redact_json, redact_xml
from ext_proc.transform.steps import ValueOf, applied
from policy.fields import Fields
from policy.json_patch import Json
from policy.openapi.operations import Content
from policy.processing import HeaderChanges
from policy.redaction import FieldPath
from policy.transforms import (
    Convert,
    Format,
    Redact,
    Step,
    Transform,
    UnwrapRequest,
    WrapRequest,
    WrapResponse,
)

_STALE = ("content-md5", "digest", "accept-ranges")
"""They describe the body that was sent, in ways that are not used any more, or no longer hold."""
_DIGESTS = ("content-digest", "repr-digest")
_NATIVE = {Format.JSON: redact_json, Format.XML: redact_xml, Format.CSV: redact_csv}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with one body."""

    source: Format | None
    """None: it is only validated."""
    target: Format | None
    steps: tuple[Step, ...]
    coding: str
    """Of the body as it comes."""
    keeps_coding: bool
    """It goes on in the same coding, else in none."""
    limit: int
    content: Content | None = None
    """What it has to be as."""
    content_type: str = ""
    problems: tuple[Problem, ...] = ()
    """Already found in the head."""
    what: str = "request"
    status: int = 200
    etag: str | None = None
    digests: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def converts(self) -> bool:
        return self.source is not self.target


@dataclass(slots=True)
class Made:
    """The body that goes on, and the header fields that go with it, Content-Length apart."""

    body: bytes
    changes: HeaderChanges = field(default_factory=HeaderChanges)


def check_length(headers: Mapping[str, str], limit: int) -> None:
    """
    Raises:
        UnusableError: the body will be over the limit.
    """
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large(limit)


def too_large(limit: int) -> UnusableError:
    return UnusableError(Cause.TOO_LARGE, f"the body is larger than {limit} bytes")


def request_plan(
    rules: Transform, headers: dict[str, str], content: Content | None, problems: tuple[Problem, ...]
) -> Plan | None:
    """What is done with the body of a request that has one; None: it passes as it is.

    Raises:
        UnusableError: something has to be done, and cannot.
    """
    steps = rules.request.body
    if not steps and content is None and not problems:
        return None
    content_type = headers.get("content-type", "")
    source = _source(steps, content_type)
    convert = _last_convert(steps)
    if source is None and any(isinstance(step, Convert | WrapRequest | UnwrapRequest) for step in steps):
        raise UnusableError(Cause.MEDIA_TYPE, "the body is neither JSON nor XML nor CSV")
    if source is None and content is None and not problems:
        return None
    check_length(headers, rules.max_body_bytes)
    target = convert.to[0] if convert is not None else source
    if any(isinstance(step, WrapRequest) for step in steps):
        target = Format.JSON
    return Plan(
        source=source,
        target=target,
        steps=steps if source is not None else (),
        coding=coding_of(headers),
        keeps_coding=True,
        limit=rules.max_body_bytes,
        content=content,
        content_type=content_type,
        problems=problems,
        digests=tuple(name for name in _DIGESTS if name in headers),
        stale=tuple(name for name in ("content-md5", "digest") if name in headers),
    )


def response_plan(
    rules: Transform, request: Mapping[str, str], status: int, headers: dict[str, str], content: Content | None
) -> Plan | None:
    """The same for a response of the service, with or without a body."""
    steps = _for_status(rules.response.body, status)
    content_type = headers.get("content-type", "")
    source = _source(steps, content_type)
    if source is None and content is None:
        return None
    if status == 206:
        raise UnusableError(Cause.MEDIA_TYPE, "the body is a part of one")
    check_length(headers, rules.max_body_bytes)
    if source is None:
        steps = ()
    convert = _last_convert(steps)
    target = source
    if source is not None and convert is not None:
        target = preferred(request.get("accept"), source, convert.to)
    coding = coding_of(headers)
    return Plan(
        source=source,
        target=target,
        steps=steps,
        coding=coding,
        keeps_coding=False,
        limit=rules.max_body_bytes,
        content=content,
        content_type=content_type,
        what="response",
        status=status,
        etag=_etag(headers.get("etag", ""), target if target is not source else None) if steps else None,
        digests=tuple(name for name in _DIGESTS if name in headers),
        stale=tuple(name for name in _STALE if name in headers),
    )


def _source(steps: Sequence[Step], content_type: str) -> Format | None:
    """The form that the steps find; None if there is nothing for them to do.

    Raises:
        UnusableError: fields should be redacted in what may hold them, and cannot be found.
    """
    if not steps:
        return None
    source = format_of(content_type)
    if source is not None:
        check_charset(content_type)
        return source
    if any(isinstance(step, Redact) for step in steps) and not is_opaque(content_type):
        raise UnusableError(Cause.MEDIA_TYPE, "the body is neither JSON nor XML nor CSV")
    return None


def _last_convert(steps: Sequence[Step]) -> Convert | None:
    return next((step for step in reversed(steps) if isinstance(step, Convert)), None)


def _for_status(steps: tuple[Step, ...], status: int) -> tuple[Step, ...]:
    """An error of the service is no document of the kind that most steps are written for."""
    if 200 <= status < 300 or status == 304:
        return steps
    return tuple(step for step in steps if isinstance(step, Redact | Convert | WrapResponse))


def _etag(etag: str, target: Format | None) -> str | None:
    """Weak, since the bytes are others (RFC 9110 section 8.8.1); of its own for each form."""
    if not etag:
        return None
    opaque = etag.removeprefix("W/")
    if target is not None and opaque.endswith('"'):
        opaque = f'{opaque[:-1]};{target.name.lower()}"'
    return f"W/{opaque}"


def without_body(plan: Plan) -> HeaderChanges:
    """Header changes of a response that has no body, but would have one as an answer to GET."""
    changes = _changes(plan, b"", plan.target)
    removed = (*changes.remove, *plan.digests)
    if plan.status not in (204, 304):
        # The answer to HEAD tells the length of a body that nobody gets.
        removed = (*removed, "content-length")
    kept = tuple(each for each in changes.set if each[0] not in plan.digests)
    return HeaderChanges(remove=removed, set=kept)


def made(plan: Plan, body: bytes, value_of: ValueOf) -> Made:
    """
    Args:
        body: all of it, as it came.

    Raises:
        UnusableError: it cannot be read, is against the API's description, or a step does not apply.
    """
    if len(body) > plan.limit:
        raise too_large(plan.limit)
    plain = decoded(body, plan.coding, plan.limit) if body else body
    problems = list(plan.problems)
    if plan.content is not None:
        try:
            problems += body_problems(plan.content, plan.content_type, plain)
        except UnusableError as error:
            if not problems:
                raise
            problems.append(Problem("body", "", str(error)))
    if problems:
        raise invalid(problems, plan.what)
    if not plan.steps or (not plain and not any(isinstance(step, WrapRequest) for step in plan.steps)):
        return Made(body)
    written, target = _written(plan, plain, value_of)
    if written is plain and not plan.coding:
        return Made(body, _changes(plan, body, target))
    sent = encoded(written, plan.coding) if plan.keeps_coding else written
    return Made(sent, _changes(plan, sent, target))


def _written(plan: Plan, plain: bytes, value_of: ValueOf) -> tuple[bytes, Format | None]:
    """The new body, and its form: an error of the service that the wanted form has no place for keeps its own."""
    source = plan.source
    assert source is not None
    plain, steps = _redacted_as_text(source, plain, plan.steps)
    if not steps and not plan.converts:
        return plain, source
    document = _read(source, plain, steps) if plain else None
    for step in steps:
        document = applied(_of_attributes_too(step) if source is Format.XML else step, document, value_of, plan.status)
    target = plan.target or source
    try:
        return _dumps(target, document, plan.steps), target
    except UnusableError as error:
        if plan.status < 400 or not plan.converts:
            # It could be read, so that nothing may pass as if it could not.
            raise UnusableError(Cause.FAILED, str(error)) from None
        return _dumps(source, document, plan.steps), source


def _redacted_as_text(source: Format, plain: bytes, steps: tuple[Step, ...]) -> tuple[bytes, tuple[Step, ...]]:
    """The body after the redactions that come first, and the other steps. JSON that other steps read has its own."""
    while plain and steps and isinstance(first := steps[0], Redact):
        if first.fields.queries if source is not Format.JSON else len(steps) > 1:
            break
        plain, steps = _NATIVE[source](plain, first.fields), steps[1:]
    return plain, steps


def _of_attributes_too(step: Step) -> Step:
    """XML's attributes are members whose names begin with @."""
    if not isinstance(step, Redact):
        return step
    meant = step.fields
    paths = [FieldPath((*each.names[:-1], f"@{each.names[-1]}")) for each in meant.paths if each.names[-1] is not None]
    names = meant.names | {f"@{name}" for name in meant.names}
    return Redact(Fields(names, (*meant.paths, *paths), meant.queries))


def _read(source: Format, plain: bytes, steps: Sequence[Step]) -> Json:
    match source:
        case Format.JSON:
            return json_text.loads(plain)
        case Format.XML:
            return xml_text.loads(plain)
        case Format.CSV:
            return csv_text.loads(plain, formulas=_formulas(steps))


def _dumps(target: Format, document: Json, steps: Sequence[Step]) -> bytes:
    match target:
        case Format.JSON:
            return json_text.dumps(document)
        case Format.XML:
            convert = _last_convert(steps)
            return xml_text.dumps(document, convert.xml_root if convert is not None else "root")
        case Format.CSV:
            return csv_text.dumps(document, formulas=_formulas(steps))


def _formulas(steps: Sequence[Step]) -> bool:
    convert = _last_convert(steps)
    return convert is not None and convert.csv_formulas


def _changes(plan: Plan, body: bytes, target: Format | None) -> HeaderChanges:
    remove = list(plan.stale)
    to_set: list[tuple[str, str]] = []
    if target is not None and target is not plan.source:
        to_set.append(("content-type", CONTENT_TYPES[target]))
    if plan.coding and not plan.keeps_coding:
        remove.append("content-encoding")
    if plan.etag is not None:
        to_set.append(("etag", plan.etag))
    if plan.digests:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        to_set += [(name, f"sha-256=:{digest}:") for name in plan.digests]
    return HeaderChanges(remove=tuple(remove), set=tuple(to_set))
