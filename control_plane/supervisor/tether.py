"""Ties a process to its supervisor, then becomes it: `python -I -S tether.py PARENT COMMAND...`.

The kernel sends SIGTERM when the supervisor dies, however it dies (prctl(2), PR_SET_PDEATHSIG; it survives execve).
Done in a program of its own rather than between fork and exec, where threads make everything but exec unsafe. Imports
nothing of the project, so that it costs 20 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Exit at once if the supervisor died before the tether held."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
