"""Gateways for tests, from YAML text."""

from collections.abc import Mapping, Sequence

from control_plane.config.loading import load
from control_plane.config.model.gateway import Gateway

HEAD = """
version: 1
name: test
listeners: [{name: public, port: 10000}]
services: {users: {endpoints: [{address: 127.0.0.1, port: 8101}]}}
"""


class _Text:
    def __init__(self, text: str, files: Mapping[str, bytes]) -> None:
        self._files = {"gateway.yaml": text.encode(), **files}

    def read(self, path: str) -> bytes:
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def glob(self, pattern: str) -> Sequence[str]:
        return []


def gateway(text: str, *, head: str = HEAD, **files: bytes) -> Gateway:
    """Load a configuration that has to be without faults."""
    loaded = load("gateway.yaml", _Text(head + text, files), {})
    assert loaded.gateway is not None, "\n".join(map(str, loaded.faults))
    return loaded.gateway
