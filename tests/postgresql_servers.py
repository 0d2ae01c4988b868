"""A real PostgreSQL on a Unix socket, in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.analytics.postgresql import PostgresqlDatabase
from control_plane.analytics.storage import StorageError

DEADLINE_S = 30.0
NOBODY = 65534


class PostgresqlServer:
    """PostgreSQL does not run as root: as root it is started as `nobody`."""

    def __init__(self, programs: str, folder: Path) -> None:
        self._programs = Path(programs)
        self._folder = folder
        self._user = NOBODY if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._folder}"

    def make(self) -> None:
        if self._user is not None:
            os.chown(self._folder, self._user, self._user)
        self._run("initdb", "-D", str(self._folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync")

    def start(self) -> None:
        command = [
            *(str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder)),
            *("-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"),
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self._user, cwd=self._folder
        )
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                database = PostgresqlDatabase(self.url)
                database.transaction(lambda cursor: cursor.execute("SELECT 1"))
                database.close()
                return
            except StorageError:
                assert self._process.poll() is None, "postgres ended"
                assert time.monotonic() < deadline, "postgres does not answer"
                time.sleep(0.02)

    def stop(self) -> None:
        """At once, as if the machine had gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.send_signal(3)  # SIGQUIT: immediate
            self._process.wait(DEADLINE_S)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            user=self._user,
            cwd=self._folder,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def postgresql_server(programs: str) -> Iterator[PostgresqlServer]:
    """One that runs inside the block. Not in pytest's folders, which others than root may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgresql-"))
    server = PostgresqlServer(programs, folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
