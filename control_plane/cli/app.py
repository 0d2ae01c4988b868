"""The table of commands."""

import typer

from control_plane.cli.bootstrap import bootstrap
from control_plane.cli.cache import cache
from control_plane.cli.diff import diff
from control_plane.cli.down import down
from control_plane.cli.explain import explain
from control_plane.cli.init import init
from control_plane.cli.key import key
from control_plane.cli.render import render
from control_plane.cli.status import status
from control_plane.cli.token import token
from control_plane.cli.up import up
from control_plane.cli.usage import usage
from control_plane.cli.validate import validate

app = typer.Typer(
    name="gatewayctl",
    help="Runs and inspects the Meetinity API gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def gatewayctl() -> None:
    """Runs and inspects the Meetinity API gateway."""


app.command()(up)
app.command()(down)
app.command()(init)
app.command()(validate)
app.command()(render)
app.command()(diff)
app.command()(explain)
app.command()(bootstrap)
app.command()(status)
app.command()(usage)
app.command()(token)
app.add_typer(key, name="key")
app.add_typer(cache, name="cache")
