"""Is a process ready? One connection, in a thread, with a limit."""

import asyncio
import socket
from http.client import HTTPConnection, HTTPException

from control_plane.supervisor.processes import HttpProbe, Probe, TcpProbe

LIMIT_S = 1.0


async def holds(probe: Probe) -> bool:
    """Whether the process answers as its probe wants it, within a second."""
    try:
        match probe:
            case TcpProbe():
                return await asyncio.to_thread(_accepts, probe.host, probe.port)
            case HttpProbe():
                status, _ = await http_request("GET", probe.host, probe.port, probe.path)
                return status == 200
    except OSError:
        return False


async def http_request(method: str, host: str, port: int, path: str) -> tuple[int, str]:
    """Status and body of one request; raises OSError, also for a peer that speaks no HTTP."""
    return await asyncio.to_thread(_http_request, method, host, port, path)


def _http_request(method: str, host: str, port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=LIMIT_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode("latin-1")
    except HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def _accepts(host: str, port: int) -> bool:
    with socket.create_connection((host, port), timeout=LIMIT_S):
        return True
