"""Is a process ready? One connection to 127.0.0.1, with a limit; small enough to need no HTTP library."""

import asyncio

from control_plane.supervisor.processes import HttpProbe, Probe, TcpProbe

LIMIT_S = 1.0


async def holds(probe: Probe) -> bool:
    """Whether the process answers as its probe wants it, within a second."""
    try:
        async with asyncio.timeout(LIMIT_S):
            match probe:
                case TcpProbe():
                    return await _accepts(probe.host, probe.port)
                case HttpProbe():
                    return await http_status("GET", probe.host, probe.port, probe.path) == 200
    except (OSError, TimeoutError):
        return False


async def _accepts(host: str, port: int) -> bool:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return True


async def http_status(method: str, host: str, port: int, path: str) -> int:
    """The status of one request; 0 if the peer speaks no HTTP. Raises OSError."""
    status, _ = await http_request(method, host, port, path)
    return status


async def http_request(method: str, host: str, port: int, path: str) -> tuple[int, str]:
    """Status and body of one request on a connection of its own. Raises OSError."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
        answer = (await reader.read()).decode("latin-1")
    finally:
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    words = head.split(maxsplit=2)
    status = int(words[1]) if len(words) > 1 and words[0].startswith("HTTP/") and words[1].isdigit() else 0
    return status, body
