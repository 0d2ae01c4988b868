"""Golden cases: small configurations, one per feature, and what they become.

A case is a folder of `cases/`: `gateway.yaml`, `discovered.yaml` where discovery matters (endpoints by service), and
`expected/<type>.yaml`. Its top-level key `x-types` lists the types that are worth reading for this feature; every test
runs on the whole snapshot all the same. `python -m tests.golden.update` writes `expected/`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path

import yaml

from control_plane.config.loading import Loaded, load
from control_plane.config.model.gateway import Gateway
from control_plane.endpoints import Endpoint, Endpoints, Health
from control_plane.snapshot import Snapshot
from control_plane.translate import translate
from control_plane.translate.patches import TYPES
from control_plane.translate.plain import Plain
from control_plane.translate.rendering import rendered

CASES = Path(__file__).parent / "cases"
FULL = "minimal"
SAME = "(as in the case minimal)"
_LONG = frozenset(
    {"access_log", "http2_protocol_options", "local_reply_config", "upstream_connection_options", "xds_matcher"}
)
NOW = datetime(2026, 11, 1, tzinfo=UTC)


class DiskFiles:
    """The loader's `Files` on disk."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def glob(self, pattern: str) -> Sequence[str]:
        parent, name = Path(pattern).parent, Path(pattern).name
        return [str(path) for path in parent.glob(name)]


@dataclass(frozen=True)
class Case:
    """One folder of cases/."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def loaded(self) -> Loaded:
        return load(str(self.folder / "gateway.yaml"), DiskFiles(), {}, now=NOW)

    @property
    def gateway(self) -> Gateway:
        assert self.loaded.gateway is not None, "\n".join(map(str, self.loaded.faults))
        return self.loaded.gateway

    @cached_property
    def endpoints(self) -> Endpoints:
        path = self.folder / "discovered.yaml"
        listed = yaml.safe_load(path.read_text()) if path.exists() else {}
        return {
            service: tuple(
                Endpoint(**{**endpoint, "health": Health(endpoint.get("health", "healthy"))}) for endpoint in endpoints
            )
            for service, endpoints in listed.items()
        }

    @cached_property
    def snapshot(self) -> Snapshot:
        return translate(self.gateway, self.endpoints, self.loaded.materials)

    @property
    def types(self) -> Sequence[str]:
        listed: Sequence[str] = yaml.safe_load((self.folder / "gateway.yaml").read_text()).get("x-types", tuple(TYPES))
        return listed

    def _abridged(self, value: Plain) -> Plain:
        """Without what every case says in the same words: `minimal` alone shows it."""
        if isinstance(value, list):
            return [self._abridged(item) for item in value]
        if not isinstance(value, dict) or self.name == FULL:
            return value
        return {
            key: SAME if (key, repr(item)) in said_everywhere() else self._abridged(item) for key, item in value.items()
        }

    def expected_files(self) -> dict[Path, str]:
        """What `expected/` has to hold."""
        return {
            self.folder / "expected" / f"{name}.yaml": yaml.safe_dump(
                self._abridged(resources), sort_keys=False, allow_unicode=True, width=120
            )
            for name, resources in rendered(self.snapshot, self.types).items()
        }


@cache
def said_everywhere() -> frozenset[tuple[str, str]]:
    """Members of the case `minimal` that are long and the same in nearly every other case."""
    return frozenset(_long_members(list(rendered(Case(CASES / FULL).snapshot).values())))


def _long_members(value: Plain) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _long_members(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _LONG:
                yield key, repr(item)
            yield from _long_members(item)


def cases() -> Iterator[Case]:
    """Every case, by name."""
    for folder in sorted(CASES.iterdir()):
        if (folder / "gateway.yaml").exists():
            yield Case(folder)
