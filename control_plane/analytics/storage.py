"""Usage in a database: SQLite or PostgreSQL, by the same statements.

Counts are added to the bucket of the minute, of the hour and of the day, so that each window of the report reads few
rows. A bucket's rows are bounded: of too many the smallest are added up under the consumer OTHER.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from control_plane.analytics import latency
from control_plane.analytics import statements as sql
from control_plane.analytics.entries import OTHER, Deprecation, Key
from control_plane.analytics.tally import Batch, Place
from control_plane.analytics.windows import WINDOWS, Window, bucket, expired_before

T = TypeVar("T")
Row = Sequence[Any]
"""As a driver returns it; it is given a type where it is read."""
_ROWS_AT_ONCE = 500
MAX_CALLERS = 100
"""Of one deprecated place, the last ones."""


class StorageError(Exception):
    """The database could not do it; its own words."""


class Cursor(Protocol):
    """Of Python's database interface (PEP 249), as far as it is used."""

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> object: ...

    def fetchall(self) -> list[Row]: ...


class Database(Protocol):
    """Used by one thread at a time."""

    @property
    def mark(self) -> str:
        """How its statements write a parameter."""
        ...

    def transaction(self, work: Callable[[Cursor], T]) -> T:
        """All of the work or nothing. Raises StorageError."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Count:
    """Requests that have something in common."""

    name: str
    requests: int
    client_errors: int
    """4xx."""
    server_errors: int
    """5xx."""
    bytes: int


@dataclass(frozen=True, slots=True)
class DeprecatedUse:
    """A deprecated place with its use in the window."""

    place: Place
    deprecation: Deprecation
    requests: int
    consumers: int
    callers: tuple[tuple[str, int, float], ...]
    """Consumer, requests so far, when last; the last one first."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a report is made of."""

    totals: Count
    consumers: int
    by: dict[str, list[Count]]
    """By consumer, route, version, status: those with the most requests."""
    latency: dict[Place, latency.Bins]
    deprecated: tuple[DeprecatedUse, ...]
    lost: int


DIMENSIONS = ("consumer", "route", "version", "status")


class Storage:
    """All statements; a database runs them."""

    def __init__(self, database: Database, *, max_rows: int) -> None:
        """
        Args:
            max_rows: of one bucket; it may grow to twice as many before the smallest are added up.
        """
        self._database = database
        self._max_rows = max_rows

    def close(self) -> None:
        self._database.close()

    def add(self, batch: Batch, at_s: float, *, lost: int = 0, accounts: Mapping[str, str] | None = None) -> None:
        """Add everything of a batch, as of a moment, with what is known of losses by then."""

        def work(cursor: Cursor) -> None:
            for window in WINDOWS.values():
                start = bucket(at_s, window.bucket_s)
                self._add_usage(cursor, window.bucket_s, start, batch)
                self._add_latency(cursor, window.bucket_s, start, batch)
                if lost:
                    self._run(cursor, sql.ADD_LOST, (window.bucket_s, start, lost))
                self._fold_smallest(cursor, window.bucket_s, start)
            self._add_deprecated(cursor, batch, at_s)
            self._keep_accounts(cursor, accounts or {})

        self._database.transaction(work)

    def accounts(self) -> dict[str, str]:
        """What is kept of each Envoy (see losses), by node."""

        def work(cursor: Cursor) -> list[Row]:
            cursor.execute("SELECT node, account FROM analytics_accounts")
            return cursor.fetchall()

        return {str(node): str(text) for node, text in self._database.transaction(work)}

    def expire(self, now_s: float) -> None:
        """Remove what no window needs any more."""

        def work(cursor: Cursor) -> None:
            for window in WINDOWS.values():
                for table in ("analytics_usage", "analytics_latency", "analytics_lost"):
                    statement = f"DELETE FROM {table} WHERE bucket_s = ? AND bucket < ?"
                    self._run(cursor, statement, (window.bucket_s, expired_before(window, now_s)))
            oldest = expired_before(WINDOWS["30d"], now_s)
            for table in ("analytics_callers", "analytics_deprecated"):
                self._run(cursor, f"DELETE FROM {table} WHERE last_seen < ?", (float(oldest),))

        self._database.transaction(work)

    def find(self, window: Window, now_s: float, *, gateway: str = "", top: int = 20) -> Found:
        """What the report of a window needs.

        Args:
            gateway: only its; "" is all of them.
            top: how many of each kind are named.
        """
        condition, parameters = _condition(window, now_s, gateway)

        def work(cursor: Cursor) -> Found:
            def rows(statement: str, *more: object) -> list[Row]:
                self._run(cursor, statement, (*parameters, *more))
                return cursor.fetchall()

            (totals,) = rows(f"SELECT 'total', {sql.SUMS} FROM analytics_usage WHERE {condition}")
            ((consumers,),) = rows(f"SELECT {sql.CONSUMERS} FROM analytics_usage WHERE {condition}")
            by = {
                name: [
                    _count(row) for row in rows(sql.top(name, condition), *([OTHER] if name == "consumer" else []), top)
                ]
                for name in DIMENSIONS
            }
            bodies: dict[Place, list[bytes]] = {}
            for *place, body in rows(
                f"SELECT gateway, route, version, sketch FROM analytics_latency WHERE {condition}"
            ):
                bodies.setdefault(Place(*place), []).append(bytes(body))
            return Found(
                _count(totals),
                int(consumers),
                by,
                {place: latency.merged(each) for place, each in bodies.items()},
                tuple(self._deprecated(cursor, window, now_s, gateway)),
                self._lost(cursor, window, now_s),
            )

        return self._database.transaction(work)

    def series(self, window: Window, now_s: float, *, gateway: str = "", limit: int) -> list[tuple[Key, int, int]]:
        """Requests and bytes by everything that they are counted by, the most requests first."""
        condition, parameters = _condition(window, now_s, gateway)
        columns = "gateway, consumer, route, version, status"
        statement = (
            f"SELECT {columns}, SUM(requests), SUM(bytes) FROM analytics_usage WHERE {condition} "
            f"GROUP BY {columns} ORDER BY 6 DESC, 1, 2, 3, 4, 5 LIMIT ?"
        )

        def work(cursor: Cursor) -> list[Row]:
            self._run(cursor, statement, (*parameters, limit))
            return cursor.fetchall()

        return [
            (Key(str(row[0]), str(row[1]), str(row[2]), str(row[3]), int(row[4])), int(row[5]), int(row[6]))
            for row in self._database.transaction(work)
        ]

    def _run(self, cursor: Cursor, statement: str, parameters: Sequence[object] = ()) -> None:
        cursor.execute(statement.replace("?", self._database.mark), parameters)

    def _run_many(self, cursor: Cursor, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Insert rows, many with one statement: a round trip for each would take longer than a flush may."""
        waiting = list(rows)
        for start in range(0, len(waiting), _ROWS_AT_ONCE):
            chunk = waiting[start : start + _ROWS_AT_ONCE]
            one = f"({', '.join('?' * len(chunk[0]))})"
            values = ", ".join([one] * len(chunk))
            self._run(cursor, statement.replace(one, values, 1), [value for row in chunk for value in row])

    def _keep_accounts(self, cursor: Cursor, accounts: Mapping[str, str]) -> None:
        cursor.execute("DELETE FROM analytics_accounts")
        self._run_many(cursor, "INSERT INTO analytics_accounts VALUES (?, ?)", sorted(accounts.items()))

    def _add_usage(self, cursor: Cursor, bucket_s: int, start: int, batch: Batch) -> None:
        rows = [(bucket_s, start, *key, sums.requests, sums.bytes) for key, sums in sorted(batch.usage.items())]
        self._run_many(cursor, sql.ADD_USAGE, rows)

    def _add_latency(self, cursor: Cursor, bucket_s: int, start: int, batch: Batch) -> None:
        for place, bins in sorted(batch.latency.items()):
            at = (bucket_s, start, *place)
            self._run(cursor, f"SELECT sketch FROM analytics_latency WHERE {sql.AT_PLACE}", at)
            total = latency.merged(bytes(row[0]) for row in cursor.fetchall())
            latency.add(total, bins)
            self._run(cursor, sql.PUT_LATENCY, (*at, latency.packed(total)))

    def _add_deprecated(self, cursor: Cursor, batch: Batch, at_s: float) -> None:
        for place, known in sorted(batch.deprecations.items()):
            self._run(cursor, sql.PUT_DEPRECATED, (*place, known.since, known.sunset, known.successor, at_s))
        rows = [
            (*caller.place, caller.consumer, call.requests, call.last_seen_s)
            for caller, call in sorted(batch.callers.items())
        ]
        self._run_many(cursor, sql.ADD_CALLER, rows)
        for place in sorted({caller.place for caller in batch.callers}):
            self._run(cursor, sql.OLDEST_CALLER, (*place, MAX_CALLERS - 1))
            for (last_seen,) in cursor.fetchall():
                self._run(cursor, sql.FORGET_CALLERS, (*place, last_seen))

    def _fold_smallest(self, cursor: Cursor, bucket_s: int, start: int) -> None:
        """Add up the smallest rows of a bucket that has too many, those of other consumers than OTHER."""
        at = (bucket_s, start)
        self._run(cursor, "SELECT COUNT(*) FROM analytics_usage WHERE bucket_s = ? AND bucket = ?", at)
        if cursor.fetchall()[0][0] <= 2 * self._max_rows:
            return
        self._run(cursor, sql.LAST_KEPT, (*at, OTHER, self._max_rows - 1))
        for requests, consumer in cursor.fetchall():
            tail = (*at, OTHER, requests, requests, consumer)
            self._run(cursor, sql.FOLD, (OTHER, *tail))
            self._run(cursor, f"DELETE FROM analytics_usage WHERE {sql.TAIL}", tail)

    def _deprecated(self, cursor: Cursor, window: Window, now_s: float, gateway: str) -> Iterator[DeprecatedUse]:
        first = window.first_bucket(now_s)
        self._run(cursor, sql.DEPRECATED, (first, gateway, gateway))
        for *names, since, sunset, successor in cursor.fetchall():
            place = Place(*map(str, names))
            self._run(cursor, sql.USE_OF_PLACE, (window.bucket_s, first, *place))
            ((requests, consumers),) = cursor.fetchall()
            self._run(cursor, sql.CALLERS, place)
            callers = tuple((str(name), int(calls), float(when)) for name, calls, when in cursor.fetchall())
            yield DeprecatedUse(
                place, Deprecation(str(since), str(sunset), str(successor)), int(requests), int(consumers), callers
            )

    def _lost(self, cursor: Cursor, window: Window, now_s: float) -> int:
        statement = "SELECT COALESCE(SUM(requests), 0) FROM analytics_lost WHERE bucket_s = ? AND bucket >= ?"
        self._run(cursor, statement, (window.bucket_s, window.first_bucket(now_s)))
        return int(cursor.fetchall()[0][0])


def _condition(window: Window, now_s: float, gateway: str) -> tuple[str, tuple[object, ...]]:
    parameters = (window.bucket_s, window.first_bucket(now_s))
    condition = "bucket_s = ? AND bucket >= ?"
    return (f"{condition} AND gateway = ?", (*parameters, gateway)) if gateway else (condition, parameters)


def _count(row: Row) -> Count:
    name, *numbers = row
    return Count(str(name), *map(int, numbers))
