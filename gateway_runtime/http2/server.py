"""Listens for Envoy's connections and moves their bytes; what is decided is decided in `connection.py`."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from grpc_health.v1 import health_pb2

from gateway_runtime.http2.connection import Call, Connection, Limits, Open
from gateway_runtime.http2.frames import ConnectionFault
from gateway_runtime.http2.methods import Unary
from gateway_runtime.process import StartError
from gateway_runtime.telemetry import logger


class Http2Server:
    """gRPC methods and grpc.health.v1 on one address; NOT_SERVING until `set_serving(True)`."""

    def __init__(self, methods: Mapping[str, Open], limits: Limits | None = None) -> None:
        """
        Args:
            methods: by path, `/package.Service/Method`.
        """
        self._methods = {path.encode(): method for path, method in methods.items()}
        self._methods[b"/grpc.health.v1.Health/Check"] = Unary(self._health)
        self._limits = limits or Limits()
        self._is_serving = False
        self._draining = False
        self._protocols: set[_Protocol] = set()
        self._idle = asyncio.Event()
        self._socket: socket.socket | None = None
        self._unix_path: str | None = None

    def bind(self, address: str, *, name: str) -> str:
        """Bind to `host:port` (port 0: any free one) or `unix:/path`; return the address that clients can dial.

        Args:
            name: what the address is for, as the operator knows it; part of the error.

        Raises:
            StartError: the address is taken or not of this machine.
        """
        try:
            self._socket = self._bound(address)
        except (OSError, ValueError) as error:
            reason = (
                error.strerror if isinstance(error, OSError) and error.strerror else "it is not HOST:PORT or unix:PATH"
            )
            raise StartError(f"{name}: cannot listen on {address}: {reason}") from error
        if address.startswith("unix:"):
            return address
        return f"{address.rpartition(':')[0]}:{self._socket.getsockname()[1]}"

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told; Envoy sends no callout to a server that is NOT_SERVING."""
        self._is_serving = serving

    @asynccontextmanager
    async def running(self, *, notice_s: float = 0.0, drain_s: float = 10.0) -> AsyncIterator[None]:
        """Serve inside the block; leaving it, also by cancellation, drains first."""
        assert self._socket is not None, "bind comes first"
        listener = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(self._methods, self._limits, self._protocols, self._note_idle),
            sock=self._socket,
            backlog=1024,
        )
        try:
            yield
        finally:
            await asyncio.shield(self._stop(listener, notice_s, drain_s))

    async def serve(self, *, notice_s: float = 0.0, drain_s: float = 10.0) -> None:
        """Serve until cancelled, then drain."""
        async with self.running(notice_s=notice_s, drain_s=drain_s):
            await asyncio.Event().wait()

    async def _stop(self, listener: asyncio.Server, notice_s: float, drain_s: float) -> None:
        """Say NOT_SERVING, give callers `notice_s` to see it, then refuse new calls and let open ones end."""
        self._is_serving = False
        if notice_s:
            await asyncio.sleep(notice_s)
        listener.close()
        self._draining = True
        for protocol in list(self._protocols):
            protocol.connection.drain()
        self._note_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
        for protocol in list(self._protocols):
            protocol.close()
        if self._unix_path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._unix_path)

    def _note_idle(self) -> None:
        if self._draining and not any(protocol.connection.open_calls for protocol in self._protocols):
            self._idle.set()

    def _health(self, message: bytes, _call: Call) -> bytes:
        status = health_pb2.HealthCheckResponse
        known = health_pb2.HealthCheckRequest.FromString(message).service == ""
        serving = status.SERVING if self._is_serving else status.NOT_SERVING
        return status(status=serving if known else status.SERVICE_UNKNOWN).SerializeToString()

    def _bound(self, address: str) -> socket.socket:
        if address.startswith("unix:"):
            self._unix_path = address.removeprefix("unix:")
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._unix_path)
            listener = socket.socket(socket.AF_UNIX)
            where: Any = self._unix_path
        else:
            host, _, port = address.rpartition(":")
            family, kind, protocol, _, where = socket.getaddrinfo(
                host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(where)
        except OSError:
            listener.close()
            raise
        return listener


class _Protocol(asyncio.Protocol):
    """One connection on the event loop: reads pause while the peer does not read what we send."""

    def __init__(
        self, methods: Mapping[bytes, Open], limits: Limits, all_of_them: "set[_Protocol]", on_idle: Callable[[], None]
    ) -> None:
        self.connection = Connection(methods, limits, self._write_soon)
        self._loop = asyncio.get_running_loop()
        self._will_write = False
        self._all = all_of_them
        self._on_idle = on_idle
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream, always
        self._transport = transport
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._all.add(self)
        self._write()

    def data_received(self, data: bytes) -> None:
        try:
            self.connection.receive(data)
        except ConnectionFault as fault:
            logger("http2").warning("connection_refused", code=fault.code.name, reason=str(fault))
            self.close()
            return
        self._write()

    def pause_writing(self) -> None:
        self.connection.hold()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
        self.connection.go_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._all.discard(self)
        self._transport = None
        self.connection.lose()
        self._on_idle()

    def close(self) -> None:
        """After what is still to be sent."""
        self._write()
        if self._transport is not None:
            self._transport.close()

    def _write_soon(self) -> None:
        """Once for all that is sent in this turn of the loop: what a store answers at once is one system call."""
        if not self._will_write:
            self._will_write = True
            self._loop.call_soon(self._write_now)

    def _write_now(self) -> None:
        self._will_write = False
        self._write()

    def _write(self) -> None:
        if self._transport is not None:
            data = self.connection.take()
            if data:
                self._transport.write(data)
        self._on_idle()
