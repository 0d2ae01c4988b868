"""transform: what ext_proc would refuse or never do, at its line; the parts are made by the functions that it uses."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, assert_never

from control_plane.config.effective import EffectiveRoute
from control_plane.config.faults import Path
from control_plane.config.model.transform import (
    BodyStep,
    ConvertBody,
    GraphQlBody,
    HeaderTransform,
    JsonPatchBody,
    MergePatchBody,
    QueryTransform,
    RedactBody,
    RemoveBody,
    RenameBody,
    RequestTransform,
    ResponseTransform,
    SetBody,
    Transform,
    UnknownStep,
)
from control_plane.config.rules.forms import header_value_fault, path_fault, settable_header_fault
from control_plane.config.rules.report import Check, closest
from policy.fields import fields
from policy.json_patch import operation
from policy.path_template import path_template
from policy.templates import Template, Variable, template
from policy.transforms import (
    LARGEST_BODY_BYTES,
    JsonTemplate,
    graphql_name,
    json_template,
    path_of,
    set_value,
    templates_in,
    xml_root,
)

T = TypeVar("T")

_SIZE = f"1B to {LARGEST_BODY_BYTES >> 20}MiB"


def check_transform(check: Check, path: Path, transform: Transform) -> None:
    """Report what is wrong with it by itself."""
    if not 0 < transform.max_body <= LARGEST_BODY_BYTES:
        check.report.fault((*path, "max_body"), f"is not a size of a body ({_SIZE})")
    parameters: tuple[str, ...] = ()
    if transform.path_parameters is not None:
        made = _tried(check, (*path, "path_parameters"), partial(path_template, transform.path_parameters))
        parameters = made.names if made is not None else ()
    _check_request(check, (*path, "request"), transform.request)
    _check_side(check, (*path, "response"), transform.response)
    if check.report.was_cut((*path, "path_parameters")):
        return
    for used in variables(path, transform):
        if used.variable.kind == "path" and used.variable.name not in parameters:
            hint = closest(used.variable.name, parameters) if parameters else "path_parameters: /api/users/{id}"
            check.report.fault(used.path, f"{{path:{used.variable.name}}} is not a parameter of the path ({hint})")


def check_headers(check: Check, path: Path, headers: Mapping[str, str]) -> None:
    """Report headers that cannot be set, and values that cannot be sent."""
    for name, value in headers.items():
        if fault := settable_header_fault(name) or header_value_fault(value):
            check.report.fault((*path, name), fault)
    _check_cases(check, path, headers)


def _check_cases(check: Check, path: Path, headers: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for name in headers:
        if first.setdefault(name.lower(), name) != name:
            check.report.fault((*path, name), f"is the same header as {first[name.lower()]} (case does not count)")


def _check_request(check: Check, path: Path, request: RequestTransform) -> None:
    _check_side(check, path, request)
    if request.path is not None:
        _tried(check, (*path, "path"), partial(path_of, request.path))
    _check_query(check, (*path, "query"), request.query)


def _check_side(check: Check, path: Path, side: RequestTransform | ResponseTransform) -> None:
    _check_headers_of(check, (*path, "headers"), side.headers)
    if side.validation is not None:
        base = side.validation.base_path
        if base and (fault := path_fault(base, wanted="/api")):
            check.report.fault((*path, "validate", "base_path"), fault)
    for place, step in enumerate(side.body):
        at = (*path, "body", place)
        _check_step(check, at, step)
        if isinstance(step, GraphQlBody):
            _check_graphql(check, at, step, is_request=isinstance(side, RequestTransform))
        if isinstance(step, ConvertBody) and isinstance(side, RequestTransform) and len(step.to) != 1:
            check.report.fault(
                (*at, "to"), "a request is converted to one format, the one that the service wants (json)"
            )


def _check_headers_of(check: Check, path: Path, headers: HeaderTransform) -> None:
    for key, values in (("set", headers.set), ("add", headers.add)):
        check_headers(check, (*path, key), values)
        _check_templates(check, (*path, key), values)
    for place, name in enumerate(headers.remove):
        if fault := settable_header_fault(name):
            check.report.fault((*path, "remove", place), fault)
    _check_cases(check, (*path, "rename"), headers.rename)
    for name, to in headers.rename.items():
        if fault := settable_header_fault(name) or settable_header_fault(to):
            check.report.fault((*path, "rename", name), fault)


def _check_query(check: Check, path: Path, query: QueryTransform) -> None:
    names: list[tuple[Path, str]] = [((*path, "remove", place), name) for place, name in enumerate(query.remove)]
    for key, values in (("set", query.set), ("add", query.add), ("rename", query.rename)):
        names += [((*path, key, name), name) for name in values]
    names += [((*path, "rename", name), to) for name, to in query.rename.items()]
    for at, name in names:
        if not name:
            check.report.fault(at, "is empty (the name of a parameter)")
    _check_templates(check, (*path, "set"), query.set)
    _check_templates(check, (*path, "add"), query.add)


def _check_templates(check: Check, path: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        _tried(check, (*path, name), partial(template, text))


def _tried(check: Check, path: Path, make: Callable[[], T]) -> T | None:
    try:
        return make()
    except ValueError as error:
        check.report.fault(path, str(error))
        return None


def _check_step(check: Check, path: Path, step: BodyStep) -> None:
    match step:
        case RedactBody() | RemoveBody():
            for number, text in enumerate(step.fields):
                _tried(check, (*path, "fields", number), partial(fields, [text]))
        case RenameBody():
            for text, to in step.fields.items():
                _tried(check, (*path, "fields", text), partial(fields, [text]))
                if not to:
                    check.report.fault((*path, "fields", text), "is empty (the member's new name)")
        case SetBody():
            for text, value in step.fields.items():
                _tried(check, (*path, "fields", text), partial(set_value, text, value))
        case JsonPatchBody():
            _check_operations(check, (*path, "operations"), step)
        case ConvertBody():
            _tried(check, (*path, "xml_root"), partial(xml_root, step.xml_root))
        case MergePatchBody() | GraphQlBody() | UnknownStep():
            pass
        case _:
            assert_never(step)


def _check_operations(check: Check, path: Path, step: JsonPatchBody) -> None:
    for number, each in enumerate(step.operations):
        members = {"value": each.value} if "value" in each.model_fields_set else {}
        if each.from_ is not None:
            members["from"] = each.from_
        _tried(check, (*path, number), partial(operation, each.op, each.path, members))


def _check_graphql(check: Check, path: Path, step: GraphQlBody, *, is_request: bool) -> None:
    report = check.report
    wraps_request = is_request and step.envelope == "wrap"
    for key in ("query", "operation", "variables"):
        if getattr(step, key) and not wraps_request:
            report.fault((*path, key), "belongs to a request that is wrapped (envelope: wrap)")
    if wraps_request and not (step.query or "").strip():
        report.fault(path, "lacks a query (query: 'query ($id: ID!) { user(id: $id) { name } }')", keys=("query",))
    if is_request and step.field is not None:
        report.fault((*path, "field"), "belongs to a response")
    if not is_request and step.envelope == "wrap":
        if step.field is None:
            report.fault(path, "lacks a field (the member of data that the body becomes)", keys=("field",))
        else:
            _tried(check, (*path, "field"), partial(graphql_name, step.field))
    for name in step.variables:
        _tried(check, (*path, "variables", name), partial(graphql_name, name))
    _check_templates(check, (*path, "variables"), step.variables)


@dataclass(frozen=True, slots=True)
class Used:
    """One variable of a template."""

    path: Path
    is_request: bool
    variable: Variable


def variables(path: Path, transform: Transform) -> Iterator[Used]:
    """Every variable of its sound templates."""
    for side, is_request in ((transform.request, True), (transform.response, False)):
        at = (*path, "request" if is_request else "response")
        for where, made in _templates(at, side):
            for variable in dict.fromkeys(made.variables):
                yield Used(where, is_request, variable)


def _templates(path: Path, side: RequestTransform | ResponseTransform) -> Iterator[tuple[Path, Template]]:
    texts: list[tuple[Path, str]] = []
    sections: list[tuple[str, HeaderTransform | QueryTransform]] = [("headers", side.headers)]
    if isinstance(side, RequestTransform):
        sections.append(("query", side.query))
        if side.path is not None:
            texts.append(((*path, "path"), side.path))
    for key, section in sections:
        texts += [((*path, key, "set", name), text) for name, text in section.set.items()]
        texts += [((*path, key, "add", name), text) for name, text in section.add.items()]
    for place, step in enumerate(side.body):
        at = (*path, "body", place)
        if isinstance(step, GraphQlBody):
            texts += [((*at, "variables", name), text) for name, text in step.variables.items()]
        elif isinstance(step, SetBody):
            for name, value in step.fields.items():
                yield from (((*at, "fields", name), each) for each in templates_in(_sound(value).filled))
    for where, text in texts:
        try:
            yield where, template(text)
        except ValueError:
            continue


def _sound(value: object) -> JsonTemplate:
    try:
        return json_template(value)  # type: ignore[arg-type]  # what YAML can say is JSON
    except ValueError:
        return JsonTemplate(None, None)


def check_effective_transform(check: Check, path: Path, effective: EffectiveRoute) -> None:
    """Report what is wrong on this route, where other keys say what makes it so."""
    transform = effective.transform
    if transform is None or effective.kind != "proxy" or check.report.was_cut((*path, "auth")):
        return
    own = effective.origins["transform"] == "route"
    base: Path = (*path, "transform") if own else ("defaults", "transform")
    rewrite = effective.rewrite
    rewritten = rewrite is not None and (rewrite.path, rewrite.path_prefix, rewrite.regex) != (None, None, None)
    if transform.request.path is not None and rewritten:
        message = f"route {effective.name!r} has a rewrite of the path too (one of the two)"
        check.report.fault((*base, "request", "path"), message)
    for used in variables(base, transform):
        if (reason := _unusable(used, effective)) is not None:
            check.report.fault(used.path, f"{reason} (route {effective.name!r})")


def _unusable(used: Used, effective: EffectiveRoute) -> str | None:
    """Why a variable has no value here, or would give one caller what is another's."""
    text = f"{{{used.variable.kind}:{used.variable.name}}}".replace(":}", "}")
    if used.variable.kind == "claim":
        if effective.auth is None:
            return f"{text} has no value on a public route"
        if effective.cache is not None and effective.cache.scope == "public":
            return f"{text} differs from caller to caller, and the cache's scope is public; scope: user, or no cache"
    if used.variable.kind == "request_id" and not used.is_request and effective.cache is not None:
        return f"{text} would be that of another request on a hit; leave it out, or no cache"
    return None
