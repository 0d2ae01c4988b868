"""The flags that both callouts have: where they listen, who sends their policies, how many workers there are.

Each flag is a GATEWAY_* variable too, and the flag wins.
"""

import argparse
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway_runtime.telemetry import LEVELS, LogFormat
from gateway_runtime.transport import DIALLING_FLAGS, Dialling, dialling, dialling_arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutSettings:
    """What one process serves, as text for gRPC and HTTP to bind and dial."""

    xds_address: str
    dialling: Dialling
    """How the control plane is reached."""
    addresses: tuple[str, ...]
    """One for each worker; more than one: this process is the parent of workers."""
    admin_addresses: tuple[str, ...]
    gateway: str
    """Name of the gateway whose policies it wants; "" is all of that control plane."""
    node_id: str
    drain_s: float
    notice_s: float
    worker_of: int | None
    """Descriptor of the pipe to the parent; None outside of a worker."""
    log_level: str
    log_format: LogFormat


@dataclass(frozen=True, slots=True)
class Callout:
    """What tells one callout from another in its flags."""

    module: str
    """`ext_authz`; its node id begins with `ext-authz`."""
    variable: str
    """`AUTHZ` of GATEWAY_AUTHZ_WORKERS."""
    description: str
    port: int
    """Of gRPC; that of metrics and health is a hundred higher."""


class CalloutFlags:
    """A parser with the common flags, to which a callout adds its own."""

    def __init__(self, callout: Callout, environment: Mapping[str, str]) -> None:
        self._callout = callout
        self._environment = environment
        name = callout.module.removeprefix("ext_")
        self._parser = argparse.ArgumentParser(
            prog=f"python -m {callout.module}",
            description=callout.description,
            epilog=f"example:\n  python -m {callout.module} --xds-address 127.0.0.1:18000 "
            f"--address unix:/run/gateway/{name}.sock --workers 2\n",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._add_common()

    def add(self, name: str, default: str, text: str, kind: Callable[[str], Any] = str) -> None:
        """`--store-timeout` of ext_authz is GATEWAY_AUTHZ_STORE_TIMEOUT too."""
        self._add(name, self._variable(name), default, text, type=kind)

    def add_switch(self, name: str, text: str) -> None:
        """`--x`, `--no-x` or a variable that is 1, true or yes; off by default."""
        variable = self._variable(name)
        self._parser.add_argument(
            name,
            default=self._environment.get(variable, "").lower() in ("1", "true", "yes"),
            action=argparse.BooleanOptionalAction,
            help=f"{text} [{variable}; no]",
        )

    def parse(self, arguments: Sequence[str]) -> tuple[dict[str, Any], argparse.Namespace]:
        """The values of CalloutSettings by name, and all flags.

        Exits with status 2 and a message on stderr for what it does not understand.
        """
        flags = self._parser.parse_args(arguments)
        if flags.workers < 1:
            self._parser.error("--workers has to be at least 1")
        try:
            addresses = _addresses(flags.address, flags.ports, flags.workers)
            admin_addresses = _following(flags.admin_address, flags.workers)
            xds = dialling(flags, self._environment)
        except ValueError as error:
            self._parser.error(str(error))
        kind = self._callout.module.replace("_", "-")
        common: dict[str, Any] = {
            "xds_address": flags.xds_address,
            "dialling": xds,
            "addresses": addresses,
            "admin_addresses": admin_addresses,
            "gateway": flags.gateway,
            "node_id": flags.node_id or f"{kind}-{socket.gethostname()}-{addresses[0].rpartition(':')[2]}",
            "drain_s": flags.drain,
            "notice_s": flags.notice,
            "worker_of": flags.worker_of,
            "log_level": flags.log_level,
            "log_format": flags.log_format,
        }
        return common, flags

    def _add_common(self) -> None:
        port = self._callout.port
        self._add("--xds-address", "GATEWAY_XDS_ADDRESS", "127.0.0.1:18000", "control plane to get policies from")
        for name, variable, text in DIALLING_FLAGS:
            self._add(name, variable, "", text)
        self.add("--address", f"127.0.0.1:{port}", "HOST:PORT or unix:/PATH to serve gRPC on")
        self.add("--admin-address", f"127.0.0.1:{port + 100}", "/metrics, /healthz, /readyz")
        self._add("--gateway", "GATEWAY_NAME", "", "gateway whose policies are wanted; empty: all of the control plane")
        self.add("--workers", "1", "processes, each on its own socket or port", int)
        self.add("--ports", "", "ports of the workers, separated by commas; else counted up")
        self.add("--node-id", "", "shown in the control plane's status; else host and port")
        self.add("--notice", "1.0", "seconds of NOT_SERVING before calls are refused", float)
        self.add("--drain", "10.0", "seconds that open calls have to end", float)
        self._add("--log-level", "GATEWAY_LOG_LEVEL", "info", "lowest level written", choices=LEVELS)
        self._add("--log-format", "GATEWAY_LOG_FORMAT", "auto", "how a line looks", choices=("auto", "json", "console"))
        self._parser.add_argument("--worker-of", type=int, default=None, help=argparse.SUPPRESS)

    def _variable(self, name: str) -> str:
        return f"GATEWAY_{self._callout.variable}_{name.removeprefix('--').replace('-', '_').upper()}"

    def _add(self, name: str, variable: str, default: str, text: str, **more: Any) -> None:
        described = f"{text} [{variable}; {default or 'empty'}]"
        self._parser.add_argument(name, default=self._environment.get(variable, default), help=described, **more)


def worker_arguments(settings: CalloutSettings, own: Sequence[str]) -> list[list[str]]:
    """The flags of each worker of a parent.

    Args:
        own: the callout's own flags, the same for every worker.
    """
    shared = [
        *dialling_arguments(settings.dialling),
        *("--xds-address", settings.xds_address, "--gateway", settings.gateway),
        *own,
        *("--drain", str(settings.drain_s), "--notice", str(settings.notice_s)),
        *("--log-level", settings.log_level, "--log-format", settings.log_format),
        *("--workers", "1", "--ports", ""),
    ]
    return [
        [*shared, "--address", address, "--admin-address", admin, "--node-id", f"{settings.node_id}-{index}"]
        for index, (address, admin) in enumerate(zip(settings.addresses, settings.admin_addresses, strict=True))
    ]


def _addresses(address: str, ports: str, workers: int) -> tuple[str, ...]:
    """`unix:/run/authz.sock` of 2 workers is authz-0.sock and authz-1.sock; `host:9001` counts up unless ports say."""
    if not ports:
        return _following(address, workers)
    numbers = [number.strip() for number in ports.split(",")]
    if len(numbers) != workers or not all(number.isdigit() for number in numbers):
        raise ValueError(f"--ports has to name one port for each of the {workers} workers, separated by commas")
    if address.startswith("unix:"):
        raise ValueError("--ports and a Unix socket exclude each other")
    host = address.rpartition(":")[0]
    return tuple(f"{host}:{number}" for number in numbers)


def _following(address: str, workers: int) -> tuple[str, ...]:
    if workers == 1:
        return (address,)
    if address.startswith("unix:"):
        stem, dot, suffix = address.rpartition(".")
        if not dot or "/" in suffix:
            stem, dot, suffix = address, "", ""
        return tuple(f"{stem}-{index}{dot}{suffix}" for index in range(workers))
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"{address!r} is no address (HOST:PORT or unix:/PATH)")
    first = int(port)
    return tuple(f"{host}:{first + index if first else 0}" for index in range(workers))
