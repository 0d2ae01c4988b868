"""The `transform` part of a ProcessingPolicy -> `policy.transforms`, with everything that is wrong in it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import orjson

from policy.fields import fields
from policy.json_patch import operations
from policy.openapi.operations import OpenApi, openapi
from policy.path_template import path_template
from policy.templates import Template, template
from policy.transforms import (
    DEFAULT_MAX_BODY_BYTES,
    LARGEST_BODY_BYTES,
    Cached,
    Convert,
    Format,
    Merge,
    Patch,
    Redact,
    Remove,
    Rename,
    Rules,
    Set,
    Step,
    Transform,
    UnwrapRequest,
    UnwrapResponse,
    Validation,
    Values,
    WrapRequest,
    WrapResponse,
    graphql_name,
    path_of,
    set_value,
    variable_faults,
    with_reads,
    xml_root,
)
from protos.gateway.policy.v1 import processing_pb2

Side = Literal["request", "response"]
T = TypeVar("T")


def compile_transform(message: processing_pb2.ProcessingPolicy, faults: list[str]) -> Transform | None:
    """None if there is nothing to do beyond constant header changes.

    Args:
        faults: gets one line for each thing that is wrong.
    """
    compiling = _Compiling(message, faults)
    request = compiling.rules("request", message.request)
    response = compiling.rules("response", message.response)
    parameters = message.path_parameters
    made = Transform(
        request=request,
        response=response,
        max_body_bytes=message.max_body_bytes or DEFAULT_MAX_BODY_BYTES,
        pass_unreadable=message.pass_unreadable,
        path_parameters=compiling.part("path_parameters", partial(path_template, parameters)) if parameters else None,
    )
    if made.max_body_bytes > LARGEST_BODY_BYTES:
        faults.append(f"max_body: {made.max_body_bytes} bytes (1 byte to {LARGEST_BODY_BYTES >> 20}MiB)")
    if not made:
        return None
    made = with_reads(made)
    faults.extend(variable_faults(made, cached=_cached(message)))
    return made


def _cached(message: processing_pb2.ProcessingPolicy) -> Cached:
    if not message.HasField("cache"):
        return "no"
    return "user" if message.cache.scope == processing_pb2.CachePolicy.USER else "public"


@dataclass(slots=True)
class _Compiling:
    message: processing_pb2.ProcessingPolicy
    faults: list[str]
    documents: dict[tuple[str, str], OpenApi | None] = field(default_factory=dict)

    def part(self, where: str, make: Any) -> Any:
        """What `make` returns, or None and a fault."""
        try:
            return make()
        except ValueError as error:
            self.faults.append(f"{where}: {error}")
            return None

    def rules(self, side: Side, message: processing_pb2.MessageTransform) -> Rules:
        steps = [self._step(side, f"{side}.body[{place}]", each) for place, each in enumerate(message.body)]
        if side == "response" and (message.path or message.HasField("query")):
            self.faults.append("response: only a request has a path and a query")
        return Rules(
            headers=Values(
                rename=tuple((each.name.lower(), each.to.lower()) for each in message.rename_headers),
                set=self._templates(f"{side}.headers.set", message.set_headers, only_filled=True),
                add=self._templates(f"{side}.headers.add", message.add_headers, only_filled=True),
            ),
            query=Values(
                rename=tuple((each.name, each.to) for each in message.query.rename),
                remove=tuple(message.query.remove),
                set=self._templates(f"{side}.query.set", message.query.set),
                add=self._templates(f"{side}.query.add", message.query.add),
            ),
            path=self.part(f"{side}.path", partial(path_of, message.path)) if message.path else None,
            body=tuple(step for step in steps if step is not None),
            validation=self._validation(side, message.validate) if message.HasField("validate") else None,
        )

    def _templates(
        self, where: str, headers: Iterable[processing_pb2.Header], *, only_filled: bool = False
    ) -> tuple[tuple[str, Template], ...]:
        """
        Args:
            only_filled: without those that are the same for every message; names are of headers.
        """
        made = [(each.name, self.part(f"{where}.{each.name}", partial(template, each.value))) for each in headers]
        return tuple(
            (name.lower() if only_filled else name, text)
            for name, text in made
            if text is not None and not (only_filled and text.is_literal)
        )

    def _validation(self, side: Side, message: processing_pb2.Validation) -> Validation | None:
        key = (message.document, message.base_path)
        if key not in self.documents:
            found = next((each for each in self.message.openapi if each.name == message.document), None)
            if found is None:
                self.faults.append(f"{side}.validate: there is no document {message.document!r}")
                return None
            base_path = message.base_path or None
            self.documents[key] = self.part(
                f"{side}.validate", lambda: openapi(orjson.loads(found.content), base_path=base_path)
            )
        document = self.documents[key]
        return None if document is None else Validation(document, message.pass_undocumented)

    def _step(self, side: Side, where: str, message: processing_pb2.BodyOperation) -> Step | None:
        kind = message.WhichOneof("kind")
        if kind is None:
            self.faults.append(f"{where}: is of no known type")
            return None
        step: Step | None = self.part(where, partial(_MAKERS[kind], side, getattr(message, kind)))
        return step


def _redact(_: Side, message: processing_pb2.Redact) -> Step:
    return Redact(_some(fields(message.fields), message.fields))


def _remove(_: Side, message: processing_pb2.RemoveFields) -> Step:
    return Remove(_some(fields(message.fields), message.fields))


def _some(value: T, listed: Sequence[object]) -> T:
    if not listed:
        raise ValueError("has no fields")
    return value


def _rename(_: Side, message: processing_pb2.RenameFields) -> Step:
    return _some(Rename(tuple((fields([each.name]), each.to) for each in message.fields)), message.fields)


def _set(_: Side, message: processing_pb2.SetFields) -> Step:
    made = tuple(set_value(each.path, orjson.loads(each.value)) for each in message.fields)
    return _some(Set(made), message.fields)


def _json_patch(_: Side, message: processing_pb2.JsonPatch) -> Step:
    return Patch(operations(orjson.loads(message.operations)))


def _merge_patch(_: Side, message: processing_pb2.MergePatch) -> Step:
    return Merge(orjson.loads(message.patch))


_FORMATS = {
    processing_pb2.Convert.JSON: Format.JSON,
    processing_pb2.Convert.XML: Format.XML,
    processing_pb2.Convert.CSV: Format.CSV,
}


def _convert(side: Side, message: processing_pb2.Convert) -> Step:
    if not message.to or any(each not in _FORMATS for each in message.to):
        raise ValueError("convert says no format")
    if side == "request" and len(message.to) != 1:
        raise ValueError("a request is converted to one format")
    to = tuple(dict.fromkeys(_FORMATS[each] for each in message.to))
    return Convert(to, xml_root(message.xml_root or "root"), message.csv_formulas)


def _graphql(side: Side, message: processing_pb2.GraphQl) -> Step:
    wraps = message.envelope == processing_pb2.GraphQl.WRAP
    if not wraps and message.envelope != processing_pb2.GraphQl.UNWRAP:
        raise ValueError("graphql says neither wrap nor unwrap")
    if side == "response":
        return WrapResponse(graphql_name(message.field)) if wraps else UnwrapResponse(message.field)
    if not wraps:
        return UnwrapRequest()
    if not message.query.strip():
        raise ValueError("graphql has no query")
    variables = tuple((graphql_name(each.name), template(each.value)) for each in message.variables)
    return WrapRequest(message.query, message.operation, variables)


_MAKERS: Mapping[str, Any] = {
    "redact": _redact,
    "set": _set,
    "remove": _remove,
    "rename": _rename,
    "json_patch": _json_patch,
    "merge_patch": _merge_patch,
    "convert": _convert,
    "graphql": _graphql,
}
