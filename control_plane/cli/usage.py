"""gatewayctl usage: who uses what, from the analytics process."""

from typing import Annotated, Literal

import typer


def usage(
    window: Annotated[Literal["1h", "24h", "30d"], typer.Option("--window", "-w", help="How far back.")] = "24h",
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many of each kind are named.")] = 10,
    gateway: Annotated[str, typer.Option(help="Only this gateway (its `name`).", show_default=False)] = "",
    output: Annotated[
        Literal["table", "json", "csv"],
        typer.Option("--output", "-o", help="table is for people, json and csv for programs."),
    ] = "table",
    server: Annotated[
        str, typer.Option(envvar="GATEWAY_ANALYTICS_SERVER", help="The HTTP address of analytics.")
    ] = "http://127.0.0.1:9103",
    token: Annotated[str, typer.Option(envvar="GATEWAY_TOKEN", help="If it asks for one.", show_default=False)] = "",
) -> None:
    """Shows requests per consumer, route, API version and status, latencies, and who still calls what is deprecated.

    Exits with 1 if analytics cannot be reached.

    Example: gatewayctl usage --window 30d -o csv
    """
    from control_plane.cli.usage_view import UsageError, fetch, show

    try:
        body = fetch(server, token, as_csv=output == "csv", window=window, top=top, gateway=gateway)
        if output == "table":
            show(body, server)
        else:
            typer.echo(body.decode(), nl=False)
    except UsageError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
