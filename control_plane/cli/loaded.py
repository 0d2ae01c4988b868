"""Loading a configuration for a command: variables from `.env`, faults and warnings to stderr, exit status 2."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import typer

from control_plane.cli.environment import EnvFileError, environment_for
from control_plane.cli.files import CommandLineFiles
from control_plane.config.faults import Fault
from control_plane.config.loading import Loaded, load
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway


def load_file(path: str, env_file: Path | None, files: CommandLineFiles | None = None) -> Loaded:
    """Load one file as gatewayctl does; exits with 2 if an .env file is unreadable."""
    try:
        environment = environment_for(Path(path), env_file, os.environ)
    except EnvFileError as error:
        refuse(str(error))
    return load(path, files or CommandLineFiles(), environment, now=datetime.now(UTC))


def require_gateway(loaded: Loaded) -> tuple[Gateway, Materials]:
    """Return a configuration without faults, or print them and exit with 2."""
    if loaded.gateway is None:
        print_faults(loaded.faults)
        raise typer.Exit(2)
    return loaded.gateway, loaded.materials


def print_faults(faults: Iterable[Fault]) -> None:
    """One line each, to stderr."""
    for fault in faults:
        typer.echo(str(fault), err=True)


def print_warnings(warnings: Iterable[Fault]) -> None:
    """One line each, to stderr, told apart from faults."""
    for warning in warnings:
        typer.secho("warning: ", fg="yellow", nl=False, err=True)
        typer.echo(str(warning), err=True)


def refuse(message: str) -> NoReturn:
    """Say why in one line and exit with 2."""
    typer.echo(message, err=True)
    raise typer.Exit(2)
