"""A gRPC server as every process of ours runs it: options, health service, one bound address, graceful end."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from gateway_runtime.certificates import Renewing
from gateway_runtime.process import StartError
from gateway_runtime.transport import TlsMaterial

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What differs between our servers."""

    max_receive_bytes: int = 4 * MIB
    """A larger message ends its call with RESOURCE_EXHAUSTED. Envoy's delta reconnect can exceed gRPC's 4 MiB
    (https://github.com/envoyproxy/gateway/issues/9564)."""
    max_concurrent_streams: int = 0
    """Per connection; 0 is no limit."""
    keepalive_s: float = 30.0
    """A peer that does not answer a ping within 10 s is gone: half-open connections would freeze it for hours."""
    max_connection_age_s: float = 0.0
    """0: connections live as long as the peer likes. gRPC adds a jitter of 10 %."""
    max_connection_age_grace_s: float = 10.0
    """Streams that are still open so long after that are cut: some never end by themselves."""

    def arguments(self) -> list[tuple[str, int]]:
        """As grpc.aio.server takes them."""
        chosen = [
            ("grpc.max_receive_message_length", self.max_receive_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", int(self.keepalive_s * 1000)),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            # Peers may ping as often as they like: Envoy's bootstrap says 30 s, tests say less.
            ("grpc.http2.min_ping_interval_without_data_ms", 1000),
            # Otherwise two processes share one port and a taken one goes unnoticed.
            ("grpc.so_reuseport", 0),
        ]
        if self.max_concurrent_streams:
            chosen.append(("grpc.max_concurrent_streams", self.max_concurrent_streams))
        if self.max_connection_age_s:
            chosen.append(("grpc.max_connection_age_ms", int(self.max_connection_age_s * 1000)))
            chosen.append(("grpc.max_connection_age_grace_ms", int(self.max_connection_age_grace_s * 1000)))
        return chosen


class GrpcServer:
    """A grpc.aio server with grpc.health.v1; NOT_SERVING until `set_serving(True)`.

    Build it inside the running loop: grpc.aio binds to that one.
    """

    def __init__(self, options: ServerOptions | None = None, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()):
        self._server = grpc.aio.server(options=(options or ServerOptions()).arguments(), interceptors=interceptors)
        self._health = health_aio.HealthServicer()
        self._is_serving = False
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    @property
    def server(self) -> grpc.aio.Server:
        """To register servicers and generic handlers with."""
        return self._server

    def bind(self, address: str, *, name: str, credentials: grpc.ServerCredentials | None = None) -> str:
        """Bind to `host:port` (port 0: any free one) or `unix:/path`; return the address that clients can dial.

        Args:
            name: what the address is for, as the operator knows it ("xDS", "ext_authz"); part of the error.

        Raises:
            StartError: the address is taken or not of this machine.
        """
        if (trouble := _trouble(address)) is not None:
            raise StartError(f"{name}: cannot listen on {address}: {trouble}")
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StartError(f"{name}: cannot listen on {address}: {error}") from error
        if address.startswith("unix:"):
            return address
        return f"{address.rpartition(':')[0]}:{port}"

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told; Envoy sends no callout to a server that is NOT_SERVING."""
        self._is_serving = serving
        status = health_pb2.HealthCheckResponse
        await self._health.set("", status.SERVING if serving else status.NOT_SERVING)

    async def start(self) -> None:
        await self.set_serving(self._is_serving)
        await self._server.start()

    async def stop(self, *, notice_s: float = 0.0, drain_s: float = 10.0) -> None:
        """Say NOT_SERVING, give callers `notice_s` to see it, then refuse new calls and let open ones end.

        Args:
            notice_s: longer than the interval of the callers' health checks, 0 if they have none.
            drain_s: calls that are still open after it are cancelled.
        """
        await self._health.enter_graceful_shutdown()
        if notice_s:
            await asyncio.sleep(notice_s)
        await self._server.stop(drain_s)

    @asynccontextmanager
    async def running(self, *, notice_s: float = 0.0, drain_s: float = 10.0) -> AsyncIterator[None]:
        """Serve inside the block; leaving it, also by cancellation, drains first."""
        await self.start()
        try:
            yield
        finally:
            await asyncio.shield(self.stop(notice_s=notice_s, drain_s=drain_s))


def server_credentials(tls: Renewing) -> grpc.ServerCredentials:
    """TLS whose files are looked at again at each handshake; clients need a certificate if there is a CA."""
    given = tls.current()

    def renewed() -> "grpc.ServerCertificateConfiguration | None":
        """What is to be used from now on; None: what there is. gRPC calls it on a thread of its own."""
        nonlocal given
        if (material := tls.current()) is given:
            return None
        given = material
        return _certificates(material)

    # The stubs do not know that it may return None.
    return grpc.dynamic_ssl_server_credentials(_certificates(given), renewed, given.ca is not None)  # type: ignore[arg-type]


def _certificates(material: TlsMaterial) -> "grpc.ServerCertificateConfiguration":
    return grpc.ssl_server_certificate_configuration([(material.key, material.certificate)], material.ca)


async def serve(
    server: GrpcServer, *, notice_s: float = 0.0, drain_s: float = 10.0, on_start: Callable[[], None] | None = None
) -> None:
    """Serve until cancelled, then drain; the one task that a process gives its gRPC server."""
    async with server.running(notice_s=notice_s, drain_s=drain_s):
        if on_start is not None:
            on_start()
        await asyncio.Event().wait()


def _trouble(address: str) -> str | None:
    """Why the address cannot be listened on, if so: gRPC itself tells that only to its own log on stderr."""
    if address.startswith("unix:"):
        folder = os.path.dirname(address.removeprefix("unix:"))
        return None if os.path.isdir(folder) else f"there is no folder {folder}"
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except ValueError:
        return "it is not HOST:PORT or unix:PATH"
    except OSError as error:
        return error.strerror or str(error)
    return None
