"""The control plane's process: builds the objects and runs them in one task group."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.admin.http import Protection, control_plane_app
from control_plane.admin.tls import HttpTls
from control_plane.dashboard.live import Live
from control_plane.endpoints import Endpoint
from control_plane.gateways import Gateways
from control_plane.kubernetes.api import CredentialsError
from control_plane.kubernetes.attached import Attached, attached
from control_plane.kubernetes.config_map import ConfigMapFiles
from control_plane.kubernetes.discovery import Discovery
from control_plane.kubernetes.problems import Problem, Reference, config_map_reference
from control_plane.metrics import Metrics, StoreCollector
from control_plane.reconciler import ANALYTICS, Claim, Discovering, Reconciler
from control_plane.reports import configuration_problems, discovery_problems, refusals
from control_plane.settings import Settings
from control_plane.state import LastGood
from control_plane.traffic.service import Reports, names_from
from control_plane.traffic.traffic import Traffic
from control_plane.xds.server import XdsServer, presented
from control_plane.xds.store import Store
from control_plane.xds_security import XdsSecurity, is_loopback
from gateway_runtime.admin import http_server, register_process_metrics
from gateway_runtime.grpc_server import MIB, GrpcServer, ServerOptions
from gateway_runtime.process import StartError, raise_on_signal, run
from gateway_runtime.telemetry import LEVELS, LogFormat, configure_logging, logger
from gateway_runtime.tracing import Tracing, TracingMetrics
from gateway_runtime.transport import TlsFiles

_DRAIN_S = 2.0
"""For streams to be told that this replica ends; Envoys keep what they have and go to another one."""
_CONNECTION_AGE_S = 3600.0
"""Clients connect again every hour, spread by gRPC's jitter of 10 %: they find new replicas, and prove who they are."""


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    register_process_metrics(registry)
    return registry


async def serve(settings: Settings) -> None:
    """Run until a signal comes."""
    environment = dict(os.environ)
    registry = _registry()
    try:
        async with attached(
            settings.kubeconfig,
            environment,
            registry,
            settings.config_map,
            ConfigMapFiles(Path(settings.config_dir) if settings.config_dir else Path(settings.config).parent),
        ) as cluster:
            if settings.config_map is not None and cluster is None:
                raise StartError("--config-map needs a cluster: --kubeconfig, or a pod's service account", exit_code=2)
            await _serve(settings, environment, registry, cluster)
    except CredentialsError as error:
        raise StartError(str(error), exit_code=2) from error


async def _serve(
    settings: Settings, environment: Mapping[str, str], registry: CollectorRegistry, cluster: Attached | None
) -> None:
    log = logger("control_plane")
    settings.xds_security.check(settings.xds_address)
    audience = settings.xds_security.token_audience
    access = settings.xds_security.access(cluster.token_review(audience) if cluster is not None and audience else None)
    metrics = Metrics(registry)
    tracing = Tracing("control_plane")
    TracingMetrics(registry, tracing)
    store = Store(tracing=tracing)
    source = _source(settings, environment, store, metrics, cluster.discovery if cluster is not None else None)
    registry.register(StoreCollector(store))
    xds = XdsServer(store, metrics, access)
    traffic = Traffic(names_from(store, lambda: source.gateways))
    reports = Reports(traffic, metrics, access, presented, gateways=lambda: tuple(store.feeds))
    # Envoy's requests grow with what it knows: gRPC's 4 MiB would lock large ones out.
    server = GrpcServer(ServerOptions(max_receive_bytes=32 * MIB, max_connection_age_s=_CONNECTION_AGE_S))
    server.server.add_generic_rpc_handlers((*xds.handlers(), reports.handler()))
    draining = asyncio.Event()
    live = Live()
    http_tls = HttpTls(settings.http_tls) if settings.http_tls is not None else None
    app = control_plane_app(
        registry,
        store,
        source,
        is_draining=draining.is_set,
        traffic=traffic,
        live=live,
        round_s=lambda: reports.round_s,
        protection=_protection(settings),
        discovery=cluster.discovery if cluster is not None else None,
    )
    credentials = settings.xds_security.credentials()
    xds_address = server.bind(settings.xds_address, name="xDS", credentials=credentials)
    async with (
        tracing.running(),
        _http_running(app, settings.http_address, http_tls, live) as http_address,
        _xds_running(server, xds, draining),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(raise_on_signal(), name="signals")
        if cluster is not None:
            tasks.create_task(cluster.run(), name="cluster")
            await cluster.first_config_map()
        await source.start(strict=settings.strict_start)
        await server.set_serving(True)
        log.info("ready", xds=xds_address, http=http_address, config=settings.config or settings.config_dir)
        tasks.create_task(source.run(), name="configuration")
        tasks.create_task(store.run(), name="store")
        tasks.create_task(reports.run(), name="reports of statistics")
        tasks.create_task(live.run(), name="status page")
        if http_tls is not None:
            tasks.create_task(http_tls.run(), name="certificate of the HTTP side")
        if cluster is not None:
            present = partial(_problems, settings, source, store, cluster.discovery)
            tasks.create_task(cluster.report(present), name="reports")


def _source(
    settings: Settings, environment: Mapping[str, str], store: Store, metrics: Metrics, discovery: Discovery | None
) -> Reconciler | Gateways:
    """What follows one file, or every file of a folder."""
    callouts, state_dir = _callouts(settings), settings.state_dir

    def make(path: str, last_good: LastGood | None, cluster: Discovering | None, claim: Claim) -> Reconciler:
        return Reconciler(
            path=path,
            environment=environment,
            store=store,
            metrics=metrics,
            last_good=last_good,
            callouts=callouts,
            discovery=cluster,
            claim=claim,
        )

    if settings.config_dir:
        return Gateways(Path(settings.config_dir), make, store, state_dir=state_dir, discovery=discovery)
    return make(settings.config, LastGood(state_dir) if state_dir is not None else None, discovery, lambda _: None)


def _problems(
    settings: Settings, source: Reconciler | Gateways, store: Store, discovery: Discovery
) -> Iterator[Problem]:
    yield from configuration_problems(source.status.faults, settings.config_map)
    yield from refusals(store.clients(), settings.config_map)
    for gateway in source.gateways:
        yield from discovery_problems(gateway, discovery.cluster)


@asynccontextmanager
async def _xds_running(server: GrpcServer, xds: XdsServer, draining: asyncio.Event) -> AsyncIterator[None]:
    await server.start()
    try:
        yield
    finally:
        draining.set()
        xds.close()
        await asyncio.shield(server.stop(drain_s=_DRAIN_S))


@asynccontextmanager
async def _http_running(app: web.Application, address: str, tls: HttpTls | None, live: Live) -> AsyncIterator[str]:
    async with http_server(app, address, name="HTTP", tls=tls.context if tls is not None else None) as bound:
        try:
            yield bound
        finally:
            live.close()


def _protection(settings: Settings) -> Protection:
    by_certificate = settings.http_tls is not None and settings.http_tls.ca_file != ""
    return Protection(settings.http_token, by_certificate, is_loopback(settings.http_address))


def _callouts(settings: Settings) -> dict[str, Endpoint]:
    given = {
        "ext_authz": settings.ext_authz_endpoint,
        "ext_proc": settings.ext_proc_endpoint,
        ANALYTICS: settings.analytics_endpoint,
    }
    return {name: _endpoint(name, text) for name, text in given.items() if text}


def _endpoint(name: str, text: str) -> Endpoint:
    if text.startswith("unix:/"):
        return Endpoint(text.removeprefix("unix:"), 0)
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise StartError(f"the endpoint of {name} is not HOST:PORT or unix:/PATH: {text!r}", exit_code=2)
    return Endpoint(host.strip("[]"), int(port))


def _refuse_open_http(settings: Settings) -> None:
    """The status shows names of services and reasons of faults: off this machine it wants to know who asks."""
    if not is_loopback(settings.http_address) and not _protection(settings).is_protected:
        raise StartError(
            f"--http-address {settings.http_address} is reachable from elsewhere: set GATEWAY_TOKEN, "
            "or --http-ca, --http-cert and --http-key (mTLS)",
            exit_code=2,
        )


_PANEL = "Who may connect over xDS"
_CA_HELP = "Clients need a certificate of this CA (mTLS); read again when it changes."
_CERT_HELP = "This server's certificate; read again when it changes."
_TOKEN_HELP = "A shared secret that is good for every gateway and kind of node."
_AUDIENCE_HELP = "Ask the cluster about ServiceAccount tokens for this audience."
_ANALYTICS_HELP = "Receives the access log of every gateway that does not say `analytics: none`: HOST:PORT, unix:/PATH."
_CLIENTS_HELP = "YAML file: which certificates, ServiceAccounts and tokens may be which nodes."


def main(
    config: Annotated[
        str, typer.Option(envvar="GATEWAY_CONFIG", help="The gateway.yaml to serve; it is watched.", show_default=False)
    ] = "",
    config_dir: Annotated[
        str,
        typer.Option(
            envvar="GATEWAY_CONFIG_DIR",
            help="Instead: a folder of them, one gateway each, chosen by node.cluster.",
            show_default=False,
        ),
    ] = "",
    xds_address: Annotated[
        str, typer.Option(envvar="GATEWAY_XDS_ADDRESS", help="Where Envoys and services connect.")
    ] = "127.0.0.1:18000",
    http_address: Annotated[
        str, typer.Option(envvar="GATEWAY_HTTP_ADDRESS", help="Status, /metrics, /healthz and /readyz.")
    ] = "127.0.0.1:18080",
    state_dir: Annotated[
        Path | None, typer.Option(envvar="GATEWAY_STATE_DIR", help="Keeps the last good configuration for a restart.")
    ] = None,
    strict_start: Annotated[
        bool, typer.Option("--strict-start", envvar="GATEWAY_STRICT_START", help="Exit with 2 if the file is faulty.")
    ] = False,
    token: Annotated[
        str, typer.Option(envvar="GATEWAY_TOKEN", help="Asked from callers of the HTTP side.", show_default=False)
    ] = "",
    http_ca: Annotated[
        str,
        typer.Option(envvar="GATEWAY_HTTP_CA", help="A client certificate of this CA is as good as the token."),
    ] = "",
    http_cert: Annotated[
        str, typer.Option(envvar="GATEWAY_HTTP_CERT", help="Certificate of the HTTP side; read again when it changes.")
    ] = "",
    http_key: Annotated[str, typer.Option(envvar="GATEWAY_HTTP_KEY", help="Its key.")] = "",
    xds_ca: Annotated[str, typer.Option(envvar="GATEWAY_XDS_CA", help=_CA_HELP, rich_help_panel=_PANEL)] = "",
    xds_cert: Annotated[str, typer.Option(envvar="GATEWAY_XDS_CERT", help=_CERT_HELP, rich_help_panel=_PANEL)] = "",
    xds_key: Annotated[str, typer.Option(envvar="GATEWAY_XDS_KEY", help="Its key.", rich_help_panel=_PANEL)] = "",
    xds_token: Annotated[
        str,
        typer.Option(envvar="GATEWAY_XDS_TOKEN", help=_TOKEN_HELP, show_default=False, rich_help_panel=_PANEL),
    ] = "",
    xds_token_audience: Annotated[
        str, typer.Option(envvar="GATEWAY_XDS_TOKEN_AUDIENCE", help=_AUDIENCE_HELP, rich_help_panel=_PANEL)
    ] = "",
    xds_clients: Annotated[
        Path | None, typer.Option(envvar="GATEWAY_XDS_CLIENTS", help=_CLIENTS_HELP, rich_help_panel=_PANEL)
    ] = None,
    ext_authz_endpoint: Annotated[
        str,
        typer.Option(envvar="GATEWAY_EXT_AUTHZ_ENDPOINT", help="Replaces the configured one: HOST:PORT, unix:/PATH."),
    ] = "",
    ext_proc_endpoint: Annotated[
        str,
        typer.Option(envvar="GATEWAY_EXT_PROC_ENDPOINT", help="Replaces the configured one: HOST:PORT, unix:/PATH."),
    ] = "",
    analytics_endpoint: Annotated[
        str,
        typer.Option(envvar="GATEWAY_ANALYTICS_ENDPOINT", help=_ANALYTICS_HELP, show_default=False),
    ] = "",
    kubeconfig: Annotated[
        str,
        typer.Option(envvar="GATEWAY_KUBECONFIG", help="Default: KUBECONFIG, else the pod's own.", show_default=False),
    ] = "",
    config_map: Annotated[
        str,
        typer.Option(
            envvar="GATEWAY_CONFIG_MAP",
            help="NAMESPACE/NAME of a ConfigMap that is kept as files beside --config.",
            show_default=False,
        ),
    ] = "",
    log_level: Annotated[str, typer.Option(envvar="GATEWAY_LOG_LEVEL", help=", ".join(LEVELS))] = "info",
    log_format: Annotated[str, typer.Option(envvar="GATEWAY_LOG_FORMAT", help="auto, json or console")] = "auto",
) -> None:
    """Serves a gateway.yaml to Envoys, ext_authz and ext_proc over xDS.

    With `--role analytics` the process is the receiver of Envoy's access log instead (`--role analytics --help`).

    Example: python -m control_plane --config envoy/gateway.yaml --state-dir .gateway
    """
    if bool(config) == bool(config_dir):
        raise typer.BadParameter("either --config FILE or --config-dir FOLDER")
    settings = Settings(
        config=config,
        config_dir=config_dir,
        xds_address=xds_address,
        http_address=http_address,
        state_dir=state_dir,
        strict_start=strict_start,
        http_token=token,
        http_tls=_http_tls(http_ca, http_cert, http_key),
        xds_security=XdsSecurity(xds_ca, xds_cert, xds_key, xds_token, xds_clients, xds_token_audience),
        ext_authz_endpoint=ext_authz_endpoint,
        ext_proc_endpoint=ext_proc_endpoint,
        analytics_endpoint=analytics_endpoint,
        kubeconfig=kubeconfig,
        config_map=_config_map(config_map),
        log_level=_one_of("--log-level", log_level, LEVELS),
        log_format=cast(LogFormat, _one_of("--log-format", log_format, ("auto", "json", "console"))),
    )
    configure_logging(settings.log_level, settings.log_format, process="control_plane")

    async def started() -> None:
        _refuse_open_http(settings)
        await serve(settings)

    sys.exit(run(started))


def _http_tls(ca_file: str, certificate_file: str, key_file: str) -> TlsFiles | None:
    if bool(certificate_file) != bool(key_file) or (ca_file and not key_file):
        raise typer.BadParameter("--http-cert and --http-key belong together, and --http-ca needs both")
    return TlsFiles(certificate_file, key_file, ca_file) if certificate_file else None


def _config_map(text: str) -> Reference | None:
    try:
        return config_map_reference(text)
    except ValueError as error:
        raise typer.BadParameter(f"--config-map: {error}") from error


def _one_of(flag: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise typer.BadParameter(f"{flag} is one of {', '.join(allowed)}")
    return value


def run_process() -> None:
    """By the command line."""
    typer.run(main)
