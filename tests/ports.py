"""Free ports for processes that cannot be asked to take port 0 and say which one they got."""

import os
import random
import socket

FIRST, LAST = 12_000, 31_000
"""Below the range from which the kernel takes ports for outgoing connections (ip_local_port_range)."""


def free_port() -> int:
    """A port of 127.0.0.1 that is free now and unlikely to be taken by anyone else soon."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many consecutive ones."""
    choice = random.Random(f"{os.getpid()} {os.urandom(8).hex()}")
    for _ in range(1000):
        first = choice.randrange(FIRST, LAST)
        if all(is_free(first + offset) for offset in range(count)):
            return first
    raise OSError(f"no {count} free ports between {FIRST} and {LAST}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
