"""gatewayctl explain: what happens to one request."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Configuration file; - is standard input.")],
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ...")],
    url: Annotated[str, typer.Argument(metavar="URL", help="http://host/path?query, or a path alone.")],
    header: Annotated[list[str] | None, typer.Option("--header", "-H", help="'name: value'; again for more.")] = None,
    listener: Annotated[
        str | None, typer.Option(help="Where the request arrives (default: by the URL's port, else the first).")
    ] = None,
    env_file: Annotated[Path | None, typer.Option(help="Variables, besides .env beside the configuration.")] = None,
) -> None:
    """Show the route that takes a request, why earlier ones do not, and all that holds for it.

    Example: gatewayctl explain gateway.yaml GET http://api.example.com/api/users/7 -H 'x-version: 2'
    """
    from control_plane.cli.explanation import Question, UnexplainableError, explanation
    from control_plane.cli.loaded import load_file, refuse, require_gateway

    gateway, materials = require_gateway(load_file(file, env_file))
    try:
        lines = list(explanation(gateway, materials, Question(method, url, header or (), listener)))
    except UnexplainableError as error:
        refuse(str(error))
    typer.echo("\n".join(lines))
