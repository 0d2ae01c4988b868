"""python -m control_plane: which of its roles a process has, and nothing else; a role imports only what it needs."""

import argparse
import os
import sys

ROLES = ("control-plane", "analytics")


def main() -> None:
    """Take `--role` out of the command line and hand over the rest of it."""
    parser = argparse.ArgumentParser(prog="python -m control_plane", add_help=False, allow_abbrev=False)
    parser.add_argument("--role", choices=ROLES, default=os.environ.get("GATEWAY_ROLE", ROLES[0]))
    chosen, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    if chosen.role == "analytics":
        from control_plane.analytics.process import run_process
    else:
        from control_plane.main import run_process
    run_process()


if __name__ == "__main__":
    main()
