"""gatewayctl init: a first gateway.yaml."""

from pathlib import Path
from typing import Annotated

import typer


def init(
    openapi: Annotated[
        Path | None, typer.Option("--from", help="An OpenAPI 3 document: one route for each of its paths.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; - is standard output.")] = Path(
        "gateway.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a first gateway.yaml that can be started as it is, and its secret into .env beside it.

    Example: gatewayctl init --from openapi.yaml
    """
    from control_plane.cli.loaded import refuse
    from control_plane.cli.scaffold import FIRST
    from control_plane.openapi.gateway import OpenApiError, gateway_yaml

    text = FIRST
    if openapi is not None:
        try:
            text = gateway_yaml(openapi.read_bytes(), openapi.name)
        except OSError as error:
            refuse(f"cannot read {openapi}: {error.strerror or error}")
        except OpenApiError as error:
            refuse(f"{openapi}: {error}")
    if str(output) == "-":
        typer.echo(text, nl=False)
        return
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        refuse(f"{output} exists already (--force overwrites it)")
    except OSError as error:
        refuse(f"cannot write {output}: {error.strerror or error}")
    typer.echo(f"wrote {output}")
    if "${JWT_SECRET}" in text:
        env = output.parent / ".env"
        try:
            if _add_secret(env):
                typer.echo(f"wrote {env} with a random JWT_SECRET: keep it out of version control")
        except OSError as error:
            refuse(f"cannot write {env}: {error.strerror or error}")
    typer.echo(f"next: gatewayctl validate {output}")


def _add_secret(env: Path) -> bool:
    """Give JWT_SECRET a random value unless the file has one; False if it has."""
    import secrets

    text = env.read_text(encoding="utf-8") if env.exists() else ""
    if any(line.split("=")[0].strip() in ("JWT_SECRET", "export JWT_SECRET") for line in text.splitlines()):
        return False
    env.touch(mode=0o600)
    with env.open("a", encoding="utf-8") as file:
        file.write(("\n" if text and not text.endswith("\n") else "") + f"JWT_SECRET={secrets.token_urlsafe(32)}\n")
    return True
