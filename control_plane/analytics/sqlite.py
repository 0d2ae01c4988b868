"""Usage in a file. A file that is damaged is put aside, never repaired: counting goes on in a new one."""

import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from control_plane.analytics.statements import schema
from control_plane.analytics.storage import Cursor, StorageError
from gateway_runtime.telemetry import logger

T = TypeVar("T")
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY_TIMEOUT_S = 5.0


class SqliteDatabase:
    """See storage.Database."""

    mark = "?"
    bytes_type = "BLOB"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = logger("analytics")
        self._connection: sqlite3.Connection | None = None

    def transaction(self, work: Callable[[Cursor], T]) -> T:
        try:
            connection = self._connected()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return work(connection.cursor())
        except sqlite3.Error as error:
            if _is_damage(error):
                self._put_aside(error)
            raise StorageError(f"{self._path}: {error}") from error
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = _opened(self._path, schema(self.bytes_type))
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._put_aside(error)
                self._connection = _opened(self._path, schema(self.bytes_type))
        return self._connection

    def _put_aside(self, error: sqlite3.Error) -> None:
        """With its journal, so that somebody can look at it."""
        self.close()
        aside = self._path.with_name(f"{self._path.name}.damaged-{int(time.time())}")
        for suffix in ("", "-wal", "-shm"):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        self._log.warning("usage_put_aside", file=str(self._path), kept_as=str(aside), reason=str(error))


def _opened(path: Path, statements: Iterable[str]) -> sqlite3.Connection:
    """Raises sqlite3.DatabaseError for a file that is damaged."""
    # Each use is by one thread, not always the same one.
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        ((answer,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
        if answer != "ok":
            error = sqlite3.DatabaseError(str(answer))
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        for statement in statements:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
