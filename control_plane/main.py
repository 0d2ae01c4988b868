"""The control plane's process: builds the objects and runs them in one task group."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import typer
from aiohttp import web
from prometheus_client import CollectorRegistry

from control_plane.admin.http import Protection, control_plane_app
from control_plane.admin.tls import HttpTls
from control_plane.dashboard.live import Live
from control_plane.endpoints import Endpoint
from control_plane.flags import (
    AnalyticsEndpointFlag,
    ConfigDirFlag,
    ConfigFlag,
    ConfigMapFlag,
    ExtAuthzEndpointFlag,
    ExtProcEndpointFlag,
    HttpAddressFlag,
    HttpCaFlag,
    HttpCertFlag,
    HttpKeyFlag,
    KubeconfigFlag,
    LogFormatFlag,
    LogLevelFlag,
    StateDirFlag,
    StrictStartFlag,
    TokenFlag,
    XdsAddressFlag,
    XdsCaFlag,
    XdsCertFlag,
    XdsClientsFlag,
    XdsKeyFlag,
    XdsTokenAudienceFlag,
    XdsTokenFlag,
    checked_format,
    checked_level,
    config_map_flag,
    http_tls_files,
)
from control_plane.gateways import Gateways
from control_plane.kubernetes.api import CredentialsError
from control_plane.kubernetes.attached import Attached, attached
from control_plane.kubernetes.config_map import ConfigMapFiles
from control_plane.kubernetes.discovery import Discovery
from control_plane.kubernetes.problems import Problem
from control_plane.metrics import Metrics, StoreCollector
from control_plane.reconciler import ANALYTICS, Claim, Discovering, Reconciler
from control_plane.reports import configuration_problems, discovery_problems, refusals
from control_plane.served_certificates import ServedCertificates
from control_plane.settings import Settings
from control_plane.state import LastGood
from control_plane.traffic.service import Reports, names_from
from control_plane.traffic.traffic import Traffic
from control_plane.xds.server import XdsServer, presented
from control_plane.xds.store import Store
from control_plane.xds_security import XdsSecurity, is_loopback
from gateway_runtime.admin import http_server, register_process_metrics
from gateway_runtime.certificates import CertificateExpiry, Renewing
from gateway_runtime.grpc_server import MIB, GrpcServer, ServerOptions, server_credentials
from gateway_runtime.process import StartError, raise_on_signal, run
from gateway_runtime.telemetry import Logs, configure_logging, logger
from gateway_runtime.tracing import Tracing, TracingMetrics

_DRAIN_S = 2.0
"""For streams to be told that this replica ends; Envoys keep what they have and go to another one."""
_CONNECTION_AGE_S = 3600.0
"""Clients connect again every hour, spread by gRPC's jitter of 10 %: they find new replicas, and prove who they are."""


async def serve(settings: Settings, logs: Logs) -> None:
    """Run until a signal comes."""
    _refuse_open_http(settings)
    environment = dict(os.environ)
    registry = CollectorRegistry()
    register_process_metrics(registry, logs)
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
    xds_tls = settings.xds_security.tls()
    http_tls = HttpTls(settings.http_tls) if settings.http_tls is not None else None
    _register(registry, store, {"xds": xds_tls, "http": http_tls.tls if http_tls is not None else None})
    xds = XdsServer(store, metrics, access)
    traffic = Traffic(names_from(store, lambda: source.gateways))
    reports = Reports(traffic, metrics, access, presented, gateways=lambda: tuple(store.feeds))
    # Envoy's requests grow with what it knows: gRPC's 4 MiB would lock large ones out.
    server = GrpcServer(ServerOptions(max_receive_bytes=32 * MIB, max_connection_age_s=_CONNECTION_AGE_S))
    server.server.add_generic_rpc_handlers((*xds.handlers(), reports.handler()))
    draining = asyncio.Event()
    live = Live()
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
    credentials = server_credentials(xds_tls) if xds_tls is not None else None
    xds_address = server.bind(settings.xds_address, name="xDS", credentials=credentials)
    async with (
        tracing.running(),
        _http_running(app, settings.http_address, http_tls, live) as http_address,
        _xds_running(server, xds, draining),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(raise_on_signal(), name="signals")
        await _follow(tasks, settings, source, store, cluster)
        await server.set_serving(True)
        log.info("ready", xds=xds_address, http=http_address, config=settings.config or settings.config_dir)
        tasks.create_task(reports.run(), name="reports of statistics")
        tasks.create_task(live.run(), name="status page")
        if http_tls is not None:
            tasks.create_task(http_tls.run(), name="certificate of the HTTP side")


async def _follow(
    tasks: asyncio.TaskGroup,
    settings: Settings,
    source: Reconciler | Gateways,
    store: Store,
    cluster: Attached | None,
) -> None:
    """Serve the first configuration, and have what changes followed from then on."""
    if cluster is not None:
        tasks.create_task(cluster.run(), name="cluster")
        await cluster.first_config_map()
    await source.start(strict=settings.strict_start)
    tasks.create_task(source.run(), name="configuration")
    tasks.create_task(store.run(), name="store")
    if cluster is not None:
        present = partial(_problems, settings, source, store, cluster.discovery)
        tasks.create_task(cluster.report(present), name="reports")


def _register(registry: CollectorRegistry, store: Store, servers: Mapping[str, Renewing | None]) -> None:
    """What is told by looking when somebody asks."""
    registry.register(StoreCollector(store))
    registry.register(ServedCertificates(store))
    registry.register(CertificateExpiry({use: tls.current for use, tls in servers.items() if tls is not None}))


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


def main(
    config: ConfigFlag = "",
    config_dir: ConfigDirFlag = "",
    xds_address: XdsAddressFlag = "127.0.0.1:18000",
    http_address: HttpAddressFlag = "127.0.0.1:18080",
    state_dir: StateDirFlag = None,
    strict_start: StrictStartFlag = False,
    token: TokenFlag = "",
    http_ca: HttpCaFlag = "",
    http_cert: HttpCertFlag = "",
    http_key: HttpKeyFlag = "",
    xds_ca: XdsCaFlag = "",
    xds_cert: XdsCertFlag = "",
    xds_key: XdsKeyFlag = "",
    xds_token: XdsTokenFlag = "",
    xds_token_audience: XdsTokenAudienceFlag = "",
    xds_clients: XdsClientsFlag = None,
    ext_authz_endpoint: ExtAuthzEndpointFlag = "",
    ext_proc_endpoint: ExtProcEndpointFlag = "",
    analytics_endpoint: AnalyticsEndpointFlag = "",
    kubeconfig: KubeconfigFlag = "",
    config_map: ConfigMapFlag = "",
    log_level: LogLevelFlag = "info",
    log_format: LogFormatFlag = "auto",
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
        http_tls=http_tls_files(http_ca, http_cert, http_key),
        xds_security=XdsSecurity(xds_ca, xds_cert, xds_key, xds_token, xds_clients, xds_token_audience),
        ext_authz_endpoint=ext_authz_endpoint,
        ext_proc_endpoint=ext_proc_endpoint,
        analytics_endpoint=analytics_endpoint,
        kubeconfig=kubeconfig,
        config_map=config_map_flag(config_map),
    )
    logs = configure_logging(checked_level(log_level), checked_format(log_format), process="control_plane")
    sys.exit(run(lambda: serve(settings, logs)))


def run_process() -> None:
    """By the command line."""
    typer.run(main)
