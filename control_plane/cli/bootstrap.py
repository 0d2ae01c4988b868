"""gatewayctl bootstrap: what an Envoy has to know before it can ask the control plane."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from control_plane.translate.bootstrap import MutualTls

_TLS_PANEL = "mTLS to the control plane (all three or none)"


def bootstrap(
    name: Annotated[str, typer.Option(help="node.cluster: the name of the gateway whose configuration it gets.")],
    xds_address: Annotated[str, typer.Option(help="HOST:PORT of the control plane.", envvar="GATEWAY_XDS_ADDRESS")],
    mode: Annotated[Literal["edge", "sidecar"], typer.Option(help="What the Envoy is for.")] = "edge",
    zone: Annotated[
        str,
        typer.Option(help="Where it runs: requests stay there as far as the load stays even.", envvar="GATEWAY_ZONE"),
    ] = "",
    node_id: Annotated[str | None, typer.Option(help="Default: the name and this host's name.")] = None,
    ca: Annotated[str | None, typer.Option(help="CA of the control plane.", rich_help_panel=_TLS_PANEL)] = None,
    cert: Annotated[str | None, typer.Option(help="This Envoy's certificate.", rich_help_panel=_TLS_PANEL)] = None,
    key: Annotated[str | None, typer.Option(help="Its private key.", rich_help_panel=_TLS_PANEL)] = None,
    admin_port: Annotated[int, typer.Option(min=1, max=65535, help="Admin interface, on loopback.")] = 9901,
    ready_port: Annotated[int, typer.Option(min=1, max=65535, help="/ready and /stats/prometheus.")] = 9902,
    api_type: Annotated[
        Literal["delta-grpc", "grpc"], typer.Option(help="Incremental xDS, or state of the world.")
    ] = "delta-grpc",
    per_type: Annotated[
        bool, typer.Option("--per-type", help="A stream for each type of resource instead of one for all (ADS).")
    ] = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="Form of the result.")] = "yaml",
) -> None:
    """Print an Envoy bootstrap.

    A bearer token for the control plane is taken from the variable GATEWAY_XDS_TOKEN; it stands in what is printed.

    Example: gatewayctl bootstrap --name meetinity --xds-address control-plane:18000 > envoy.yaml
    """
    import os
    import socket

    from control_plane.cli.loaded import refuse
    from control_plane.cli.output import print_value
    from control_plane.translate.bootstrap import API_TYPES, LIMITS, BootstrapSettings
    from control_plane.translate.bootstrap import bootstrap as bootstrap_message
    from control_plane.translate.plain import to_plain

    host, separator, port = xds_address.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        refuse(f"--xds-address {xds_address}: HOST:PORT is wanted")
    settings = BootstrapSettings(
        name=name,
        node_id=node_id or f"{name}-{socket.gethostname()}",
        xds_host=host.strip("[]"),
        xds_port=int(port),
        mutual_tls=_mutual_tls(ca, cert, key),
        xds_token=os.environ.get("GATEWAY_XDS_TOKEN", ""),
        admin_port=admin_port,
        status_port=ready_port,
        limits=LIMITS[mode],
        api_type=API_TYPES[api_type],
        per_type=per_type,
        zone=zone,
    )
    print_value(to_plain(bootstrap_message(settings)), output)


def _mutual_tls(ca: str | None, cert: str | None, key: str | None) -> "MutualTls | None":
    from control_plane.cli.loaded import refuse
    from control_plane.translate.bootstrap import MutualTls

    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        refuse("--ca, --cert and --key belong together")
    return MutualTls(ca_file=ca, certificate_file=cert, private_key_file=key)
