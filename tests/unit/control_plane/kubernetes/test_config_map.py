"""A ConfigMap as files."""

import os
from pathlib import Path

import pytest

from control_plane.kubernetes.config_map import ConfigMapFiles


def test_keys_are_files(tmp_path: Path) -> None:
    """Readable under their own names, in a directory that is made when it is needed."""
    files = ConfigMapFiles(tmp_path / "config")
    files.write({"gateway.yaml": b"one", "users.yaml": b"two"})

    assert b"one" == files.path("gateway.yaml").read_bytes()
    assert b"two" == files.path("users.yaml").read_bytes()


def test_all_files_change_at_once(tmp_path: Path) -> None:
    """They are seen through one symlink, so no reader ever sees a new file beside an old one."""
    files = ConfigMapFiles(tmp_path)
    files.write({"a": b"1", "b": b"1"})
    files.write({"a": b"2", "b": b"2"})

    assert {Path(os.readlink(tmp_path / key)).parts[0] for key in "ab"} == {"..data"}
    assert b"22" == files.path("a").read_bytes() + files.path("b").read_bytes()


def test_keys_that_are_gone_and_old_versions_are_removed(tmp_path: Path) -> None:
    """Disk use does not grow with every edit."""
    files = ConfigMapFiles(tmp_path)
    for number in range(5):
        files.write({"gateway.yaml": str(number).encode(), f"extra-{number}.yaml": b""})

    assert ["extra-4.yaml", "gateway.yaml"] == sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".")
    assert 2 == len([path for path in tmp_path.iterdir() if path.name.startswith("..")])


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    """After a restart the watcher of files sees no change."""
    ConfigMapFiles(tmp_path).write({"gateway.yaml": b"one"})
    before = (tmp_path / "gateway.yaml").stat().st_mtime_ns
    ConfigMapFiles(tmp_path).write({"gateway.yaml": b"one"})

    assert before == (tmp_path / "gateway.yaml").stat().st_mtime_ns


def test_files_of_another_origin_are_never_touched(tmp_path: Path) -> None:
    """A directory that also holds other files keeps them; a file in the way is an error."""
    (tmp_path / "notes.txt").write_text("mine")
    files = ConfigMapFiles(tmp_path)
    files.write({"gateway.yaml": b"one"})
    assert "mine" == (tmp_path / "notes.txt").read_text()

    with pytest.raises(FileExistsError):
        files.write({"notes.txt": b"theirs"})
    assert "mine" == (tmp_path / "notes.txt").read_text()
