"""gatewayctl: one file per command; this one only lists them.

A command's module is imported when the command runs, so that `gatewayctl --help` and small commands stay fast.
"""


def main() -> None:
    """Run gatewayctl with the arguments of this process."""
    from control_plane.cli.app import app

    app()
