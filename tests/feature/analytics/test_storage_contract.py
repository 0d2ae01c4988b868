"""What a storage does, in SQLite and in PostgreSQL alike."""

from collections.abc import Sequence

import pytest

from control_plane.analytics.entries import OTHER, Counted, Key
from control_plane.analytics.storage import MAX_CALLERS, Database, Storage
from control_plane.analytics.tally import Batch, Place, Tally
from control_plane.analytics.windows import DAY_S, HOUR_S, WINDOWS
from tests.unit.control_plane.analytics.samples import DEPRECATION, one

pytestmark = pytest.mark.xdist_group("analytics storage")

NOW_S = 1_795_946_430.0


def batch(*entries: Counted, at_s: float = NOW_S) -> Batch:
    tally = Tally(100_000)
    for entry in entries:
        tally.add(entry, at_s)
    return tally.drain()


def stored(database: Database, *entries: Counted, max_rows: int = 1000) -> Storage:
    storage = Storage(database, max_rows=max_rows)
    storage.add(batch(*entries), NOW_S)
    return storage


def requests(storage: Storage, window: str = "1h", now_s: float = NOW_S, gateway: str = "") -> int:
    return storage.find(WINDOWS[window], now_s, gateway=gateway).totals.requests


def names(counts: Sequence[object]) -> list[str]:
    return [str(getattr(count, "name")) for count in counts]  # noqa: B009 - of any kind of count


def test_counts_add_up_over_flushes(database: Database) -> None:
    """By every dimension, with errors and bytes."""
    storage = stored(database, one(), one(status=404), one("key:acme", status=503, route="other", version="v2"))
    storage.add(batch(one()), NOW_S + 1)
    found = storage.find(WINDOWS["1h"], NOW_S + 1)

    assert (4, 1, 1, 40) == (
        found.totals.requests,
        found.totals.client_errors,
        found.totals.server_errors,
        found.totals.bytes,
    )
    assert 2 == found.consumers
    assert {"consumer": ["user:alice", "key:acme"], "route": ["users", "other"], "version": ["v1", "v2"]} == {
        name: names(found.by[name]) for name in ("consumer", "route", "version")
    }
    assert {"200": 2, "404": 1, "503": 1} == {count.name: count.requests for count in found.by["status"]}


def test_latencies_add_up_over_flushes(database: Database) -> None:
    """By route and version."""
    storage = stored(database, *(one(duration_s=0.01) for _ in range(3)))
    storage.add(batch(one(duration_s=0.5), one(version="v2")), NOW_S)
    found = storage.find(WINDOWS["1h"], NOW_S).latency

    assert {Place("edge", "users", "v1"): 4, Place("edge", "users", "v2"): 1} == {
        place: sum(bins.values()) for place, bins in found.items()
    }


def test_each_window_ends_where_it_says(database: Database) -> None:
    """An hour by the minute, a day by the hour, thirty days by the day."""
    storage = stored(database, one())

    assert [1, 1, 1] == [requests(storage, name) for name in ("1h", "24h", "30d")]
    later = NOW_S + HOUR_S
    assert [0, 1, 1] == [requests(storage, name, later) for name in ("1h", "24h", "30d")]
    later = NOW_S + DAY_S + HOUR_S
    assert [0, 0, 1] == [requests(storage, name, later) for name in ("1h", "24h", "30d")]
    assert 0 == requests(storage, "30d", NOW_S + 31 * DAY_S)


def test_what_no_window_needs_is_removed(database: Database) -> None:
    """And nothing else."""
    storage = stored(database, one(deprecation=DEPRECATION))
    storage.expire(NOW_S + 59 * 60)
    assert 1 == requests(storage, "1h", NOW_S + 59 * 60)
    storage.expire(NOW_S + 40 * DAY_S)

    rows = database.transaction(lambda cursor: [_count_of(cursor, table) for table in TABLES])
    assert [0] * len(TABLES) == rows


TABLES = ("analytics_usage", "analytics_latency", "analytics_callers", "analytics_deprecated")


def _count_of(cursor: object, table: str) -> int:
    cursor.execute(f"SELECT COUNT(*) FROM {table}")  # type: ignore[attr-defined]
    return int(cursor.fetchall()[0][0])  # type: ignore[attr-defined]


def test_one_gateway_can_be_asked_for(database: Database) -> None:
    """Its requests, its routes, what of it is deprecated."""
    storage = stored(database, one(), one(gateway="inner", deprecation=DEPRECATION))

    assert (2, 1, 0) == (requests(storage), requests(storage, gateway="inner"), requests(storage, gateway="none"))
    assert [0, 1, 1] == [
        len(storage.find(WINDOWS["1h"], NOW_S, gateway=name).deprecated) for name in ("edge", "inner", "")
    ]


def test_the_smallest_of_too_many_rows_are_added_up(database: Database) -> None:
    """The frequent consumers keep their names, the sum stays, and the table does not grow."""
    storage = Storage(database, max_rows=50)
    for start in range(0, 1000, 100):
        crowd = [one(f"user:{number}") for number in range(start, start + 100)]
        storage.add(batch(*crowd, *(one("user:alice") for _ in range(9)), one("key:acme")), NOW_S)
    found = storage.find(WINDOWS["30d"], NOW_S, top=1)
    series = storage.series(WINDOWS["30d"], NOW_S, limit=10_000)

    assert 1100 == found.totals.requests == sum(number for _, number, _ in series)
    assert [("user:alice", 90)] == [(count.name, count.requests) for count in found.by["consumer"]]
    assert 100 >= len(series)
    assert (Key("edge", OTHER, "users", "v1", 200), "key:acme" in {key.consumer for key, _, _ in series}) == (
        max(series, key=lambda row: row[1])[0],
        True,
    )


def test_the_last_callers_of_what_is_deprecated_are_known(database: Database) -> None:
    """The last one first, each with its number of calls; so many that there is no end are cut."""
    storage = stored(database, one("user:early", deprecation=DEPRECATION))
    tally = Tally(1000)
    for number in range(MAX_CALLERS + 20):
        tally.add(one(f"user:{number}", deprecation=DEPRECATION), NOW_S + number)
    tally.add(one("user:5", deprecation=DEPRECATION), NOW_S + 500)
    storage.add(tally.drain(), NOW_S + 500)
    (use,) = storage.find(WINDOWS["1h"], NOW_S + 500).deprecated

    assert (Place("edge", "users", "v1"), DEPRECATION) == (use.place, use.deprecation)
    assert (122, 121) == (use.requests, use.consumers)
    assert ("user:5", 2, NOW_S + 500) == use.callers[0]
    assert MAX_CALLERS == len(use.callers)
    assert "user:early" not in {name for name, _, _ in use.callers}


def test_losses_and_accounts_are_kept(database: Database) -> None:
    """Together with the counts that they belong to."""
    storage = Storage(database, max_rows=10)
    storage.add(batch(one()), NOW_S, lost=3, accounts={"node": "[1]", "gone": "[2]"})
    storage.add(batch(), NOW_S, lost=4, accounts={"node": "[5]"})

    assert (7, 0) == (
        storage.find(WINDOWS["24h"], NOW_S).lost,
        storage.find(WINDOWS["24h"], NOW_S + 2 * DAY_S).lost,
    )
    assert {"node": "[5]"} == storage.accounts()


def test_it_is_all_there_after_a_restart(database: Database) -> None:
    """Another connection finds what one has left."""
    storage = stored(database, one())
    storage.close()

    assert 1 == requests(Storage(database, max_rows=10))


def test_names_are_data(database: Database) -> None:
    """Whatever a subject is, it is no SQL."""
    name = "user:'; DROP TABLE analytics_usage; -- %s ? \u2603"
    storage = stored(database, one(name))

    assert [name] == names(storage.find(WINDOWS["1h"], NOW_S).by["consumer"])
