"""Whole exchanges with transforms: what the cache keeps apart, what passes, and what is refused when."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from ext_proc.events import Forward, PassHeaders, PassRequestRest, Refuse, ReplaceBody, ReplaceRequestBody, Work
from policy.errors import PolicyError
from policy.processing import compile_policy
from protos.gateway.policy.v1 import processing_pb2 as pb
from tests.unit.ext_proc.http_text import Gateway, answer, request


def policy(change: Callable[[pb.ProcessingPolicy], object], *, cache: bool = False) -> pb.ProcessingPolicy:
    message = pb.ProcessingPolicy(name="proc-1", gateway="edge")
    if cache:
        message.cache.scope = pb.CachePolicy.USER
        message.cache.max_body_bytes = 1000
        message.cache.ttl.seconds = 60
    change(message)
    return message


def gateway(change: Callable[[pb.ProcessingPolicy], object], *, cache: bool = False) -> Gateway:
    return Gateway(compile_policy(policy(change, cache=cache)))


def redact(message: pb.ProcessingPolicy) -> None:
    message.response.body.add().redact.fields.append("ssn")


JSON: dict[str, Any] = {"content_type": "application/json"}


def test_callers_whose_claims_differ_never_share_what_is_stored() -> None:
    """Not even under one identity, if a rule reads them: another token may say something else."""
    made = gateway(lambda m: m.request.set_headers.add(name="x-role", value="{claim:role}"), cache=True)
    first = made.exchange(request(), answer("admin"), {"role": "admin"})
    again = made.exchange(request(), answer("other"), {"role": "admin"})
    lesser = made.exchange(request(), answer("reader"), {"role": "reader"})
    without = made.exchange(request(), answer("nobody"), {})

    assert [b"admin", b"admin", b"reader", b"nobody"] == [each.got.body for each in (first, again, lesser, without)]
    assert again.seen is None


def test_request_headers_that_rules_read_are_part_of_the_key() -> None:
    """And clients' caches are told, where the response depends on them."""

    def change(message: pb.ProcessingPolicy) -> None:
        message.request.rename_headers.add(name="x-a", to="x-b")
        message.response.set_headers.add(name="x-echo", value="{header:x-c}")

    made = gateway(change, cache=True)
    one = made.exchange(request(x_a="1", x_c="1"), answer("1", vary="origin"), {})
    other = made.exchange(request(x_a="2", x_c="1"), answer("2"), {})
    third = made.exchange(request(x_a="1", x_c="2"), answer("3"), {})

    assert [b"1", b"2", b"3"] == [each.got.body for each in (one, other, third)]
    assert ("1", "origin, x-c") == (one.got.headers["x-echo"], one.got.headers["vary"])


def test_a_redacted_answer_is_the_same_on_a_hit() -> None:
    """Headers that follow from the body included."""
    made = gateway(redact, cache=True)
    said = answer(
        '{"ssn":1,"a":[{"ssn":2}]}', etag='"1"', digest="x", content_digest="sha-256=:x:", accept_ranges="bytes", **JSON
    )
    miss, hit = made.exchange(request(), said, {}), made.exchange(request(), answer("never"), {})

    assert b'{"ssn":"[redacted]","a":[{"ssn":"[redacted]"}]}' == miss.got.body == hit.got.body
    for each in (miss, hit):
        assert 'W/"1"' == each.got.headers["etag"]
        assert {"digest", "accept-ranges"}.isdisjoint(each.got.headers)
        assert each.got.headers["content-digest"] == miss.got.headers["content-digest"] != "sha-256=:x:"


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("{", JSON),
        ("ssn: 1", {"content_type": "text/plain"}),
        ('{"ssn":1}', JSON | {"content_encoding": "zstd"}),
        ('{"ssn":1,"ssn":2}', JSON),
        ("{}" + " " * (1 << 20), JSON),
        ("<ssn>1", {"content_type": "application/xml"}),
        ("ssn\n1,2", {"content_type": "text/csv"}),
        ('{"ssn":1}', JSON | {"content_type": "application/json; charset=utf-16"}),
    ],
)
def test_what_cannot_be_redacted_is_refused_or_passed_as_the_route_says(
    status: int, body: str, headers: dict[str, Any]
) -> None:
    """Never silently, whatever its status."""

    def passing(message: pb.ProcessingPolicy) -> None:
        redact(message)
        message.pass_unreadable = True

    blocked = gateway(redact).exchange(request(), answer(body, status, **headers))
    passed = gateway(passing, cache=True).exchange(request(), answer(body, status, **headers), {})

    assert 502 == blocked.got.status
    assert b"ssn" not in blocked.got.body
    assert body.encode() == passed.got.body
    assert status == passed.got.status


def test_a_part_of_a_document_is_unreadable() -> None:
    """Ranges are not asked for, and a 206 all the same does not pass."""
    refused = gateway(redact).exchange(request(range="bytes=0-1"), answer("{", 206, **JSON))

    assert refused.seen is not None
    assert "range" not in refused.seen.headers
    assert 502 == refused.got.status


def test_errors_of_the_service_are_redacted_and_otherwise_left_alone() -> None:
    """A step that is written for a document of the service would fail on its errors."""

    def change(message: pb.ProcessingPolicy) -> None:
        redact(message)
        message.response.body.add().json_patch.operations = '[{"op":"remove","path":"/data"}]'

    made = gateway(change)
    error = made.exchange(request(), answer('{"title":"no","ssn":1}', 404, **JSON))
    good = made.exchange(request(), answer('{"data":1,"ssn":1}', **JSON))
    bad = made.exchange(request(), answer('{"ssn":1}', **JSON))

    assert (404, {"title": "no", "ssn": "[redacted]"}) == (error.got.status, json.loads(error.got.body))
    assert {"ssn": "[redacted]"} == json.loads(good.got.body)
    assert 502 == bad.got.status


def test_images_heads_and_empty_answers_pass() -> None:
    """They hold nothing; a HEAD does not tell the length of a body that nobody gets."""
    made = gateway(redact)
    image = made.exchange(request(), answer("ssn", content_type="image/png"))
    head = made.exchange(request("HEAD /"), answer(content_length="99", etag='"1"', **JSON))
    nothing = made.exchange(request(), answer(status=204))
    unchanged = made.exchange(request(), answer(status=304, etag='"1"', content_length="99"))

    assert b"ssn" == image.got.body
    assert ('W/"1"', None) == (head.got.headers["etag"], head.got.headers.get("content-length"))
    assert {":status": "204"} == nothing.got.headers
    assert ('W/"1"', "99") == (unchanged.got.headers["etag"], unchanged.got.headers["content-length"])


def test_an_upgrade_has_no_body() -> None:
    """Nobody waits for one, in either direction."""

    def change(message: pb.ProcessingPolicy) -> None:
        redact(message)
        message.request.body.add().remove.fields.append("a")

    result = gateway(change).exchange(request(upgrade="websocket", body="x"), answer("frames", 101))

    assert isinstance(result.actions[0], Forward)
    assert not result.actions[0].wants_body
    assert isinstance(result.actions[1], PassHeaders)
    assert b"frames" == result.got.body


def test_bodies_that_steps_do_not_concern_pass() -> None:
    """Another media type, as long as nothing has to be redacted."""

    def change(message: pb.ProcessingPolicy) -> None:
        message.request.body.add().remove.fields.append("a")

    result = gateway(change).exchange(
        request("POST /", "a=1", content_type="application/x-www-form-urlencoded"), answer()
    )

    assert isinstance(result.actions[0], Forward)
    assert not result.actions[0].wants_body


def test_a_document_without_the_fields_goes_on_as_it_came() -> None:
    """Byte for byte, if only redaction is asked for."""

    def change(message: pb.ProcessingPolicy) -> None:
        message.request.body.add().redact.fields.append("a")

    result = gateway(change).exchange(request("POST /", '{ "b" : 1 }', **JSON), answer())

    assert isinstance(result.actions[1], PassRequestRest)
    assert result.seen is not None
    assert b'{ "b" : 1 }' == result.seen.body


XML: dict[str, Any] = {"content_type": "application/xml"}


@pytest.mark.parametrize("earlier", [False, True])
def test_attributes_are_redacted_whatever_follows(earlier: bool) -> None:
    """In the text of the XML, and in the document that becomes JSON."""

    def change(message: pb.ProcessingPolicy) -> None:
        if earlier:
            message.response.body.add().remove.fields.append("none")
        message.response.body.add().redact.fields.extend(["ssn", "user.card"])
        message.response.body.add().convert.to.append(pb.Convert.JSON)

    said = answer('<r ssn="1"><user card="2" id="3"><ssn a="4">5</ssn></user></r>', **XML)
    result = gateway(change).exchange(request(), said)

    blanked = "[redacted]"
    nested: object = {"@a": blanked, "#text": blanked} if not earlier else blanked
    assert {"@ssn": blanked, "user": {"@card": blanked, "@id": "3", "ssn": nested}} == json.loads(result.got.body)


def test_what_could_be_read_never_passes_as_if_it_could_not() -> None:
    """A document that the wanted form has no place for was redacted already: it is refused, `pass` or not."""

    def change(message: pb.ProcessingPolicy) -> None:
        redact(message)
        message.pass_unreadable = True
        message.response.body.add().convert.to.append(pb.Convert.CSV)

    made = gateway(change)
    nested = made.exchange(request(), answer('[{"ssn":1,"a":{"b":1}}]', **JSON))
    error = made.exchange(request(), answer('{"ssn":1,"a":{"b":1}}', 404, **JSON))

    assert 502 == nested.got.status
    assert (404, {"ssn": "[redacted]", "a": {"b": 1}}) == (error.got.status, json.loads(error.got.body))
    assert "application/json" == error.got.headers["content-type"]


def test_a_request_with_problems_never_passes() -> None:
    """Not even where its body could, being too large."""

    def change(message: pb.ProcessingPolicy) -> None:
        message.pass_unreadable = True
        message.max_body_bytes = 10
        message.request.validate.document = "d"
        post = {
            "parameters": [{"name": "a", "in": "query", "required": True}],
            "requestBody": {"content": {"application/json": {}}},
        }
        message.openapi.add(name="d", content=json.dumps({"openapi": "3.1.0", "paths": {"/": {"post": post}}}))

    made = gateway(change)

    assert made.exchange(request("POST /", '{"a": "0123456789"}', **JSON), answer()).seen is None
    assert made.exchange(request("POST /?a=1", '{"a": "0123456789"}', **JSON), answer()).seen is not None


def test_only_documents_become_graphql_requests() -> None:
    """A form would reach the service as it is."""

    def change(message: pb.ProcessingPolicy) -> None:
        step = message.request.body.add().graphql
        step.envelope, step.query = pb.GraphQl.WRAP, "{ a }"

    refused = gateway(change).exchange(
        request("POST /", "a=1", content_type="application/x-www-form-urlencoded"), answer()
    )

    assert (415, None) == (refused.got.status, refused.seen)


def _variable(message: pb.ProcessingPolicy) -> None:
    message.path_parameters = "/a/{id}"
    message.request.path = "/b/{path:di}"


def _document(message: pb.ProcessingPolicy) -> None:
    message.request.validate.document = "d"
    message.openapi.add(
        name="d", content='{"openapi": "3.0.3", "paths": {"/a": {"get": {"parameters": [{"name": "x"}]}}}}'
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda m: m.request.set_headers.add(name="x-a", value="{claims:sub}"),
            "request.headers.set.x-a: {claims:sub}",
        ),
        (lambda m: m.request.rename_headers.add(name="x-a", to="host"), "request.headers.rename.host"),
        (lambda m: m.request.body.add().remove.fields.append("$["), "request.body[0]: '$['"),
        (lambda m: m.request.body.add().remove.SetInParent(), "has no fields"),
        (lambda m: m.request.body.add().set.fields.add(path="a", value="1"), "is not a JSONPath"),
        (lambda m: m.request.body.add().set.fields.add(path="$.a", value="{"), "request.body[0]"),
        (lambda m: m.response.body.add().json_patch.SetInParent(), "response.body[0]"),
        (lambda m: m.response.body.add().convert.SetInParent(), "no format"),
        (lambda m: m.response.body.add().graphql.SetInParent(), "neither wrap nor unwrap"),
        (lambda m: m.response.query.remove.append("a"), "only a request has"),
        (lambda m: setattr(m.request.validate, "document", "none"), "there is no document 'none'"),
        (_document, "paths./a.get.parameters.0: is not a parameter"),
        (_variable, "{path:di} is not a parameter of the path (id)"),
        (lambda m: setattr(m, "path_parameters", "/{a}/{a}"), "path_parameters: '{a}' is there twice"),
    ],
)
def test_a_policy_that_cannot_work_does_not_compile(change: Callable[[pb.ProcessingPolicy], object], told: str) -> None:
    """ext_proc answers it with a NACK that has this text."""
    with pytest.raises(PolicyError) as refused:
        compile_policy(policy(change))

    assert told in str(refused.value)


def _described(message: pb.ProcessingPolicy) -> None:
    schema = {"type": "array", "items": {"type": "object", "required": ["id"]}}
    content = {"application/json": {"schema": schema}}
    post = {"requestBody": {"content": content}, "responses": {"200": {"description": "", "content": content}}}
    message.openapi.add(name="d", content=json.dumps({"openapi": "3.1.0", "paths": {"/": {"post": post}}}))
    message.request.validate.document = message.response.validate.document = "d"


def _converted(message: pb.ProcessingPolicy) -> None:
    message.request.body.add().convert.to.append(pb.Convert.XML)
    message.response.body.add().convert.to.append(pb.Convert.CSV)


@pytest.mark.parametrize("change", [redact, _described, _converted])
@pytest.mark.parametrize("rows", [10, 3000])
def test_large_bodies_are_worked_on_elsewhere(change: Callable[[pb.ProcessingPolicy], object], rows: int) -> None:
    """In another thread, whatever is done with them; what comes of it is the same as of small ones."""

    def both(message: pb.ProcessingPolicy) -> None:
        change(message)
        message.request.body.add().redact.fields.append("ssn")

    document = json.dumps([{"id": number, "ssn": "078-05-1120"} for number in range(rows)])
    made = gateway(both)
    result = made.exchange(request("POST /", document, **JSON), answer(document, **JSON))
    assert result.seen is not None

    kinds = {type(action) for action in result.actions}
    assert (rows > 1000) is (Work in kinds)
    assert ReplaceRequestBody in kinds
    assert (rows, 0) == (result.seen.body.count(b"[redacted]"), result.seen.body.count(b"-1120"))
    if change is redact:
        assert ReplaceBody in kinds
        assert rows == result.got.body.count(b"[redacted]")


def test_a_large_body_that_cannot_be_read() -> None:
    """It is refused as a small one is."""
    made = gateway(redact)
    results = [made.exchange(request(), answer("{" * size, **JSON)) for size in (10, 100_000)]

    assert [502, 502] == [each.got.status for each in results]
    assert [PassHeaders, Work, Refuse] == [type(action) for action in results[1].actions[1:]]


def test_a_compressed_body_may_be_anything() -> None:
    """However small it comes, it is worked on elsewhere."""
    made = gateway(redact)
    body = gzip.compress(json.dumps([{"ssn": "1"}] * 1000).encode())
    result = made.exchange(request(), answer(body, content_encoding="gzip", **JSON))

    assert len(body) < 1000
    assert Work in [type(action) for action in result.actions]
    assert 1000 == result.got.body.count(b"[redacted]")
