"""Envoy's own resources from files beside gateway.yaml: what the model has no words for and Envoy asks for by name.

`extra_resources/*.yaml` goes to every gateway of that folder, `extra_resources/GATEWAY/*.yaml` to one. A file has the
form of Envoy's own file subscriptions: `resources:` and a list of messages with `@type`, which are TypedExtensionConfig
(ECDS), Runtime (RTDS) or VirtualHost (VHDS, delta only). An entry may be wrapped in
`envoy.service.discovery.v3.Resource` to give it another name (a VirtualHost is asked for as ROUTE_CONFIGURATION/NAME)
or a `ttl`, after which Envoy forgets it unless heartbeats come.
"""

import importlib
import os
import pkgutil
from collections.abc import Iterable, Iterator, Mapping

import yaml
from envoy.config.core.v3 import extension_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf.message import Message

from control_plane.config.loading import Files
from control_plane.resource_types import EXTRA, PREFIX
from control_plane.snapshot import Resource, Snapshot
from control_plane.translate.plain import from_plain, message_named
from control_plane.validation.field_rules import FieldRules

FOLDER = "extra_resources"
_WRAPPER = "envoy.service.discovery.v3.Resource"
_NAMED = (extension_pb2.TypedExtensionConfig, rtds_pb2.Runtime, route_components_pb2.VirtualHost)
_LEAST_TTL_S = 10.0
"""A heartbeat may wait for the answer to an earlier response, up to 5 s."""
_PACKAGES = ("envoy.", "udpa.", "xds.")


class ExtraResourceError(Exception):
    """One of the files cannot be used; the text says which, where and why."""


def extra_resources(config: str, gateway: str, files: Files, rules: FieldRules) -> tuple[Resource, ...]:
    """Of one gateway.

    Args:
        config: path of its gateway.yaml.

    Raises:
        ExtraResourceError: the first fault.
    """
    folder = os.path.join(os.path.dirname(config), FOLDER)
    found: dict[tuple[str, str], tuple[str, Resource]] = {}
    for pattern in (os.path.join(folder, "*.yaml"), os.path.join(folder, gateway, "*.yaml")):
        for path in sorted(files.glob(pattern)):
            for where, resource in _of_file(path, files, rules):
                other = found.setdefault((resource.type_url, resource.name), (where, resource))
                if other[0] != where:
                    raise ExtraResourceError(f"{where}: {resource.name!r} is in {other[0]} too")
    return tuple(resource for _, resource in found.values())


def with_extra(snapshot: Snapshot, extra: Iterable[Resource]) -> Snapshot:
    """The snapshot and these; it has none of their types itself."""
    for resource in extra:
        snapshot = snapshot.with_resource(resource)
    return snapshot


def _of_file(path: str, files: Files, rules: FieldRules) -> Iterator[tuple[str, Resource]]:
    try:
        documents = list(yaml.safe_load_all(files.read(path)))
    except OSError as error:
        raise ExtraResourceError(f"{path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ExtraResourceError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    for document in documents:
        entries = document.get("resources") if isinstance(document, dict) else None
        if not isinstance(entries, list) or set(document) != {"resources"}:
            raise ExtraResourceError(f"{path}: `resources:` and a list is wanted")
        for index, entry in enumerate(entries):
            where = f"{path}: resources[{index}]"
            try:
                yield where, _resource(entry, rules)
            except (ValueError, TypeError, KeyError, LookupError) as error:
                raise ExtraResourceError(f"{where}: {error}") from error


def _resource(entry: object, rules: FieldRules) -> Resource:
    """Raises ValueError."""
    if not isinstance(entry, Mapping):
        raise ValueError("an object with @type is wanted")
    _import_types(entry)
    type_url = entry.get("@type")
    if not isinstance(type_url, str):
        raise ValueError("a text @type is wanted")
    message = from_plain({key: value for key, value in entry.items() if key != "@type"}, message_named(_bare(type_url)))
    name, ttl_s = "", 0.0
    if isinstance(message, discovery_pb2.Resource):
        name, inner = message.name, message_named(message.resource.TypeName())
        if message.aliases:
            raise ValueError("aliases are not supported")
        ttl_s = _ttl_s(message)
        message.resource.Unpack(inner)
        message = inner
    served = PREFIX + message.DESCRIPTOR.full_name
    if served not in EXTRA:
        raise ValueError(f"{message.DESCRIPTOR.full_name} is not served from here ({', '.join(sorted(EXTRA))})")
    if wrong := rules.violations(message):
        raise ValueError("; ".join(map(str, wrong)))
    name = name or _own_name(message)
    if not name:
        raise ValueError("it has no name")
    resource = Resource.of(name, message)
    return resource.with_ttl(ttl_s) if ttl_s else resource


def _ttl_s(wrapper: discovery_pb2.Resource) -> float:
    """Raises ValueError."""
    ttl_s = wrapper.ttl.ToTimedelta().total_seconds() if wrapper.HasField("ttl") else 0.0
    if wrapper.HasField("ttl") and ttl_s < _LEAST_TTL_S:
        raise ValueError(f"ttl: {ttl_s:g}s is too short (at least {_LEAST_TTL_S:g}s)")
    return ttl_s


def _own_name(message: Message) -> str:
    return message.name if isinstance(message, _NAMED) else ""


def _bare(type_url: str) -> str:
    return type_url.rpartition("/")[2]


def _import_types(plain: object) -> None:
    """A type is only known once its module is imported; which extensions a file names is the operator's choice."""
    if isinstance(plain, Mapping):
        type_url = plain.get("@type")
        if isinstance(type_url, str):
            _import_package(_bare(type_url).rpartition(".")[0])
        for value in plain.values():
            _import_types(value)
    elif isinstance(plain, list):
        for value in plain:
            _import_types(value)


def _import_package(package: str) -> None:
    if not package.startswith(_PACKAGES):
        return
    try:
        folder = importlib.import_module(package)
    except ImportError:
        return  # an unknown type: told when it is looked for
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")
