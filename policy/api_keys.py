"""Credentials of programs as the control plane ships them: digests of API keys, secrets of those that sign."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from policy.errors import PolicyError


@dataclass(frozen=True, slots=True, eq=False)
class ApiKey:
    id: str
    sha256: bytes
    attributes: Mapping[str, str]


def api_keys(text: bytes) -> Mapping[bytes, ApiKey]:
    """Parse `[{"id": "acme", "sha256": "<64 hex digits>", "attributes": {"tier": "gold"}}, ...]`, by digest.

    One id may own several keys (a rotation has two alive); one key cannot belong to two ids.

    Raises:
        PolicyError: with the position of the entry, never with its content.
    """
    entries = _entries(text, "API keys")
    keys: dict[bytes, ApiKey] = {}
    for index, entry in enumerate(entries):
        key = _api_key(entry, index)
        if key.sha256 in keys and keys[key.sha256].id != key.id:
            raise PolicyError(f"API key {index}: the same key as another id's")
        keys[key.sha256] = key
    return MappingProxyType(keys)


def _api_key(entry: object, index: int) -> ApiKey:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
        raise PolicyError(f"API key {index}: no id")
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise PolicyError(f"API key {index}: attributes have to be text")
    try:
        sha256 = bytes.fromhex(entry.get("sha256", ""))
    except (TypeError, ValueError):
        sha256 = b""
    if len(sha256) != 32:
        raise PolicyError(f"API key {index}: sha256 has to be 64 hex digits")
    return ApiKey(entry["id"], sha256, MappingProxyType(attributes))


MIN_SECRET_BYTES = 16
"""Of a secret that signs requests: 128 bits."""


def signing_secrets(text: bytes) -> Mapping[str, tuple[bytes, ...]]:
    """Parse `[{"id": "billing", "secret": "..."}, ...]`, by id; an id may have several (a rotation has two alive).

    Raises:
        PolicyError: with the position of the entry, never with its content.
    """
    secrets: dict[str, tuple[bytes, ...]] = {}
    for index, entry in enumerate(_entries(text, "signing clients")):
        match entry:
            case {"id": str(name), "secret": str(secret)} if name:
                if len(secret.encode()) < MIN_SECRET_BYTES:
                    raise PolicyError(f"signing client {index}: a secret of less than {MIN_SECRET_BYTES} bytes")
                secrets[name] = (*secrets.get(name, ()), secret.encode())
            case _:
                raise PolicyError(f"signing client {index}: no id, or no secret")
    return MappingProxyType(secrets)


def _entries(text: bytes, what: str) -> list[object]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise PolicyError(f"{what} that are not JSON") from None
    if not isinstance(entries, list):
        raise PolicyError(f"{what} that are not a list")
    return entries
