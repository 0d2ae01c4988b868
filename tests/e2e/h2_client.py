"""CONNECT over HTTP/2, plain and extended (RFC 8441), as no ordinary client lets one send it."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamReset

DEADLINE_S = 20.0


class Tunnel:
    """The one stream of a connection: what came of it, and bytes both ways if it is open."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._h2 = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
        self._stream = 0
        self.status: int | None = None
        """Of the answer; None: the stream or the connection was ended without one."""

    def connect(self, headers: Sequence[tuple[str, str]]) -> None:
        """Send CONNECT and wait for what comes of it."""
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(self._stream, headers)
        self._flush()
        for event in self._events():
            if isinstance(event, ResponseReceived):
                self.status = int(dict(event.headers)[b":status"])
            if isinstance(event, (ResponseReceived, StreamReset, ConnectionTerminated)):
                return

    def says(self, data: bytes) -> bytes:
        """Send bytes through the tunnel; return what comes back first."""
        self._h2.send_data(self._stream, data)
        self._flush()
        for event in self._events():
            if isinstance(event, DataReceived):
                return event.data
        return b""

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def _events(self) -> Iterator[Event]:
        while data := self._socket.recv(65536):
            yield from self._h2.receive_data(data)
            self._flush()


@contextmanager
def tunnel(port: int, headers: Sequence[tuple[str, str]]) -> Iterator[Tunnel]:
    """CONNECT to a listener on loopback with these headers, pseudo-headers first."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        made = Tunnel(connection)
        made.connect(headers)
        yield made


def websocket_headers(path: str, *more: tuple[str, str], protocol: str = "websocket") -> list[tuple[str, str]]:
    """An extended CONNECT for a WebSocket; the key is for services that speak HTTP/1.1."""
    return [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a.example"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        *more,
    ]
