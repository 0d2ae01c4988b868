"""gatewayctl diff: which resources an edit adds, changes and removes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from control_plane.admin.resources import Versions


def diff(
    files: Annotated[
        list[str],
        typer.Argument(metavar="OLD [NEW]", help="Two files; one: against the running gateway."),
    ],
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the result.")] = "text",
    server: Annotated[
        str, typer.Option(envvar="GATEWAY_SERVER", help="The control plane's HTTP address.")
    ] = "http://127.0.0.1:18080",
    token: Annotated[str, typer.Option(envvar="GATEWAY_TOKEN", help="If it asks for one.", show_default=False)] = "",
    env_file: Annotated[Path | None, typer.Option(help="Variables, besides .env beside the configuration.")] = None,
) -> None:
    """Print the resources that would be added (+), changed (~) and removed (-).

    Against the running gateway, endpoints of Kubernetes services are left out: a file does not say them.

    Example: gatewayctl diff gateway.yaml
    """
    from control_plane.admin.resources import difference
    from control_plane.cli.loaded import refuse

    if len(files) > 2:
        refuse("two files at most: OLD and NEW, or one against the running gateway")
    _, new = _of_file(files[-1], env_file)
    if len(files) == 2:
        old = _of_file(files[0], env_file)[1]
    else:
        old, new = _running(files[0], env_file, server, token, new)
    _show(difference(old, new), output)


def _of_file(file: str, env_file: Path | None) -> "tuple[str, Versions]":
    from control_plane.admin.resources import resources
    from control_plane.cli.loaded import load_file, print_warnings, refuse, require_gateway
    from control_plane.translate import translate
    from control_plane.translate.patches import PatchError

    loaded = load_file(file, env_file)
    gateway, materials = require_gateway(loaded)
    print_warnings(loaded.warnings)
    try:
        return gateway.name, resources(translate(gateway, {}, materials))
    except PatchError as error:
        refuse(str(error))


def _running(file: str, env_file: Path | None, server: str, token: str, new: "Versions") -> "tuple[Versions, Versions]":
    """What runs, and the file's resources without those that only the cluster can tell."""
    from urllib.parse import quote

    import orjson

    from control_plane.cli.loaded import load_file, require_gateway
    from control_plane.cli.status_view import StatusError, fetch

    gateway, _ = require_gateway(load_file(file, env_file))
    try:
        answer = fetch(server, token, f"/api/resources?gateway={quote(gateway.name)}")
    except StatusError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    old: Versions = orjson.loads(answer)["gateways"][gateway.name]
    discovered = {name for name, service in gateway.services.items() if service.kubernetes is not None}
    # `gatewayctl up` and flags put other endpoints in their place.
    discovered |= {"callout:ext_authz", "callout:ext_proc", "analytics:access_log"}
    return _without(old, discovered), _without(new, discovered)


def _without(versions: "Versions", assignments: set[str]) -> "Versions":
    kept = {
        name: version for name, version in versions.get("ClusterLoadAssignment", {}).items() if name not in assignments
    }
    return {**versions, "ClusterLoadAssignment": kept}


def _show(found: "dict[str, dict[str, list[str]]]", output: str) -> None:
    import json

    if output == "json":
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for sign, change in (("+", "added"), ("~", "changed"), ("-", "removed")):
        for kind, names in found[change].items():
            for name in names:
                typer.echo(f"{sign} {kind} {name}")
    if not any(found.values()):
        typer.echo("no difference", err=True)
