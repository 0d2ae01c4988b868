"""Requests over HTTP/1.1 that no proper client would send."""

import socket


def raw(port: int, *lines: str | bytes, body: bytes = b"") -> bytes:
    """Send a request as it stands, whatever a proper client would make of it; return the answer's first line."""
    return raw_answer(port, *lines, body=body).partition(b"\r\n")[0]


def raw_answer(port: int, *lines: str | bytes, body: bytes = b"") -> bytes:
    """The same, and the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        text = b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
        connection.sendall(text + b"\r\nhost: a.example\r\nconnection: close\r\n\r\n" + body)
        with connection.makefile("rb") as answer:
            return answer.read()


def status_of(line: bytes) -> int:
    return int(line.split()[1])
