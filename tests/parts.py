"""Parts of a machine that some tests need: which are there, and which have to be (GATEWAY_TEST_REQUIRE)."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from control_plane.envoy_binary import CHECKOUT, EnvoyMissingError, find_envoy

REQUIRE = "GATEWAY_TEST_REQUIRE"


class MissingError(Exception):
    """A part that this machine cannot give; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Part:
    """A marker's name, and how its program is found (raises MissingError)."""

    name: str
    find: Callable[[Mapping[str, str]], str]


def envoy(environment: Mapping[str, str]) -> str:
    """Path of the Envoy binary."""
    try:
        return find_envoy(None, environment)
    except EnvoyMissingError as error:
        raise MissingError(str(error)) from None


def redis(environment: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """Path of redis-server: on PATH, or where `make setup` puts it."""
    in_tools = checkout / ".tools" / "bin" / "redis-server"
    found = shutil.which("redis-server", path=environment.get("PATH", ""))
    if found is None and os.access(in_tools, os.X_OK):
        found = str(in_tools)
    if found is None:
        raise MissingError("redis-server is missing: run `make setup`")
    return found


def prometheus(environment: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """Folder of prometheus, promtool and amtool: where `make test-full` puts them, else that of PATH's promtool."""
    in_tools = checkout / ".tools" / "bin"
    if os.access(in_tools / "promtool", os.X_OK):
        return str(in_tools)
    found = shutil.which("promtool", path=environment.get("PATH", ""))
    if found is None:
        raise MissingError("promtool is missing: run `make test-full`")
    return str(Path(found).parent)


def locust(environment: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """Path of Locust: where `make setup` puts it, else that of PATH."""
    return _tool("locust", checkout / ".tools" / "load" / "bin" / "locust", environment)


def k6(environment: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """Path of k6: where `make setup` puts it, else that of PATH."""
    return _tool("k6", checkout / ".tools" / "bin" / "k6", environment)


def _tool(name: str, in_tools: Path, environment: Mapping[str, str]) -> str:
    if os.access(in_tools, os.X_OK):
        return str(in_tools)
    found = shutil.which(name, path=environment.get("PATH", ""))
    if found is None:
        raise MissingError(f"{name} is missing: run `make setup`")
    return found


def postgresql(environment: Mapping[str, str], installed: Path = Path("/usr/lib/postgresql")) -> str:
    """Folder of postgres and initdb: that of PATH's initdb, or where Debian keeps them, the newest."""
    found = shutil.which("initdb", path=environment.get("PATH", ""))
    folders = [Path(found).parent] if found else sorted(installed.glob("*/bin"), reverse=True)
    if not folders or not os.access(folders[0] / "postgres", os.X_OK):
        raise MissingError("PostgreSQL is missing: install Debian's `postgresql`, or put its initdb on PATH")
    return str(folders[0])


def chromium(environment: Mapping[str, str], checkout: Path = CHECKOUT) -> str:
    """Path of Chromium: $CHROMIUM_BIN, where `make test-full` puts it, or on PATH; and Playwright, which drives it."""
    if find_spec("playwright") is None or find_spec("axe_playwright_python") is None:
        raise MissingError("Playwright is missing: run `make test-full`")
    in_tools = checkout / ".tools" / "chromium" / "usr" / "lib" / "chromium" / "chromium"
    given = environment.get("CHROMIUM_BIN") or (str(in_tools) if os.access(in_tools, os.X_OK) else "")
    found = given or shutil.which("chromium", path=environment.get("PATH", ""))
    if not found:
        raise MissingError("chromium is missing: run `make test-full` on Debian, or set CHROMIUM_BIN")
    return found


def chromium_environment(program: str) -> dict[str, str]:
    """Where an unpacked Chromium finds the libraries that were unpacked with it."""
    root = Path(program).parents[3]
    if root == Path("/"):
        return {}
    folders = sorted({str(one.parent) for one in (root / "usr" / "lib").glob("*-linux-gnu/**/*.so*")})
    return {"LD_LIBRARY_PATH": ":".join(folders)}


PARTS = (
    Part("envoy", envoy),
    Part("redis", redis),
    Part("prometheus", prometheus),
    Part("locust", locust),
    Part("k6", k6),
    Part("postgresql", postgresql),
    Part("browser", chromium),
)


def missing_parts(environment: Mapping[str, str], parts: tuple[Part, ...] = PARTS) -> dict[str, str]:
    """Reason by name, for each part that is not there."""
    reasons: dict[str, str] = {}
    for part in parts:
        try:
            part.find(environment)
        except MissingError as error:
            reasons[part.name] = str(error)
    return reasons


def required_parts(environment: Mapping[str, str], parts: tuple[Part, ...] = PARTS) -> frozenset[str]:
    """`envoy,redis` -> both; raises ValueError for a name that nobody knows, which would require nothing."""
    names = frozenset(name.strip() for name in environment.get(REQUIRE, "").split(",") if name.strip())
    known = frozenset(part.name for part in parts)
    if unknown := names - known:
        raise ValueError(f"{REQUIRE}: unknown part {min(unknown)!r} ({', '.join(sorted(known))})")
    return names
