"""What is particular to each database: damage, and servers that go away."""

import sqlite3
from pathlib import Path

import pytest

from control_plane.analytics.postgresql import PostgresqlDatabase
from control_plane.analytics.sqlite import SqliteDatabase
from control_plane.analytics.storage import Storage, StorageError
from control_plane.analytics.windows import WINDOWS
from tests.feature.analytics.test_storage_contract import NOW_S, batch, requests, stored
from tests.postgresql_servers import PostgresqlServer
from tests.unit.control_plane.analytics.samples import one

pytestmark = pytest.mark.xdist_group("analytics storage")


def test_a_damaged_file_is_put_aside_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays for whoever wants to look at it; counting begins anew."""
    file = tmp_path / "usage.sqlite"
    file.write_bytes(b"SQLite format 3\0" + b"garbage " * 4096)
    storage = stored(SqliteDatabase(file), one())

    assert 1 == requests(storage)
    (aside,) = tmp_path.glob("usage.sqlite.damaged-*")
    assert b"garbage" in aside.read_bytes()
    assert "usage_put_aside" in "".join(capsys.readouterr())
    storage.close()


def test_damage_that_shows_later_is_put_aside_too(tmp_path: Path) -> None:
    """The batch of that moment fails, the next one is stored."""
    file = tmp_path / "usage.sqlite"
    storage = stored(SqliteDatabase(file), *(one(f"user:{number}") for number in range(2000)))
    storage.close()
    content = bytearray(file.read_bytes())
    content[8192:-4096] = b"\xff" * len(content[8192:-4096])
    file.write_bytes(content)
    storage = Storage(SqliteDatabase(file), max_rows=10)
    storage.add(batch(one()), NOW_S)

    assert 1 == requests(storage)
    assert 1 == len(list(tmp_path.glob("usage.sqlite.damaged-*")))
    storage.close()


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """With its name, and without a traceback of the database."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        requests(Storage(SqliteDatabase(tmp_path / "file" / "usage.sqlite"), max_rows=10))


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """All of a batch or nothing: it is stored again as a whole."""
    database = SqliteDatabase(tmp_path / "usage.sqlite")
    storage = stored(database, one())

    def half(cursor: object) -> None:
        cursor.execute("DELETE FROM analytics_usage")  # type: ignore[attr-defined]
        raise sqlite3.OperationalError("disk full")

    with pytest.raises(StorageError, match="disk full"):
        database.transaction(half)
    assert 1 == requests(storage)
    storage.close()


@pytest.mark.postgresql
def test_a_server_that_was_away_is_used_again(postgresql: PostgresqlServer) -> None:
    """Meanwhile the error is told without the URL, which may hold a password."""
    database = PostgresqlDatabase(postgresql.url.replace("postgres@", "postgres:s3cr3t@"))
    storage = stored(database, one("user:before"))
    before = storage.find(WINDOWS["1h"], NOW_S).totals.requests
    postgresql.stop()
    for _ in range(2):
        with pytest.raises(StorageError) as failure:
            storage.add(batch(one()), NOW_S)
        assert "s3cr3t" not in str(failure.value)
    postgresql.start()
    storage.add(batch(one("user:after")), NOW_S)

    assert before + 1 == requests(storage)
    storage.close()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cr3t@h/d",
        "postgresql://u:s3cr3t@h/d?sslmode=prefer",
        "postgresql://u:s3cr3t@h/d?options=-c",
        "usage.db",
    ],
)
def test_urls_that_are_none_are_refused(url: str) -> None:
    """Without being repeated: they may hold a password."""
    with pytest.raises(ValueError, match="sslmode=disable") as refusal:
        PostgresqlDatabase(url)
    assert "s3cr3t" not in str(refusal.value)
