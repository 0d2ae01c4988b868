"""Databases as the process may be told to use them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.analytics.postgresql import PostgresqlDatabase
from control_plane.analytics.sqlite import SqliteDatabase
from control_plane.analytics.storage import Cursor, Database
from tests.postgresql_servers import PostgresqlServer, postgresql_server


@pytest.fixture(scope="module")
def postgresql(postgresql_programs: str) -> Iterator[PostgresqlServer]:
    with postgresql_server(postgresql_programs) as server:
        yield server


def _emptied(cursor: Cursor) -> None:
    cursor.execute("DROP SCHEMA public CASCADE")
    cursor.execute("CREATE SCHEMA public")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty one."""
    if request.param == "sqlite":
        made: Database = SqliteDatabase(tmp_path / "state" / "usage.sqlite")
    else:
        made = PostgresqlDatabase(request.getfixturevalue("postgresql").url)
        made.transaction(_emptied)
        made.close()
    yield made
    made.close()
