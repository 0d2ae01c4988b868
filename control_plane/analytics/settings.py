"""What the analytics process is told at its start: flags, each of them also a variable."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, in `process`."""

    address: str
    http_address: str
    state_dir: Path
    """Holds the SQLite file."""
    database: str = field(repr=False)
    """postgresql://...; "" is SQLite. May hold a password."""
    http_token: str = field(repr=False)
    max_consumers: int
    max_rows: int
    envoy_stats_port: int
    """0: losses are not looked for."""

    @property
    def sqlite_file(self) -> Path:
        return self.state_dir / "usage.sqlite"
