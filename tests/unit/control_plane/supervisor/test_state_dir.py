"""The folder of a running gateway."""

import os
from pathlib import Path

import pytest

from control_plane.supervisor.state_dir import AlreadyRunningError, State, StateDir


def test_a_folder_is_held_by_one_supervisor_at_a_time(tmp_path: Path) -> None:
    """The second one learns the pid of the first."""
    state = StateDir(tmp_path / "state")
    with state.lock(), pytest.raises(AlreadyRunningError) as refused:
        state.lock()
    assert os.getpid() == refused.value.pid
    state.lock().close()


def test_only_a_held_lock_means_that_a_gateway_runs(tmp_path: Path) -> None:
    """A file that a killed supervisor left says nothing: pids are used again."""
    state = StateDir(tmp_path)
    with state.lock():
        assert os.getpid() == state.holder()
    assert state.holder() is None
    state.lock().close()


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """By `down` and by tests."""
    state = StateDir(tmp_path)
    written = State(1, "gateway.yaml", {"xDS": "127.0.0.1:18000"}, {"envoy": 2})
    state.write_state(written)

    assert written == state.read_state()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null"])
def test_a_foreign_state_is_no_state(tmp_path: Path, text: str) -> None:
    """Of another version, or cut off."""
    (tmp_path / "state.json").write_text(text)
    assert StateDir(tmp_path).read_state() is None


def test_sweeping_leaves_logs_and_nothing_else(tmp_path: Path) -> None:
    """No pid file, no socket, no bootstrap."""
    state = StateDir(tmp_path)
    state.logs.mkdir()
    with state.lock():
        state.write_state(State(1, "", {}, {}))
        state.bootstrap.write_text("{}")
        state.sweep()

    assert ["logs"] == [path.name for path in tmp_path.iterdir()]
