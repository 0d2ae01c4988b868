"""Configurations for tests: files in memory, and a sound document whose sections a test replaces."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatch
from textwrap import dedent

from control_plane.config.loading import Loaded, load

SECRET = "a-secret-of-at-least-32-bytes-for-tests"

SECTIONS: Mapping[str, str] = {
    "version": "version: 1",
    "name": "name: test",
    "listeners": "listeners: [{name: public, port: 10000}]",
    "services": """
        services:
          users: {endpoints: [{address: 127.0.0.1, port: 8101}]}
          events: {endpoints: [{address: 127.0.0.1, port: 8102}]}
    """,
    "auth": f"""
        auth:
          jwt:
            main: {{issuer: "https://issuer.test", algorithms: [HS256], secret: {SECRET}}}
          api_keys:
            partners: {{header: x-api-key, keys: [{{id: acme, sha256: {"ab" * 32}}}]}}
    """,
    "rate_limits": """
        rate_limits:
          by-user: {rate: 10/minute, key: [user]}
          by-ip: {rate: 10/minute, key: [client_ip]}
    """,
    "routes": "routes: [{name: users, match: {path_prefix: /users}, service: users, auth: {any_of: [jwt.main]}}]",
}


class MemoryFiles:
    """Files that are a mapping."""

    def __init__(self, files: Mapping[str, str | bytes]) -> None:
        self._files = files

    def read(self, path: str) -> bytes:
        """Return the content; raises OSError."""
        if path not in self._files:
            raise FileNotFoundError(2, "No such file or directory", path)
        content = self._files[path]
        return content if isinstance(content, bytes) else content.encode()

    def glob(self, pattern: str) -> Sequence[str]:
        """Return the names that match, in reverse order: the loader has to sort."""
        return sorted((path for path in self._files if fnmatch(path, pattern)), reverse=True)


def document(**sections: str) -> str:
    """Return the sound document with some sections replaced or added; "" leaves one out."""
    return "\n".join(dedent(text).strip() for text in {**SECTIONS, **sections}.values() if text) + "\n"


def loaded(
    text: str,
    files: Mapping[str, str | bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Loaded:
    """Load a text as gateway.yaml in the folder conf."""
    return load(
        "conf/gateway.yaml", MemoryFiles({"conf/gateway.yaml": text, **(files or {})}), environment or {}, now=now
    )


def faults(**sections: str) -> list[str]:
    """Return `path: message` of every fault of the document with these sections."""
    return [f"{fault.path}: {fault.message}" for fault in loaded(document(**sections)).faults]


def warnings(**sections: str) -> list[str]:
    """Return `path: message` of every warning of the document with these sections, which has no fault."""
    result = loaded(document(**sections))

    assert () == result.faults

    return [f"{warning.path}: {warning.message}" for warning in result.warnings]


def route(text: str, defaults: str = "") -> list[str]:
    """Return the faults of one route (a flow mapping without braces), `routes[0].` left out."""
    found = faults(routes="routes: [{name: r, " + text + "}]", defaults=defaults)
    return [fault.removeprefix("routes[0].") for fault in found]
