"""ProcessingPolicy in compiled form: what ext_proc does on the routes that name it.

`compile_policy` is all or nothing, and collects every fault; the control plane's `validate` runs it on what it would
send, ext_proc on what it receives.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from policy.cache_key import QueryRules, parameter_fault
from policy.errors import PolicyError
from policy.templates import template
from policy.transform_compiler import compile_transform
from policy.transforms import Transform
from protos.gateway.policy.v1 import processing_pb2

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_FRAMING = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    }
)
"""Envoy and HTTP own them; changing one corrupts the message or is silently refused by Envoy at run time."""
_OWN_PREFIXES = ("x-envoy-", "x-gateway-")
_LARGEST_BODY = 64 << 20


class Scope(Enum):
    """Who may get an entry."""

    PUBLIC = "public"
    USER = "user"


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """Changes of one message's headers, in the order remove, set, append; names are lower case and no name of `set` is
    in `remove`.
    """

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    append: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.set or self.append)


@dataclass(frozen=True, slots=True)
class StoreName:
    """A Redis by the Secret that holds its address, and the part of it that is ours."""

    secret: str
    prefix: str


@dataclass(frozen=True, slots=True)
class CacheRules:
    """What an operator adds where the origin says nothing; durations in seconds."""

    ttl_s: float | None
    """Freshness of responses for which the origin gives none; None: RFC 9111's heuristic."""
    vary: tuple[str, ...]
    scope: Scope
    max_body_bytes: int
    stale_while_revalidate_s: float
    stale_if_error_s: float
    ignore_no_store: bool
    ignore_private: bool
    ignore_set_cookie: bool
    query: QueryRules | None = None
    """None: every parameter is part of the key."""
    store: StoreName | None = None
    """What replicas share; None: the memory of each."""


@dataclass(frozen=True, slots=True)
class Processing:
    """One policy, ready to be followed."""

    name: str
    digest: str
    """Of its content, the name left out: two policies of equal content may share what they stored."""
    cache_name: str
    """The gateway as Cache-Status writes it: a token, or a quoted string (RFC 9211 section 2)."""
    cache: CacheRules | None
    request: HeaderChanges
    """The same for every request."""
    response: HeaderChanges
    """The same for every response."""
    transform: Transform | None = None
    """What depends on the message."""
    invalidates: bool = False
    """Nothing is stored here, but successful unsafe requests make stored responses invalid."""


def compile_policy(message: processing_pb2.ProcessingPolicy) -> Processing:
    """
    Raises:
        PolicyError: one line for each thing that is wrong.
    """
    faults = [
        *_header_faults("request", message.request),
        *_header_faults("response", message.response),
        *_cache_faults(message),
    ]
    transform = compile_transform(message, faults)
    if faults:
        raise PolicyError(f"{message.name}: " + "; ".join(faults))
    return Processing(
        name=message.name,
        digest=_digest(message),
        cache_name=_cache_name(message.gateway),
        cache=_cache_rules(message.cache, transform) if message.HasField("cache") else None,
        request=_header_changes(message.request),
        response=_header_changes(message.response),
        transform=transform,
        invalidates=message.invalidates,
    )


def cache_namespace(processing: Processing, route: str) -> str:
    """What separates the entries of one route under one version of its policy from all others.

    The route counts, since two routes with equal policies may lead the same URI to different services; the content
    counts, so that nothing stored under other rules is ever served.
    """
    return f"{processing.digest}/{route}"


def _digest(message: processing_pb2.ProcessingPolicy) -> str:
    content = processing_pb2.ProcessingPolicy()
    content.CopyFrom(message)
    content.ClearField("name")
    # Responses are the same wherever they are kept.
    if content.HasField("cache"):
        content.cache.ClearField("store")
    return hashlib.sha256(content.SerializeToString(deterministic=True)).hexdigest()[:16]


def _cache_name(gateway: str) -> str:
    if re.fullmatch(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*", gateway):
        return gateway
    escaped = gateway.encode("ascii", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _cache_rules(message: processing_pb2.CachePolicy, transform: Transform | None) -> CacheRules:
    """What the rules of `transform` read of a request selects what is stored, as the origin's Vary does."""
    overrides = set(message.overrides)
    reads = transform.reads if transform is not None else frozenset()
    return CacheRules(
        ttl_s=_seconds(message.ttl.seconds, message.ttl.nanos) if message.HasField("ttl") else None,
        vary=tuple(sorted({name.lower() for name in message.vary} | reads)),
        scope=Scope.USER if message.scope == processing_pb2.CachePolicy.USER else Scope.PUBLIC,
        max_body_bytes=message.max_body_bytes,
        stale_while_revalidate_s=_seconds(message.stale_while_revalidate.seconds, message.stale_while_revalidate.nanos),
        stale_if_error_s=_seconds(message.stale_if_error.seconds, message.stale_if_error.nanos),
        ignore_no_store=processing_pb2.CachePolicy.NO_STORE in overrides,
        ignore_private=processing_pb2.CachePolicy.PRIVATE in overrides,
        ignore_set_cookie=processing_pb2.CachePolicy.SET_COOKIE in overrides,
        query=query_rules(message.query) if message.HasField("query") else None,
        store=StoreName(message.store.url_secret, message.store.prefix) if message.HasField("store") else None,
    )


def query_rules(message: processing_pb2.QueryParameters) -> QueryRules:
    """Which parameters of the query are part of the key."""
    return QueryRules(message.kind == processing_pb2.QueryParameters.ALLOW, tuple(message.names))


def _seconds(seconds: int, nanos: int) -> float:
    return seconds + nanos / 1e9


def _cache_faults(message: processing_pb2.ProcessingPolicy) -> Iterator[str]:
    if not message.HasField("cache"):
        return
    cache = message.cache
    if not message.gateway:
        yield "gateway: is empty, but Cache-Status needs a name"
    if cache.scope == processing_pb2.CachePolicy.SCOPE_UNSPECIFIED:
        yield "cache.scope: is not set (user or public)"
    if not 0 < cache.max_body_bytes <= _LARGEST_BODY:
        yield f"cache.max_body: {cache.max_body_bytes} bytes (1 byte to {_LARGEST_BODY >> 20}MiB)"
    for name in cache.vary:
        if not _TOKEN.fullmatch(name.lower()):
            yield f"cache.vary: {name!r} is not a header name"
    for what, duration in (
        ("ttl", cache.ttl),
        ("stale_while_revalidate", cache.stale_while_revalidate),
        ("stale_if_error", cache.stale_if_error),
    ):
        if duration.seconds < 0 or duration.nanos < 0:
            yield f"cache.{what}: is negative"
    if cache.HasField("query"):
        if cache.query.kind == processing_pb2.QueryParameters.KIND_UNSPECIFIED:
            yield "cache.query: neither allow nor ignore"
        for name in cache.query.names:
            if fault := parameter_fault(name):
                yield f"cache.query: {name!r} {fault}"


def _header_changes(message: processing_pb2.MessageTransform) -> HeaderChanges:
    """Those that are the same for every message."""
    to_set = dict(_literal(message.set_headers))
    removed = dict.fromkeys(name.lower() for name in message.remove_headers)
    return HeaderChanges(
        remove=tuple(name for name in removed if name not in to_set),
        set=tuple(to_set.items()),
        append=tuple(_literal(message.add_headers)),
    )


def _literal(headers: Iterable[processing_pb2.Header]) -> Iterator[tuple[str, str]]:
    for header in headers:
        text = template(header.value)
        if text.is_literal:
            yield header.name.lower(), _octets("".join(map(str, text.parts)))


def _octets(value: str) -> str:
    """The value as one character an octet, the form that header values have everywhere in ext_proc."""
    return value.encode().decode("latin-1")


def _header_faults(where: str, message: processing_pb2.MessageTransform) -> Iterator[str]:
    yield from _name_faults(f"{where}.headers.remove", message.remove_headers)
    for rename in message.rename_headers:
        yield from _name_faults(f"{where}.headers.rename", (rename.name, rename.to))
    for what, headers in (("set", message.set_headers), ("add", message.add_headers)):
        yield from _name_faults(f"{where}.headers.{what}", [header.name for header in headers])
        for header in headers:
            if not _VALUE.fullmatch(header.value):
                yield f"{where}.headers.{what}.{header.name}: the value holds control characters"


def _name_faults(where: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        lower = name.lower()
        if lower.startswith(":") or lower in _FRAMING:
            yield f"{where}.{name}: belongs to HTTP's framing or routing and cannot be changed here"
        elif lower.startswith(_OWN_PREFIXES):
            yield f"{where}.{name}: x-envoy-* and x-gateway-* belong to the gateway"
        elif not _TOKEN.fullmatch(lower):
            yield f"{where}.{name}: is not a header name"
