"""Usage in PostgreSQL, by pg8000. A connection that is lost is made again by the next transaction."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from pg8000 import dbapi

from control_plane.analytics.statements import schema
from control_plane.analytics.storage import Cursor, StorageError

T = TypeVar("T")
_PORT = 5432
_TIMEOUT_S = 10.0
_SSL_MODES = ("disable", "require", "verify-full")


class PostgresqlDatabase:
    """See storage.Database."""

    mark = "%s"
    bytes_type = "BYTEA"

    def __init__(self, url: str) -> None:
        """
        Args:
            url: postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=disable|require|verify-full; `host=/FOLDER`
                in the query is a Unix socket's. Without sslmode: disable.

        Raises:
            ValueError: it is not one; the text does not hold it.
        """
        self._arguments = _arguments(url)
        self._connection: Any = None

    def transaction(self, work: Callable[[Cursor], T]) -> T:
        try:
            connection = self._connected()
            result = work(connection.cursor())
            connection.commit()
        except (dbapi.Error, OSError) as error:
            self._reset(error)
            raise StorageError(f"PostgreSQL: {_reason(error)}") from None
        except BaseException:
            self.close()
            raise
        return result

    def close(self) -> None:
        """Without what was not committed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(dbapi.Error, OSError):
                connection.close()

    def _connected(self) -> Any:
        if self._connection is None:
            self._connection = dbapi.connect(
                **self._arguments, timeout=_TIMEOUT_S, application_name="gateway-analytics"
            )
            cursor = self._connection.cursor()
            for statement in schema(self.bytes_type):
                cursor.execute(statement)
            self._connection.commit()
        return self._connection

    def _reset(self, error: Exception) -> None:
        """What the server refuses leaves the connection as it is; everything else may have broken it."""
        if not isinstance(error, dbapi.DatabaseError) or self._connection is None:
            self.close()
            return
        try:
            self._connection.rollback()
        except (dbapi.Error, OSError):
            self.close()


def _arguments(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    mode, folder = query.get("sslmode", _SSL_MODES[0]), query.get("host", "")
    if parts.scheme not in ("postgresql", "postgres") or mode not in _SSL_MODES or query.keys() - {"sslmode", "host"}:
        raise ValueError(f"no postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode={'|'.join(_SSL_MODES)}")
    port = parts.port or _PORT
    where = (
        {"unix_sock": f"{folder}/.s.PGSQL.{port}"} if folder else {"host": parts.hostname or "localhost", "port": port}
    )
    user = unquote(parts.username or "postgres")
    return {
        **where,
        "user": user,
        "password": unquote(parts.password) if parts.password is not None else None,
        "database": unquote(parts.path.removeprefix("/")) or user,
        "ssl_context": _ssl_context(mode),
    }


def _ssl_context(mode: str) -> ssl.SSLContext | None:
    if mode == "disable":
        return None
    context = ssl.create_default_context()
    if mode == "require":
        # As libpq has it: encrypted, with whoever answers.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: Exception) -> str:
    """PostgreSQL's message without its fields; never the URL, which may hold a password."""
    told = error.args[0] if error.args else ""
    return str(told.get("M", "refused")) if isinstance(told, dict) else str(told) or type(error).__name__
