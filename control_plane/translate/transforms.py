"""`transform` of a route -> the parts of a ProcessingPolicy that say it.

Envoy's own settings for it: ext_proc asks for bodies message by message (`mode_override`), because a mode that stood in
the configuration would hold every request of the route, hits and GETs included, and forbid streamed answers from the
cache; so the base mode (ext_proc.py) has no bodies. What the listener has to hold for one message is in `buffer_bytes`.
"""

from collections.abc import Iterable, Mapping

import orjson

from control_plane.config.effective import EffectiveRoute
from control_plane.config.materials import Materials
from control_plane.config.model.transform import (
    BodyStep,
    ConvertBody,
    GraphQlBody,
    HeaderTransform,
    JsonPatchBody,
    MergePatchBody,
    PatchOperation,
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
from control_plane.config.openapi_file import openapi_json
from control_plane.config.rules.transforms import variables
from control_plane.translate.names import digest
from protos.gateway.policy.v1 import processing_pb2

_FORMATS = {
    "json": processing_pb2.Convert.JSON,
    "xml": processing_pb2.Convert.XML,
    "csv": processing_pb2.Convert.CSV,
}
_ENVELOPES = {"wrap": processing_pb2.GraphQl.WRAP, "unwrap": processing_pb2.GraphQl.UNWRAP}


def buffer_bytes(routes: Iterable[EffectiveRoute], least: int) -> int:
    """What a listener has to hold of one body, so that ext_proc gets all of every body within its route's limit.

    Envoy hands over the beginning of a longer one, and ext_proc refuses it or lets it pass.
    """
    wanted = [each.transform.max_body for each in routes if each.transform is not None and each.transform.needs_bodies]
    return max([least, *wanted])


def told_claims(route: EffectiveRoute) -> list[str]:
    """The claims that templates read, which ext_authz has to tell ext_proc."""
    if route.transform is None:
        return []
    used = [each.variable for each in variables((), route.transform)]
    return sorted({each.name for each in used if each.kind == "claim"})


def fill_transform(policy: processing_pb2.ProcessingPolicy, transform: Transform, materials: Materials) -> None:
    """Write a route's transform into its policy."""
    if transform.needs_bodies:
        policy.max_body_bytes = transform.max_body
        policy.pass_unreadable = transform.on_unreadable == "pass"
    policy.path_parameters = transform.path_parameters or ""
    policy.request.CopyFrom(_message(transform.request))
    policy.response.CopyFrom(_message(transform.response))
    for message, validation in (
        (policy.request, transform.request.validation),
        (policy.response, transform.response.validation),
    ):
        if validation is not None:
            message.validate.CopyFrom(_validation(policy, validation, materials))


def _validation(
    policy: processing_pb2.ProcessingPolicy, validation: ValidateMessages, materials: Materials
) -> processing_pb2.Validation:
    """Both directions refer to one copy of their document, if it is one."""
    content = openapi_json(materials[validation.openapi])
    name = digest(content)
    if all(each.name != name for each in policy.openapi):
        policy.openapi.add(name=name, content=content.decode())
    return processing_pb2.Validation(
        document=name,
        base_path=validation.base_path or "",
        pass_undocumented=validation.undocumented == "pass",
    )


def _message(side: RequestTransform | ResponseTransform) -> processing_pb2.MessageTransform:
    headers: HeaderTransform = side.headers
    message = processing_pb2.MessageTransform(
        rename_headers=_renames(headers.rename, lower=True),
        remove_headers=sorted({name.lower() for name in headers.remove}),
        set_headers=_headers(headers.set, lower=True),
        add_headers=_headers(headers.add, lower=True),
        body=[_operation(step) for step in side.body],
    )
    if isinstance(side, RequestTransform):
        message.path = side.path or ""
        if side.query != QueryTransform():
            message.query.CopyFrom(_query(side.query))
    return message


def _query(query: QueryTransform) -> processing_pb2.QueryTransform:
    return processing_pb2.QueryTransform(
        rename=_renames(query.rename),
        remove=sorted(set(query.remove)),
        set=_headers(query.set),
        add=_headers(query.add),
    )


def _headers(values: Mapping[str, str], *, lower: bool = False) -> list[processing_pb2.Header]:
    return [
        processing_pb2.Header(name=name.lower() if lower else name, value=value)
        for name, value in sorted(values.items())
    ]


def _renames(names: Mapping[str, str], *, lower: bool = False) -> list[processing_pb2.Rename]:
    pairs = sorted(names.items())
    return [
        processing_pb2.Rename(name=name.lower() if lower else name, to=to.lower() if lower else to)
        for name, to in pairs
    ]


def _operation(step: BodyStep) -> processing_pb2.BodyOperation:
    operation = processing_pb2.BodyOperation
    match step:
        case RedactBody():
            return operation(redact=processing_pb2.Redact(fields=step.fields))
        case RemoveBody():
            return operation(remove=processing_pb2.RemoveFields(fields=step.fields))
        case RenameBody():
            renames = [processing_pb2.Rename(name=name, to=to) for name, to in step.fields.items()]
            return operation(rename=processing_pb2.RenameFields(fields=renames))
        case SetBody():
            values = [
                processing_pb2.SetField(path=path, value=orjson.dumps(value).decode())
                for path, value in step.fields.items()
            ]
            return operation(set=processing_pb2.SetFields(fields=values))
        case JsonPatchBody():
            patch = orjson.dumps([_patch_operation(each) for each in step.operations])
            return operation(json_patch=processing_pb2.JsonPatch(operations=patch.decode()))
        case MergePatchBody():
            return operation(merge_patch=processing_pb2.MergePatch(patch=orjson.dumps(step.patch).decode()))
        case ConvertBody():
            return operation(convert=_convert(step))
        case GraphQlBody():
            return operation(graphql=_graphql(step))
        case _:
            raise TypeError(f"{step.type} is a fault of the file")


def _patch_operation(each: PatchOperation) -> dict[str, object]:
    members: dict[str, object] = {"op": each.op, "path": each.path}
    if each.from_ is not None:
        members["from"] = each.from_
    if "value" in each.model_fields_set:
        members["value"] = each.value
    return members


def _convert(step: ConvertBody) -> processing_pb2.Convert:
    return processing_pb2.Convert(
        to=[_FORMATS[each] for each in step.to], xml_root=step.xml_root, csv_formulas=step.csv_formulas
    )


def _graphql(step: GraphQlBody) -> processing_pb2.GraphQl:
    return processing_pb2.GraphQl(
        envelope=_ENVELOPES[step.envelope],
        query=step.query or "",
        operation=step.operation or "",
        variables=_headers(step.variables),
        field=step.field or "",
    )
