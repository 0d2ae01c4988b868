"""Files are read with a record, and a change of any of them is seen."""

import asyncio
import os
from pathlib import Path

from control_plane.config_file import Recording, Replay, Watch

QUICK = Watch(poll_s=0.01, quiet_s=0.05, limit_s=0.3)


async def seen(recording: Recording) -> None:
    """The change is seen within 5 s."""
    async with asyncio.timeout(5):
        await QUICK.changed(recording)


async def test_a_rewritten_file_is_a_change(tmp_path: Path) -> None:
    """Also if its size stays the same."""
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1")
    recording = Recording()
    recording.read(str(path))
    assert recording.is_current()
    path.write_text("a: 2")

    await seen(recording)


async def test_a_renamed_file_is_a_change(tmp_path: Path) -> None:
    """Editors write a new file and rename it."""
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1")
    recording = Recording()
    recording.read(str(path))
    new = tmp_path / "new"
    new.write_text("a: 1")
    os.replace(new, path)

    await seen(recording)


async def test_a_swapped_config_map_is_a_change(tmp_path: Path) -> None:
    """Kubernetes swaps a symlink to a folder; the names of the files stay."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "gateway.yaml").write_text("a: 1")
    os.symlink("1", tmp_path / "..data")
    os.symlink("..data/gateway.yaml", tmp_path / "gateway.yaml")
    recording = Recording()
    recording.read(str(tmp_path / "gateway.yaml"))
    os.symlink("2", tmp_path / "..next")
    os.replace(tmp_path / "..next", tmp_path / "..data")

    await seen(recording)


async def test_a_new_included_file_is_a_change(tmp_path: Path) -> None:
    """A pattern is looked up again."""
    recording = Recording()
    recording.glob(str(tmp_path / "*.yaml"))
    assert recording.is_current()
    (tmp_path / "new.yaml").write_text("a: 1")

    await seen(recording)


async def test_a_file_that_was_missing_is_a_change_when_it_comes(tmp_path: Path) -> None:
    """A fault that names a missing file ends when the file is there."""
    path = tmp_path / "keys.json"
    recording = Recording()
    try:
        recording.read(str(path))
    except FileNotFoundError:
        path.write_text("{}")

    await seen(recording)


async def test_a_file_that_never_rests_is_read_all_the_same(tmp_path: Path) -> None:
    """After the limit at the latest."""
    path = tmp_path / "gateway.yaml"
    path.write_text("0")
    recording = Recording()
    recording.read(str(path))

    async def write_for_ever() -> None:
        number = 0
        while True:
            number += 1
            path.write_text(str(number))
            await asyncio.sleep(0.005)

    writer = asyncio.create_task(write_for_ever())
    try:
        await seen(recording)
    finally:
        writer.cancel()


def test_a_replay_gives_what_was_recorded() -> None:
    """And no file that was not."""
    replay = Replay({"a": b"1"}, {"*.yaml": ("a",)})

    assert b"1" == replay.read("a")
    assert ("a",) == replay.glob("*.yaml")
    assert () == replay.glob("other")
