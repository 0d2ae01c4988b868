"""The analytics process: builds the objects and runs them in one task group."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from prometheus_client import CollectorRegistry

from control_plane.analytics.envoy_stats import EnvoyStats
from control_plane.analytics.metrics import Metrics
from control_plane.analytics.receiver import Receiver
from control_plane.analytics.settings import Settings
from control_plane.analytics.sqlite import SqliteDatabase
from control_plane.analytics.storage import Database, Storage, StorageError
from control_plane.analytics.web import analytics_app
from control_plane.analytics.worker import Worker
from control_plane.flags import LogFormatFlag, LogLevelFlag, TokenFlag, checked_format, checked_level
from gateway_runtime.admin import http_server, register_process_metrics
from gateway_runtime.grpc_server import MIB, GrpcServer, ServerOptions
from gateway_runtime.process import StartError, raise_on_signal, run
from gateway_runtime.telemetry import Logs, configure_logging, logger

_DRAIN_S = 0.5
"""Envoy keeps entries while there is no stream; it has nothing to wait for."""


async def serve(settings: Settings, logs: Logs) -> None:
    """Run until a signal comes."""
    registry = CollectorRegistry()
    register_process_metrics(registry, logs)
    metrics = Metrics(registry)
    storage = Storage(database(settings), max_rows=settings.max_rows)
    with ThreadPoolExecutor(1, "storage") as executor:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            worker = Worker(
                storage,
                executor,
                metrics,
                max_consumers=settings.max_consumers,
                ask_envoy=EnvoyStats(session, settings.envoy_stats_port) if settings.envoy_stats_port else None,
            )
            try:
                await _serve(settings, registry, metrics, worker)
            finally:
                await asyncio.get_running_loop().run_in_executor(executor, storage.close)


async def _serve(settings: Settings, registry: CollectorRegistry, metrics: Metrics, worker: Worker) -> None:
    try:
        await worker.start()
    except StorageError as error:
        raise StartError(f"analytics: {error}") from error
    # Envoy's messages are some 16 KiB; a single entry with many headers may be larger.
    server = GrpcServer(ServerOptions(max_receive_bytes=16 * MIB))
    server.server.add_generic_rpc_handlers(tuple(Receiver(worker, metrics).handlers()))
    address = server.bind(settings.address, name="analytics")
    app = analytics_app(registry, worker, token=settings.http_token)
    try:
        async with (
            server.running(drain_s=_DRAIN_S),
            http_server(app, settings.http_address, name="analytics HTTP") as http_address,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(raise_on_signal(), name="signals")
            tasks.create_task(worker.run(), name="flush")
            await server.set_serving(True)
            kept = "PostgreSQL" if settings.database else str(settings.sqlite_file)
            logger("analytics").info("ready", grpc=address, http=http_address, kept_in=kept)
    finally:
        # When no more can come.
        await worker.flush()


def database(settings: Settings) -> Database:
    """By the settings; nothing is opened yet."""
    if not settings.database:
        return SqliteDatabase(settings.sqlite_file)
    from control_plane.analytics.postgresql import PostgresqlDatabase

    try:
        return PostgresqlDatabase(settings.database)
    except ValueError as error:
        raise StartError(f"--database is {error}", exit_code=2) from None


def _refuse(settings: Settings) -> None:
    """The report tells who calls what: off this machine it wants a token."""
    host = settings.http_address.rpartition(":")[0].strip("[]")
    if host not in ("127.0.0.1", "::1", "localhost") and not settings.http_token:
        raise StartError(
            f"--http-address {settings.http_address} is reachable from elsewhere: set GATEWAY_TOKEN", exit_code=2
        )


_DATABASE_HELP = "postgresql:// URL; without it a SQLite file in the state directory."
_STATS_HELP = "Port where Envoys tell their statistics, to count what was lost; 0: do not ask."


def main(
    address: Annotated[
        str, typer.Option(envvar="GATEWAY_ANALYTICS_ADDRESS", help="Where Envoys send their access log (gRPC).")
    ] = "127.0.0.1:9003",
    http_address: Annotated[
        str, typer.Option(envvar="GATEWAY_ANALYTICS_HTTP_ADDRESS", help="Report, /metrics, /healthz and /readyz.")
    ] = "127.0.0.1:9103",
    state_dir: Annotated[
        Path, typer.Option(envvar="GATEWAY_STATE_DIR", help="Where the counts are kept (usage.sqlite).")
    ] = Path("."),
    database: Annotated[
        str, typer.Option(envvar="GATEWAY_ANALYTICS_DATABASE", help=_DATABASE_HELP, show_default=False)
    ] = "",
    token: TokenFlag = "",
    max_consumers: Annotated[
        int,
        typer.Option(min=1, envvar="GATEWAY_ANALYTICS_MAX_CONSUMERS", help="Told apart at a time; others are (other)."),
    ] = 1000,
    max_rows: Annotated[
        int,
        typer.Option(min=1, envvar="GATEWAY_ANALYTICS_MAX_ROWS", help="Kept of one minute, hour or day."),
    ] = 5000,
    envoy_stats_port: Annotated[
        int, typer.Option(min=0, max=65535, envvar="GATEWAY_ANALYTICS_ENVOY_STATS_PORT", help=_STATS_HELP)
    ] = 9902,
    log_level: LogLevelFlag = "info",
    log_format: LogFormatFlag = "auto",
) -> None:
    """Receives Envoy's access log and reports who uses what.

    Example: python -m control_plane --role analytics --state-dir .gateway/analytics
    """
    settings = Settings(address, http_address, state_dir, database, token, max_consumers, max_rows, envoy_stats_port)
    logs = configure_logging(checked_level(log_level), checked_format(log_format), process="analytics")

    async def started() -> None:
        _refuse(settings)
        await serve(settings, logs)

    sys.exit(run(started))


def run_process() -> None:
    """By the command line."""
    typer.run(main)
