"""The files that a configuration names: their paths, their content, and whether it is what it should be."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import is_
from posixpath import dirname, join
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from control_plane.config.api_keys_file import ApiKeysFileError, parse_api_keys
from control_plane.config.faults import Path
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.routes import RoutePolicies
from control_plane.config.model.transform import Transform
from control_plane.config.openapi_file import openapi_faults
from control_plane.config.rules.report import Report
from control_plane.config.tree import Entry, Items, Keys, Node, Text

Materials = Mapping[str, bytes]
"""Content of every file that the configuration names, by its path as it stands in the model."""

_FILE_KEYS = frozenset({"certificate_file", "private_key_file", "client_ca_file", "ca_file", "jwks_file", "keys_file"})
_SECTIONS = ("listeners", "services", "auth")
_POLICIES = ("routes", "defaults")


class Reader(Protocol):
    """Gives the content of a file or raises OSError."""

    def read(self, path: str) -> bytes: ...


def with_joined_paths(root: Keys) -> Keys:
    """Return the tree with every file name relative to the folder of the YAML file that names it."""
    entries = {
        key: entry._replace(value=_joined(entry.value))
        if key in _SECTIONS
        else entry._replace(value=_with_documents(entry.value))
        if key in _POLICIES
        else entry
        for key, entry in root.entries.items()
    }
    return replace(root, entries=entries)


def _joined(node: Node) -> Node:
    """The very same node if it names no file."""
    if isinstance(node, Items):
        items = tuple(_joined(item) for item in node.items)
        return node if all(map(is_, items, node.items)) else replace(node, items=items)
    if isinstance(node, Text):
        return node
    entries = {}
    for key, entry in node.entries.items():
        value = entry.value
        if isinstance(value, Text):
            if key in _FILE_KEYS and (beside := _beside(value)) is not value:
                entries[key] = Entry(entry.key_at, beside)
        elif (joined := _joined(value)) is not value:
            entries[key] = Entry(entry.key_at, joined)
    return replace(node, entries={**node.entries, **entries}) if entries else node


def _beside(value: Node) -> Node:
    if isinstance(value, Text) and value.text and not value.is_null:
        return value._replace(text=join(dirname(value.at.file), value.text))
    return value


def _with_documents(node: Node, steps: Sequence[str] = ("transform", "", "validate", "openapi")) -> Node:
    """The same for transform.*.validate.openapi of a route, of each one of a list, or of `defaults`."""
    if isinstance(node, Items):
        items = tuple(_with_documents(item, steps) for item in node.items)
        return node if all(map(is_, items, node.items)) else replace(node, items=items)
    if isinstance(node, Text):
        return node if steps else _beside(node)
    entries = {}
    for key in (steps[0],) if steps and steps[0] else node.entries if steps else ():
        if (entry := node.entries.get(key)) is not None:
            value = _with_documents(entry.value, steps[1:])
            if value is not entry.value:
                entries[key] = entry._replace(value=value)
    return replace(node, entries={**node.entries, **entries}) if entries else node


def named_files(gateway: Gateway) -> Iterator[tuple[Path, str]]:
    """Every file that the model names, with the path of its key."""
    for place, listener in enumerate(gateway.listeners):
        path: Path = ("listeners", place)
        if listener.client_ca_file:
            yield (*path, "client_ca_file"), listener.client_ca_file
        for number, certificate in enumerate(listener.tls or ()):
            for key in ("certificate_file", "private_key_file"):
                if file := getattr(certificate, key):
                    yield (*path, "tls", number, key), file
    for name, service in gateway.services.items():
        for key in ("ca_file", "certificate_file", "private_key_file"):
            if service.tls is not None and (file := getattr(service.tls, key)):
                yield ("services", name, "tls", key), file
    for name, provider in gateway.auth.jwt.items():
        if provider.jwks_file:
            yield ("auth", "jwt", name, "jwks_file"), provider.jwks_file
    for name, keys in gateway.auth.api_keys.items():
        if keys.keys_file:
            yield ("auth", "api_keys", name, "keys_file"), keys.keys_file
    yield from _documents(("defaults",), gateway.defaults)
    for place, route in enumerate(gateway.routes):
        yield from _documents(("routes", place), route)


def _documents(path: Path, policies: RoutePolicies) -> Iterator[tuple[Path, str]]:
    if isinstance(policies.transform, Transform):
        for side, rules in (("request", policies.transform.request), ("response", policies.transform.response)):
            if rules.validation is not None and rules.validation.openapi:
                yield (*path, "transform", side, "validate", "openapi"), rules.validation.openapi


def read_materials(gateway: Gateway, files: Reader, report: Report, now: datetime | None) -> Materials:
    """Read every named file; one that is missing or unusable is a fault of the line that names it."""
    materials: dict[str, bytes] = {}
    for path, file in named_files(gateway):
        path = _in_file(report, path)
        try:
            materials[file] = materials[file] if file in materials else files.read(file)
        except OSError as error:
            report.fault(path, f"cannot read {file}: {error.strerror or error}")
            continue
        if path[-1] == "openapi":
            report.faults += openapi_faults(file, materials[file])
        elif problem := _content_fault(str(path[-1]), materials[file]):
            report.fault(path, f"{file} {problem}")
    for path, certificate, key in _pairs(gateway):
        _check_pair(path, materials.get(certificate), materials.get(key), report, now)
    return materials


def _content_fault(key: str, content: bytes) -> str | None:
    match key:
        case "certificate_file" | "client_ca_file" | "ca_file":
            return None if _certificates(content) else "holds no certificate (PEM)"
        case "private_key_file":
            return None if _private_key(content) else "holds no private key (PEM, without a passphrase)"
        case "jwks_file":
            return _jwks_fault(content)
    try:
        parse_api_keys(content)
    except ApiKeysFileError as error:
        return str(error)
    return None


def _jwks_fault(content: bytes) -> str | None:
    try:
        jwks = json.loads(content)
    except (ValueError, RecursionError):
        return "is not JSON (a JWK Set)"
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list) or not keys or not all(isinstance(key, dict) and "kty" in key for key in keys):
        return 'is not a JWK Set ({"keys": [{"kty": ...}]})'
    if any("d" in key for key in keys):
        return "holds a private key (publish the public part only)"
    return None


def _pairs(gateway: Gateway) -> Iterator[tuple[Path, str, str]]:
    for place, listener in enumerate(gateway.listeners):
        for number, pair in enumerate(listener.tls or ()):
            if pair.certificate_file and pair.private_key_file:
                yield ("listeners", place, "tls", number), pair.certificate_file, pair.private_key_file
    for name, service in gateway.services.items():
        if service.tls and service.tls.certificate_file and service.tls.private_key_file:
            yield ("services", name, "tls"), service.tls.certificate_file, service.tls.private_key_file


def _check_pair(path: Path, certificate: bytes | None, key: bytes | None, report: Report, now: datetime | None) -> None:
    leaf = next(iter(_certificates(certificate)), None) if certificate is not None else None
    private_key = _private_key(key) if key is not None else None
    if leaf is None:
        return
    if private_key is not None and _public(leaf.public_key()) != _public(private_key.public_key()):
        message = "does not belong to the certificate (its own key)"
        report.fault(_in_file(report, (*path, "private_key_file")), message)
    if now is not None and leaf.not_valid_after_utc <= now:
        message = f"expired on {leaf.not_valid_after_utc.date()} (a new certificate)"
        report.warn(_in_file(report, (*path, "certificate_file")), message)


def _in_file(report: Report, path: Path) -> Path:
    """The path as the file has it: where `tls` is one mapping, there is no list."""
    return path if report.is_written(path) else (*path[:-2], path[-1])


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]  # every public key class has it


def _certificates(content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        return []


def _private_key(content: bytes) -> PrivateKeyTypes | None:
    try:
        return load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
