"""gatewayctl status: every connected Envoy and service, what it was sent and what it took."""

from typing import Annotated, Literal

import typer


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
    output: Annotated[
        Literal["table", "json"], typer.Option("--output", "-o", help="table is for people, json for programs.")
    ] = "table",
    server: Annotated[
        str, typer.Option(envvar="GATEWAY_SERVER", help="The control plane's HTTP address.")
    ] = "http://127.0.0.1:18080",
    token: Annotated[str, typer.Option(envvar="GATEWAY_TOKEN", help="If it asks for one.", show_default=False)] = "",
) -> None:
    """Shows what the control plane serves, and every node with versions, NACKs and age.

    Exits with 1 if the control plane cannot be reached.

    Example: gatewayctl status --watch
    """
    from control_plane.cli.status_view import StatusError, fetch, show, watching

    try:
        if output == "json":
            typer.echo(fetch(server, token).decode())
        elif watch:
            watching(server, token)
        else:
            show(fetch(server, token))
    except StatusError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
