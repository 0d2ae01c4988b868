"""gatewayctl render: what the control plane would push."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Type = Literal["clusters", "endpoints", "listeners", "routes", "secrets", "policies"]


def render(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Configuration file; - is standard input.")],
    type_: Annotated[Type | None, typer.Option("--type", help="Only resources of this type.")] = None,
    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="Form of the result.")] = "yaml",
    static: Annotated[
        bool, typer.Option("--static", help="One whole static bootstrap, as `envoy --mode validate` takes it.")
    ] = False,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Secrets as they are, instead of [redacted].")
    ] = False,
    env_file: Annotated[Path | None, typer.Option(help="Variables, besides .env beside the configuration.")] = None,
) -> None:
    """Print the xDS resources that a configuration becomes.

    Example: gatewayctl render gateway.yaml --type routes
    """
    from control_plane.cli.loaded import load_file, print_warnings, refuse, require_gateway
    from control_plane.cli.output import print_value
    from control_plane.translate import translate
    from control_plane.translate.patches import TYPES, PatchError
    from control_plane.translate.rendering import rendered

    if static and type_:
        refuse("--static is a whole bootstrap; --type does not go with it")
    loaded = load_file(file, env_file)
    gateway, materials = require_gateway(loaded)
    print_warnings(loaded.warnings)
    try:
        snapshot = translate(gateway, {}, materials)
    except PatchError as error:
        refuse(str(error))
    if not static:
        shown = rendered(snapshot, [type_] if type_ else TYPES, show_secrets=show_secrets)
        print_value(shown, output)
        return
    from control_plane.cli.stand_in import self_signed
    from control_plane.translate.bootstrap import BootstrapSettings
    from control_plane.translate.plain import to_plain
    from control_plane.translate.static import rendered_static

    settings = BootstrapSettings(
        name=gateway.name, node_id=f"{gateway.name}-static", xds_host="127.0.0.1", xds_port=18000
    )
    bootstrap = rendered_static(snapshot, settings, None if show_secrets else self_signed)
    # What is left in it is no secret: the keys are stand-ins, or were asked for.
    print_value(to_plain(bootstrap, show_secrets=True), output)
