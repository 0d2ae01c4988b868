"""The process's flags; each is a GATEWAY_* variable too, and the flag wins."""

import argparse
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway_runtime.telemetry import LEVELS, LogFormat
from gateway_runtime.transport import DIALLING_FLAGS, Dialling, dialling, dialling_arguments

_EXAMPLE = """example:
  python -m ext_authz --xds-address 127.0.0.1:18000 --address unix:/run/gateway/authz.sock --workers 2
"""


@dataclass(frozen=True, slots=True)
class Settings:
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
    limiter_keys: int
    token_cache: int
    share: int
    """How many workers divide the memory limits among themselves."""
    store_timeout_s: float
    """How long requests wait for a Redis that holds limits."""
    jwks_allow_http: bool
    jwks_allow_private: bool
    drain_s: float
    notice_s: float
    worker_of: int | None
    """Descriptor of the pipe to the parent; None outside of a worker."""
    log_level: str
    log_format: LogFormat


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Exits with status 2 and a message on stderr for what it does not understand."""
    parser = _parser(environment)
    flags = parser.parse_args(arguments)
    if flags.workers < 1:
        parser.error("--workers has to be at least 1")
    try:
        addresses = _addresses(flags.address, flags.ports, flags.workers)
        admin_addresses = _following(flags.admin_address, flags.workers)
        xds = dialling(flags, environment)
    except ValueError as error:
        parser.error(str(error))
    return Settings(
        xds_address=flags.xds_address,
        dialling=xds,
        addresses=addresses,
        admin_addresses=admin_addresses,
        gateway=flags.gateway,
        node_id=flags.node_id or f"ext-authz-{socket.gethostname()}-{addresses[0].rpartition(':')[2]}",
        limiter_keys=flags.limiter_keys,
        token_cache=flags.token_cache,
        share=flags.share or flags.workers,
        store_timeout_s=flags.store_timeout,
        jwks_allow_http=flags.jwks_allow_http,
        jwks_allow_private=flags.jwks_allow_private,
        drain_s=flags.drain,
        notice_s=flags.notice,
        worker_of=flags.worker_of,
        log_level=flags.log_level,
        log_format=flags.log_format,
    )


def worker_arguments(settings: Settings) -> list[list[str]]:
    """The flags of each worker of a parent."""
    shared = [
        *dialling_arguments(settings.dialling),
        *("--xds-address", settings.xds_address, "--gateway", settings.gateway, "--share", str(settings.share)),
        *("--limiter-keys", str(settings.limiter_keys), "--token-cache", str(settings.token_cache)),
        *("--store-timeout", str(settings.store_timeout_s)),
        *("--drain", str(settings.drain_s), "--notice", str(settings.notice_s)),
        *("--log-level", settings.log_level, "--log-format", settings.log_format),
    ]
    shared += ["--workers", "1", "--ports", ""]
    shared += ["--jwks-allow-http"] if settings.jwks_allow_http else ["--no-jwks-allow-http"]
    shared += ["--jwks-allow-private"] if settings.jwks_allow_private else ["--no-jwks-allow-private"]
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


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ext_authz",
        description="Authentication and rate limits for Envoy (envoy.service.auth.v3).",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def flag(name: str, variable: str, default: str, text: str, kind: type = str, **more: object) -> None:
        described = f"{text} [{variable}; {default or 'empty'}]"
        value = environment.get(variable, default)
        parser.add_argument(name, default=value, type=kind, help=described, **more)  # type: ignore[arg-type]

    def switch(name: str, variable: str, text: str) -> None:
        parser.add_argument(
            name,
            default=environment.get(variable, "").lower() in ("1", "true", "yes"),
            action=argparse.BooleanOptionalAction,
            help=f"{text} [{variable}; no]",
        )

    flag("--xds-address", "GATEWAY_XDS_ADDRESS", "127.0.0.1:18000", "control plane to get policies from")
    for name, variable, text in DIALLING_FLAGS:
        flag(name, variable, "", text)
    flag("--address", "GATEWAY_AUTHZ_ADDRESS", "127.0.0.1:9001", "HOST:PORT or unix:/PATH to serve gRPC on")
    flag("--admin-address", "GATEWAY_AUTHZ_ADMIN_ADDRESS", "127.0.0.1:9101", "/metrics, /healthz, /readyz")
    flag("--gateway", "GATEWAY_NAME", "", "gateway whose policies are wanted; empty: all of the control plane")
    flag("--workers", "GATEWAY_AUTHZ_WORKERS", "1", "processes, each on its own socket or port", int)
    flag("--ports", "GATEWAY_AUTHZ_PORTS", "", "ports of the workers, separated by commas; else counted up")
    flag("--node-id", "GATEWAY_AUTHZ_NODE_ID", "", "shown in the control plane's status; else host and port")
    flag("--limiter-keys", "GATEWAY_AUTHZ_LIMITER_KEYS", "1000000", "rate limit buckets held in memory", int)
    flag("--token-cache", "GATEWAY_AUTHZ_TOKEN_CACHE", "20000", "verified tokens remembered", int)
    flag("--share", "GATEWAY_AUTHZ_SHARE", "0", "stores that divide the limits; 0: the workers", int)
    flag("--store-timeout", "GATEWAY_AUTHZ_STORE_TIMEOUT", "0.05", "seconds that requests wait for Redis", float)
    switch("--jwks-allow-http", "GATEWAY_AUTHZ_JWKS_ALLOW_HTTP", "fetch key sets over plain http too")
    switch("--jwks-allow-private", "GATEWAY_AUTHZ_JWKS_ALLOW_PRIVATE", "fetch key sets from private addresses too")
    flag("--notice", "GATEWAY_AUTHZ_NOTICE", "1.0", "seconds of NOT_SERVING before calls are refused", float)
    flag("--drain", "GATEWAY_AUTHZ_DRAIN", "10.0", "seconds that open calls have to end", float)
    flag("--log-level", "GATEWAY_LOG_LEVEL", "info", "lowest level written", choices=LEVELS)
    flag("--log-format", "GATEWAY_LOG_FORMAT", "auto", "how a line looks", choices=("auto", "json", "console"))
    parser.add_argument("--worker-of", type=int, default=None, help=argparse.SUPPRESS)
    return parser
