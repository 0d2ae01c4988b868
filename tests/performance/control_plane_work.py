"""What the control plane's own work costs: reading, translating and publishing configurations of some size."""

from collections.abc import Callable, Sequence
from statistics import median
from time import process_time

from control_plane.config.loading import Loaded, load
from control_plane.config.model.gateway import Gateway
from control_plane.translate import translate
from tests.performance.report import Timing

_PATH = "gateway.yaml"
_HEAD = """\
version: 1
name: bench
listeners: [{name: public, address: 127.0.0.1, port: 10000}]
auth:
  jwt:
    bench:
      issuer: https://issuer.example
      audiences: [bench]
      algorithms: [HS256]
      secret: "a shared secret of the benchmark, 32 bytes or more"
rate_limits:
  per-user: {rate: 100/minute, key: [user]}
defaults:
  auth: {any_of: [jwt.bench]}
  retry: {attempts: 2, on: [connect-failure, 503]}
"""


class _OneFile:
    """A configuration that includes and names nothing."""

    def __init__(self, text: str) -> None:
        self._content = text.encode()

    def read(self, path: str) -> bytes:
        if path != _PATH:
            raise FileNotFoundError(path)
        return self._content

    def glob(self, _pattern: str) -> Sequence[str]:
        return ()


def gateway_yaml(routes: int) -> str:
    """A file with that many routes, one service for ten of them, every second one cached and limited."""
    lines = [_HEAD, "services:\n"]
    for number in range(max(1, routes // 10)):
        endpoint = f"{{address: 10.{number // 250}.{number % 250}.1, port: 8080}}"
        lines.append(f"  service-{number}: {{endpoints: [{endpoint}]}}\n")
    lines.append("routes:\n")
    for number in range(routes):
        policies = ", cache: {ttl: 5s}, rate_limits: [per-user]" if number % 2 else ""
        match, service = f"{{path_prefix: /api/{number}}}", f"service-{number // 10}"
        lines.append(f"  - {{name: route-{number}, match: {match}, service: {service}{policies}}}\n")
    return "".join(lines)


def measure(*, quick: bool) -> list[Timing]:
    """Reading and translating of 1,000 routes (50 in a quick run)."""
    routes, repetitions = (50, 1) if quick else (1000, 5)
    files = _OneFile(gateway_yaml(routes))
    loaded = load(_PATH, files, {})
    gateway = _gateway_of(loaded)
    return [
        Timing(f"read and check {routes} routes", cpu_ms(lambda: load(_PATH, files, {}), repetitions)),
        Timing(f"translate {routes} routes", cpu_ms(lambda: translate(gateway, {}, loaded.materials), repetitions)),
    ]


def _gateway_of(loaded: Loaded) -> Gateway:
    if loaded.gateway is None:
        raise ValueError("; ".join(map(str, loaded.faults)))
    return loaded.gateway


def cpu_ms(work: Callable[[], object], repetitions: int) -> float:
    """Median CPU time of one call, in milliseconds."""
    times = []
    for _ in range(repetitions):
        start = process_time()
        work()
        times.append(process_time() - start)
    return median(times) * 1000
