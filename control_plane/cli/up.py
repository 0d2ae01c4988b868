"""gatewayctl up: the whole gateway on this machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

PortOption = typer.Option(min=1, max=65535, show_default=True)


def _port(name: str, variable: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        min=1, max=65535, envvar=variable, help=f"{name} (loopback).", rich_help_panel="Ports"
    )
    return option


def up(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Configuration file.", envvar="GATEWAY_CONFIG")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
    state_dir: Annotated[Path, typer.Option(help="Where state, logs and pids go.", envvar="GATEWAY_STATE_DIR")] = Path(
        ".gateway"
    ),
    demo: Annotated[
        bool | None, typer.Option("--demo/--no-demo", help="Demo upstreams (default: with envoy/gateway.yaml only).")
    ] = None,
    envoy: Annotated[str | None, typer.Option(help="The Envoy program (default: ENVOY_BIN, PATH, .tools).")] = None,
    env_file: Annotated[Path | None, typer.Option(help="Variables, besides .env beside the configuration.")] = None,
    xds_port: Annotated[int, _port("xDS", "GATEWAY_XDS_PORT")] = 18000,
    http_port: Annotated[int, _port("Status page and metrics of the control plane", "GATEWAY_HTTP_PORT")] = 18080,
    envoy_admin_port: Annotated[int, _port("Envoy's admin", "GATEWAY_ENVOY_ADMIN_PORT")] = 9901,
    envoy_ready_port: Annotated[int, _port("Envoy's /ready and statistics", "GATEWAY_ENVOY_READY_PORT")] = 9902,
    ext_authz_port: Annotated[int, _port("ext_authz", "GATEWAY_EXT_AUTHZ_PORT")] = 9001,
    ext_authz_admin_port: Annotated[int, _port("Metrics of ext_authz", "GATEWAY_EXT_AUTHZ_ADMIN_PORT")] = 9101,
    ext_proc_port: Annotated[int, _port("ext_proc", "GATEWAY_EXT_PROC_PORT")] = 9002,
    ext_proc_admin_port: Annotated[int, _port("Metrics of ext_proc", "GATEWAY_EXT_PROC_ADMIN_PORT")] = 9102,
    analytics_port: Annotated[int, _port("Analytics", "GATEWAY_ANALYTICS_PORT")] = 9003,
    analytics_http_port: Annotated[int, _port("Usage report of analytics", "GATEWAY_ANALYTICS_HTTP_PORT")] = 9103,
    demo_port: Annotated[int, _port("First port of the demo upstreams", "GATEWAY_DEMO_PORT")] = 8101,
) -> None:
    """Run control plane, ext_authz, ext_proc, analytics and Envoy on this machine, until Ctrl-C or `gatewayctl down`.

    Example: gatewayctl up -d -c gateway.yaml
    """
    from control_plane.cli.starting import Request, StartRefusedError, start
    from control_plane.supervisor.ports import Ports

    ports = Ports(
        xds=xds_port,
        http=http_port,
        envoy_admin=envoy_admin_port,
        envoy_ready=envoy_ready_port,
        ext_authz=ext_authz_port,
        ext_authz_admin=ext_authz_admin_port,
        ext_proc=ext_proc_port,
        ext_proc_admin=ext_proc_admin_port,
        analytics=analytics_port,
        analytics_http=analytics_http_port,
        demo=demo_port,
    )
    request = Request(config, state_dir, demo, envoy, env_file, ports, detach)
    environment: Mapping[str, str] = os.environ
    try:
        raise typer.Exit(start(request, environment))
    except StartRefusedError as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(refusal.exit_code) from None
