"""gatewayctl validate: every fault of configuration files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from control_plane.config.faults import Fault
    from control_plane.config.loading import Loaded


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Configuration files; - is standard input.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
    envoy: Annotated[
        bool, typer.Option("--envoy", help="Also render the configuration and let Envoy itself check it.")
    ] = False,
    envoy_program: Annotated[
        str | None, typer.Option("--envoy-program", help="The Envoy program (default: ENVOY_BIN, PATH, .tools).")
    ] = None,
    env_file: Annotated[Path | None, typer.Option(help="Variables, besides .env beside the configuration.")] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the result.")] = "text",
) -> None:
    """Report every fault of the files, with its line; exit status 2 if there are any.

    Example: gatewayctl validate gateway.yaml --strict
    """
    from control_plane.cli.files import CommandLineFiles
    from control_plane.cli.loaded import load_file

    stdin = CommandLineFiles()
    results = {file: load_file(file, env_file, stdin) for file in dict.fromkeys(files)}
    from_envoy = {file: _envoy_faults(file, loaded, envoy_program) if envoy else () for file, loaded in results.items()}
    if output == "json":
        _print_json(results, from_envoy)
    else:
        _print_text(results, from_envoy)
    failed = any(loaded.faults or from_envoy[file] or (strict and loaded.warnings) for file, loaded in results.items())
    raise typer.Exit(2 if failed else 0)


def _envoy_faults(file: str, loaded: "Loaded", program: str | None) -> "Sequence[Fault]":
    from control_plane.cli.envoy_check import envoy_fault

    fault = envoy_fault(file, loaded.gateway, loaded.materials, program) if loaded.gateway is not None else None
    return [fault] if fault is not None else []


def _print_text(results: "dict[str, Loaded]", from_envoy: "dict[str, Sequence[Fault]]") -> None:
    from control_plane.cli.loaded import print_faults, print_warnings

    for file, loaded in results.items():
        faults = [*loaded.faults, *from_envoy[file]]
        print_faults(faults)
        print_warnings(loaded.warnings)
        if loaded.gateway is not None and not faults:
            gateway = loaded.gateway
            counts = f"{len(gateway.routes)} routes, {len(gateway.services)} services"
            typer.echo(f"{file}: valid ({gateway.name}: {counts}, {len(loaded.warnings)} warnings)")


def _print_json(results: "dict[str, Loaded]", from_envoy: "dict[str, Sequence[Fault]]") -> None:
    import json
    from dataclasses import asdict

    files = [
        {
            "file": file,
            "valid": loaded.gateway is not None and not from_envoy[file],
            "faults": [asdict(fault) for fault in (*loaded.faults, *from_envoy[file])],
            "warnings": [asdict(warning) for warning in loaded.warnings],
        }
        for file, loaded in results.items()
    ]
    typer.echo(json.dumps({"files": files}, indent=2, ensure_ascii=False))
