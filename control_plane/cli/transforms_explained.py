"""What `gatewayctl explain` says of a route's transform: every rule in the order in which it runs."""

from collections.abc import Iterator, Mapping

from control_plane.config.effective import EffectiveRoute
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
    ValidateMessages,
)
from control_plane.config.wording import worded, worded_size

Row = tuple[str, str, str]


def transform_rows(route: EffectiveRoute) -> Iterator[Row]:
    """Direction, part and rule of each; nothing for a route without a transform."""
    transform = route.transform
    if transform is None:
        return
    if transform.needs_bodies:
        unreadable = "refused" if transform.on_unreadable == "block" else "passed as they are"
        yield "", "bodies", f"up to {worded_size(transform.max_body)}; larger and unreadable ones are {unreadable}"
    cached = route.cache is not None
    request = list(_request(transform))
    checks = [row for row in request if row[1] == "validate"]
    yield from checks
    if cached:
        yield "", "cache", "looked up; a hit ends here"
    yield from (row for row in request if row not in checks)
    yield from _response(transform.response)
    if cached:
        yield "", "cache", "stores what the client gets"


def _request(transform: Transform) -> Iterator[Row]:
    request: RequestTransform = transform.request
    yield from _validation("request", request.validation)
    if request.path is not None:
        of = f" (of {transform.path_parameters})" if transform.path_parameters else ""
        yield "request", "path", f"{request.path}{of}"
    yield from _values("request", "query", request.query)
    yield from _values("request", "headers", request.headers)
    yield from (("request", "body", _step(step)) for step in request.body)


def _response(response: ResponseTransform) -> Iterator[Row]:
    yield from _validation("response", response.validation)
    yield from _values("response", "headers", response.headers)
    yield from (("response", "body", _step(step)) for step in response.body)


def _validation(side: str, validation: ValidateMessages | None) -> Iterator[Row]:
    if validation is not None:
        base = f" under {validation.base_path}" if validation.base_path else ""
        status = "400" if side == "request" else "502"
        yield side, "validate", f"{validation.openapi}{base}; else {status}"


def _values(side: str, part: str, values: HeaderTransform | QueryTransform) -> Iterator[Row]:
    if values.rename:
        yield side, part, f"rename {_arrows(values.rename)}"
    if values.remove:
        yield side, part, f"remove {', '.join(values.remove)}"
    for verb, pairs in (("set", values.set), ("add", values.add)):
        if pairs:
            yield side, part, f"{verb} {', '.join(f'{name}: {text}' for name, text in pairs.items())}"


def _arrows(renames: Mapping[str, str]) -> str:
    return ", ".join(f"{name} -> {to}" for name, to in renames.items())


def _step(step: BodyStep) -> str:
    match step:
        case RedactBody() | RemoveBody():
            said = ", ".join(step.fields)
        case RenameBody():
            said = _arrows(step.fields)
        case SetBody():
            said = ", ".join(f"{path}: {worded(value)}" for path, value in step.fields.items())
        case JsonPatchBody():
            said = ", ".join(f"{each.op} {each.path}" for each in step.operations)
        case MergePatchBody():
            said = worded(step.patch)
        case ConvertBody():
            said = f"to {', '.join(step.to)}"
        case GraphQlBody():
            said = f"{step.envelope} {step.field or step.operation or step.query or ''}".rstrip()
        case _:
            said = ""
    return f"{step.type} {said}"
