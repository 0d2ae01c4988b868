"""The flags of the control plane's processes, each also a variable, and what they may say."""

from pathlib import Path
from typing import Annotated, cast

import typer

from control_plane.kubernetes.problems import Reference, config_map_reference
from gateway_runtime.telemetry import LEVELS, LogFormat
from gateway_runtime.transport import TlsFiles

_PANEL = "Who may connect over xDS"
_ENDPOINT_HELP = "Replaces the configured one: HOST:PORT, unix:/PATH."
_ANALYTICS_HELP = "Receives the access log of every gateway that does not say `analytics: none`: HOST:PORT, unix:/PATH."
_FORMATS = ("auto", "json", "console")

ConfigFlag = Annotated[
    str, typer.Option(envvar="GATEWAY_CONFIG", help="The gateway.yaml to serve; it is watched.", show_default=False)
]
ConfigDirFlag = Annotated[
    str,
    typer.Option(
        envvar="GATEWAY_CONFIG_DIR",
        help="Instead: a folder of them, one gateway each, chosen by node.cluster.",
        show_default=False,
    ),
]
XdsAddressFlag = Annotated[str, typer.Option(envvar="GATEWAY_XDS_ADDRESS", help="Where Envoys and services connect.")]
HttpAddressFlag = Annotated[
    str, typer.Option(envvar="GATEWAY_HTTP_ADDRESS", help="Status, /metrics, /healthz and /readyz.")
]
StateDirFlag = Annotated[
    Path | None, typer.Option(envvar="GATEWAY_STATE_DIR", help="Keeps the last good configuration for a restart.")
]
StrictStartFlag = Annotated[
    bool, typer.Option("--strict-start", envvar="GATEWAY_STRICT_START", help="Exit with 2 if the file is faulty.")
]
TokenFlag = Annotated[
    str, typer.Option(envvar="GATEWAY_TOKEN", help="Asked from callers of the HTTP side.", show_default=False)
]
HttpCaFlag = Annotated[
    str, typer.Option(envvar="GATEWAY_HTTP_CA", help="A client certificate of this CA is as good as the token.")
]
HttpCertFlag = Annotated[
    str, typer.Option(envvar="GATEWAY_HTTP_CERT", help="Certificate of the HTTP side; read again when it changes.")
]
HttpKeyFlag = Annotated[str, typer.Option(envvar="GATEWAY_HTTP_KEY", help="Its key.")]
XdsCaFlag = Annotated[
    str,
    typer.Option(
        envvar="GATEWAY_XDS_CA",
        help="Clients need a certificate of this CA (mTLS); read again when it changes.",
        rich_help_panel=_PANEL,
    ),
]
XdsCertFlag = Annotated[
    str,
    typer.Option(
        envvar="GATEWAY_XDS_CERT",
        help="This server's certificate; read again when it changes.",
        rich_help_panel=_PANEL,
    ),
]
XdsKeyFlag = Annotated[str, typer.Option(envvar="GATEWAY_XDS_KEY", help="Its key.", rich_help_panel=_PANEL)]
XdsTokenFlag = Annotated[
    str,
    typer.Option(
        envvar="GATEWAY_XDS_TOKEN",
        help="A shared secret that is good for every gateway and kind of node.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
XdsTokenAudienceFlag = Annotated[
    str,
    typer.Option(
        envvar="GATEWAY_XDS_TOKEN_AUDIENCE",
        help="Ask the cluster about ServiceAccount tokens for this audience.",
        rich_help_panel=_PANEL,
    ),
]
XdsClientsFlag = Annotated[
    Path | None,
    typer.Option(
        envvar="GATEWAY_XDS_CLIENTS",
        help="YAML file: which certificates, ServiceAccounts and tokens may be which nodes.",
        rich_help_panel=_PANEL,
    ),
]
ExtAuthzEndpointFlag = Annotated[str, typer.Option(envvar="GATEWAY_EXT_AUTHZ_ENDPOINT", help=_ENDPOINT_HELP)]
ExtProcEndpointFlag = Annotated[str, typer.Option(envvar="GATEWAY_EXT_PROC_ENDPOINT", help=_ENDPOINT_HELP)]
AnalyticsEndpointFlag = Annotated[
    str, typer.Option(envvar="GATEWAY_ANALYTICS_ENDPOINT", help=_ANALYTICS_HELP, show_default=False)
]
KubeconfigFlag = Annotated[
    str, typer.Option(envvar="GATEWAY_KUBECONFIG", help="Default: KUBECONFIG, else the pod's own.", show_default=False)
]
ConfigMapFlag = Annotated[
    str,
    typer.Option(
        envvar="GATEWAY_CONFIG_MAP",
        help="NAMESPACE/NAME of a ConfigMap that is kept as files beside --config.",
        show_default=False,
    ),
]
LogLevelFlag = Annotated[str, typer.Option(envvar="GATEWAY_LOG_LEVEL", help=", ".join(LEVELS))]
LogFormatFlag = Annotated[str, typer.Option(envvar="GATEWAY_LOG_FORMAT", help="auto, json or console")]


def checked_level(text: str) -> str:
    """Raises BadParameter, as all here."""
    return _one_of("--log-level", text, LEVELS)


def checked_format(text: str) -> LogFormat:
    return cast(LogFormat, _one_of("--log-format", text, _FORMATS))


def http_tls_files(ca_file: str, certificate_file: str, key_file: str) -> TlsFiles | None:
    """None: plain HTTP."""
    if bool(certificate_file) != bool(key_file) or (ca_file and not key_file):
        raise typer.BadParameter("--http-cert and --http-key belong together, and --http-ca needs both")
    return TlsFiles(certificate_file, key_file, ca_file) if certificate_file else None


def config_map_flag(text: str) -> Reference | None:
    """What `--config-map` names; None for nothing."""
    try:
        return config_map_reference(text)
    except ValueError as error:
        raise typer.BadParameter(f"--config-map: {error}") from error


def _one_of(flag: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise typer.BadParameter(f"{flag} is one of {', '.join(allowed)}")
    return value
