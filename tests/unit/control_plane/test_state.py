"""The last good configuration on disk."""

import stat
from pathlib import Path

import pytest

from control_plane.state import CorruptStateError, LastGood


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Binary content and patterns included; only the owner can read it."""
    kept = LastGood(tmp_path / "state")
    kept.save({"gateway.yaml": b"a: 1", "key.pem": b"\x00\xff"}, {"*.yaml": ("b.yaml",)})
    replay = kept.load()

    assert replay is not None
    assert {"gateway.yaml": b"a: 1", "key.pem": b"\x00\xff"} == replay.contents
    assert {"*.yaml": ("b.yaml",)} == replay.matches
    assert 0o600 == stat.S_IMODE(kept.path.stat().st_mode)
    assert [kept.path] == list((tmp_path / "state").iterdir())


def test_nothing_kept_is_none(tmp_path: Path) -> None:
    """A first start has nothing."""
    assert LastGood(tmp_path).load() is None


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "not json", '{"format": 1, "sha256": "0", "body": "{}"}'])
def test_a_corrupt_file_is_told(tmp_path: Path, content: str) -> None:
    """Whatever is wrong with it."""
    kept = LastGood(tmp_path)
    kept.path.write_text(content)

    with pytest.raises(CorruptStateError):
        kept.load()


def test_a_changed_byte_is_told(tmp_path: Path) -> None:
    """The checksum does not match."""
    kept = LastGood(tmp_path)
    kept.save({"gateway.yaml": b"aaaa"}, {})
    kept.path.write_text(kept.path.read_text().replace("YWFhYQ", "YWFhYg"))

    with pytest.raises(CorruptStateError, match="checksum"):
        kept.load()
