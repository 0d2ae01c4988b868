"""Where lines go."""

import io
from pathlib import Path

from control_plane.supervisor.output import LogFile, Output, Terminal, prefixes


class _ATerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _output(folder: Path, stream: io.StringIO, *, follow: bool) -> Output:
    return Output(["envoy", "ext_authz"], folder, Terminal(stream), follow=follow, stamp=lambda: "")


def test_lines_have_their_process_in_front_and_a_file_of_their_own(tmp_path: Path) -> None:
    """Plain where nobody watches."""
    stream = io.StringIO()
    output = _output(tmp_path, stream, follow=True)
    output.line("envoy", "started")
    output.line("ext_authz", "ready")
    output.close()

    assert "envoy     | started\next_authz | ready\n" == stream.getvalue()
    assert ("started\n", "ready\n") == ((tmp_path / "envoy.log").read_text(), (tmp_path / "ext_authz.log").read_text())


def test_prefixes_are_coloured_on_a_terminal_only(tmp_path: Path) -> None:
    """Each process has a colour of its own, trouble is red."""
    stream = _ATerminal()
    output = _output(tmp_path, stream, follow=True)
    output.line("envoy", "started")
    output.say("envoy died", trouble=True)
    output.close()

    assert "\033[36menvoy     |\033[0m started\n\033[31menvoy died\033[0m\n" == stream.getvalue()
    assert 2 == len(set(prefixes(["a", "b"], colours=True).values()))


def test_in_the_background_only_the_supervisor_speaks(tmp_path: Path) -> None:
    """The processes' lines are in their files."""
    stream = io.StringIO()
    output = _output(tmp_path, stream, follow=False)
    output.line("envoy", "started")
    output.say("ready")
    output.close()

    assert "ready\n" == stream.getvalue()


def test_a_terminal_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """Its lines are in the files."""
    stream = io.StringIO()
    output = _output(tmp_path, stream, follow=True)
    stream.close()
    for number in range(3):
        output.line("envoy", str(number))
    output.close()

    assert "0\n1\n2\n" == (tmp_path / "envoy.log").read_text()


def test_a_full_file_begins_anew_and_stays_once(tmp_path: Path) -> None:
    """A gateway that runs for weeks does not fill the disk."""
    log = LogFile(tmp_path / "envoy.log", limit_bytes=10)
    for number in range(1, 6):
        log.write(f"line {number}")
    log.close()

    assert ("line 5\n", "line 3\nline 4\n") == (
        (tmp_path / "envoy.log").read_text(),
        (tmp_path / "envoy.log.1").read_text(),
    )
