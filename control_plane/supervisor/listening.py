"""Are the addresses free? Asked before anything starts: Envoy would share a taken port silently (SO_REUSEPORT)."""

import errno
import socket
from collections.abc import Iterable

from control_plane.supervisor.ports import Binding


def taken(bindings: Iterable[Binding]) -> list[str]:
    """One line for each address that cannot be listened on, by name and number."""
    return [line for binding in bindings if (line := _refusal(binding))]


def _refusal(binding: Binding) -> str | None:
    family = socket.AF_INET6 if ":" in binding.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger after a restart do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((binding.address, binding.port))
        except OSError as error:
            return f"port {binding.port} ({binding.name}) {_why(error, binding)}"
    return None


def _why(error: OSError, binding: Binding) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "is taken by another process"
        case errno.EACCES:
            return "needs privileges that this process does not have"
        case errno.EADDRNOTAVAIL:
            return f"cannot be used: {binding.address} is no address of this machine"
        case _:
            return f"cannot be used: {error.strerror}"
