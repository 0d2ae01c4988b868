"""Raw JSON of the Kubernetes API -> frozen values.

The client's model classes are not used: for 500 slices of 100 endpoints they take seconds where this takes a
fraction of one (measured in docs/performance/kubernetes.md).
"""

import gc
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import orjson

from control_plane.endpoints import (
    AddressType,
    Condition,
    EndpointSlice,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
)
from control_plane.kubernetes.list_watch import Bookmark, Failure, Gone, Item, Page, Put, WatchEvent

T = TypeVar("T")

Json = Mapping[str, Any]
"""One object as orjson gives it. `Any` ends here: every function of this module turns it into a value."""
Parse = Callable[[Json], T | None]
"""One object -> what it means here; None if it means nothing."""

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
WEIGHT_ANNOTATION = "gateway.meetinity.io/weight"
"""On an EndpointSlice: the weight of each of its endpoints, 0 to 65535."""
MAX_WEIGHT = 65_535
"""Envoy adds up the weights of a locality in 32 bits: this leaves room for 65,537 endpoints."""


@dataclass(frozen=True, slots=True, repr=False)
class ObjectContent:
    """The bytes of a Secret or ConfigMap by key; prints its keys only."""

    namespace: str
    name: str
    content: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"ObjectContent({self.namespace}/{self.name}, keys={sorted(self.content)}, [redacted])"


class UnreadableError(ValueError):
    """Something that is no API server answered, a captive proxy for example."""


def parse_page(body: bytes, parse: Parse[T]) -> Page[T]:
    """One page of a list. Raises UnreadableError for a body that is no list."""
    try:
        with _no_collection():
            raw = orjson.loads(body)
            metadata = raw.get("metadata") or {}
            items = tuple(_item(one, parse) for one in raw.get("items") or ())
            return Page(items, metadata.get("resourceVersion", ""), metadata.get("continue") or "")
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise UnreadableError(f"not a list of the Kubernetes API: {exc}") from exc


@contextmanager
def _no_collection() -> Iterator[None]:
    """A page is 100,000 new dictionaries without a cycle: looking for one in them again and again takes a third."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def parse_event(line: bytes, parse: Parse[T]) -> WatchEvent[T]:
    """One line of a watch. Raises UnreadableError for what is no watch event."""
    try:
        raw = orjson.loads(line)
        return _event(raw["type"], raw["object"], parse)
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise UnreadableError(f"not a watch event of the Kubernetes API: {exc}") from exc


def _event(kind: str, subject: Json, parse: Parse[T]) -> WatchEvent[T]:
    if kind == "ERROR":
        return _status(subject, int(subject.get("code") or 500))
    metadata = subject.get("metadata") or {}
    if kind == "BOOKMARK":
        return Bookmark(metadata.get("resourceVersion", ""))
    if kind == "DELETED":
        return Gone(metadata["name"], metadata.get("resourceVersion", ""))
    return Put(_item(subject, parse))


def parse_failure(status: int, body: bytes, retry_after: str | None) -> Failure:
    """An answer that is no success; what stands in front of an API server may answer without a Status object."""
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
    try:
        raw = orjson.loads(body)
    except ValueError:
        raw = None
    if not isinstance(raw, dict):
        return Failure(status, body[:200].decode(errors="replace") or f"HTTP status {status}", "", seconds)
    return _status(raw, status, seconds)


def _status(raw: Json, code: int, retry_after_s: float = 0.0) -> Failure:
    seconds = float((raw.get("details") or {}).get("retryAfterSeconds") or 0)
    message = raw.get("message") or f"HTTP status {code}"
    return Failure(code, message, raw.get("reason") or "", max(seconds, retry_after_s))


def _item(raw: Json, parse: Parse[T]) -> Item[T]:
    metadata = raw["metadata"]
    try:
        value = parse(raw)
    except (KeyError, IndexError, TypeError, ValueError):
        # An object of a form that a later Kubernetes invented (a new addressType) must not hide the readable ones.
        value = None
    return Item(metadata["name"], value, metadata.get("resourceVersion", ""))


def parse_endpoint_slice(raw: Json) -> EndpointSlice | None:
    """None for a slice of no Service."""
    metadata = raw["metadata"]
    service = (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL)
    if not service:
        return None
    zones: dict[str, str] = {}  # a zone's name stands in every endpoint; one string is enough
    return EndpointSlice(
        namespace=metadata["namespace"],
        service=service,
        name=metadata["name"],
        address_type=AddressType(raw["addressType"]),
        ports=tuple(_slice_port(one) for one in raw.get("ports") or () if one.get("protocol", "TCP") == "TCP"),
        endpoints=tuple(_slice_endpoint(one, zones) for one in raw.get("endpoints") or ()),
        weight=_weight((metadata.get("annotations") or {}).get(WEIGHT_ANNOTATION)),
    )


def _slice_port(raw: Json) -> SlicePort:
    return SlicePort(raw.get("name") or "", raw.get("port"), raw.get("appProtocol") or "")


def _slice_endpoint(raw: Json, zones: dict[str, str]) -> SliceEndpoint:
    zone = raw.get("zone") or ""
    hints = raw.get("hints")
    target = raw.get("targetRef")
    return SliceEndpoint(
        raw["addresses"][0],
        _condition(raw.get("conditions")),
        zones.setdefault(zone, zone),
        tuple(zones.setdefault(one["name"], one["name"]) for one in hints.get("forZones") or ()) if hints else (),
        (target.get("name") or "") if target else "",
    )


def _condition(raw: Json | None) -> Condition:
    if not raw:
        return Condition.READY
    if raw.get("terminating"):
        return Condition.STOPPED if raw.get("serving") is False else Condition.TERMINATING
    return Condition.NOT_READY if raw.get("ready") is False else Condition.READY


def _weight(annotation: str | None) -> int:
    """1 for what is no number in range: an annotation is not worth losing endpoints for."""
    if annotation is None or not annotation.isdecimal() or int(annotation) > MAX_WEIGHT:
        return 1
    return int(annotation)


def parse_service(raw: Json) -> ServiceSpec:
    metadata, spec = raw["metadata"], raw.get("spec") or {}
    return ServiceSpec(
        namespace=metadata["namespace"],
        name=metadata["name"],
        ports=tuple(_service_port(one) for one in spec.get("ports") or () if one.get("protocol", "TCP") == "TCP"),
        publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
        families=tuple(AddressType(one) for one in spec.get("ipFamilies") or ()),
        external_name=(spec.get("externalName") or "").rstrip(".") if spec.get("type") == "ExternalName" else "",
    )


def _service_port(raw: Json) -> ServicePort:
    target = raw.get("targetPort")
    return ServicePort(
        name=raw.get("name") or "",
        number=raw["port"],
        target=target if isinstance(target, int) else None,
        app_protocol=raw.get("appProtocol") or "",
    )


def parse_secret(raw: Json) -> ObjectContent:
    """A value that is no base64 is left out; the API server would not have stored it."""
    content = {}
    for key, value in (raw.get("data") or {}).items():
        try:
            content[key] = b64decode(value, validate=True)
        except Base64Error:
            continue
    return ObjectContent(raw["metadata"]["namespace"], raw["metadata"]["name"], MappingProxyType(content))


def parse_config_map(raw: Json) -> ObjectContent:
    content = {key: value.encode() for key, value in (raw.get("data") or {}).items()}
    for key, value in (raw.get("binaryData") or {}).items():
        content[key] = b64decode(value)
    return ObjectContent(raw["metadata"]["namespace"], raw["metadata"]["name"], MappingProxyType(content))
