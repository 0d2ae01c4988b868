"""Which processes make a gateway on one machine, with which flags: the same commands that containers run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from control_plane.config.model.gateway import Gateway
from control_plane.supervisor.ports import LOOPBACK, WILDCARDS, Ports, demo_ports
from control_plane.supervisor.processes import EnvoyDrain, HttpProbe, Probe, Process, TcpProbe

CONTROL_PLANE = "control_plane"
ENVOY = "envoy"
ANALYTICS = "analytics"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the commands depend on."""

    config: str
    gateway: Gateway
    ports: Ports
    demo: bool
    python: str
    envoy: str
    bootstrap: str
    """Path of Envoy's bootstrap."""
    state_dir: str
    """Of the control plane: its last good configuration."""
    analytics_dir: str
    """Of analytics: what it has counted."""
    environment: Mapping[str, str]
    log_format: str


def demo_environment(first_port: int) -> dict[str, str]:
    """How envoy/gateway.yaml learns the demo's ports."""
    return {instance.variable: str(port) for instance, port in demo_ports(first_port).items()}


def processes(plan: Plan) -> tuple[Process, ...]:
    """In the order in which their lines are coloured; Envoy comes last, when there is something to serve."""
    callouts = tuple(_callouts(plan))
    analytics = (_analytics(plan),) if runs_analytics(plan.gateway) else ()
    return (_control_plane(plan), *callouts, *analytics, *(_demos(plan) if plan.demo else ()), _envoy(plan))


def runs_analytics(gateway: Gateway) -> bool:
    """Unless the file switches it off, or names another receiver."""
    return gateway.analytics is None or (
        gateway.analytics != "none" and not gateway.analytics.model_fields_set & {"endpoints", "kubernetes"}
    )


def _control_plane(plan: Plan) -> Process:
    ports = plan.ports
    flags = {
        "--config": plan.config,
        "--xds-address": f"{LOOPBACK}:{ports.xds}",
        "--http-address": f"{LOOPBACK}:{ports.http}",
        "--state-dir": plan.state_dir,
        **dict(_callout_endpoints(plan)),
        "--log-format": plan.log_format,
    }
    return _python(plan, CONTROL_PLANE, CONTROL_PLANE, flags, HttpProbe(ports.http))


def _callout_endpoints(plan: Plan) -> Iterator[tuple[str, str]]:
    """Those that are started here, unless the file names others."""
    callouts, ports = plan.gateway.callouts, plan.ports
    if not callouts.ext_authz.model_fields_set & {"endpoints", "kubernetes"}:
        yield "--ext-authz-endpoint", f"{LOOPBACK}:{ports.ext_authz}"
    if not callouts.ext_proc.model_fields_set & {"endpoints", "kubernetes"}:
        yield "--ext-proc-endpoint", f"{LOOPBACK}:{ports.ext_proc}"
    if runs_analytics(plan.gateway):
        yield "--analytics-endpoint", f"{LOOPBACK}:{ports.analytics}"


def _callouts(plan: Plan) -> Iterator[Process]:
    ports = plan.ports
    for name, port, admin_port in (
        ("ext_authz", ports.ext_authz, ports.ext_authz_admin),
        ("ext_proc", ports.ext_proc, ports.ext_proc_admin),
    ):
        flags = {
            "--xds-address": f"{LOOPBACK}:{ports.xds}",
            "--address": f"{LOOPBACK}:{port}",
            "--admin-address": f"{LOOPBACK}:{admin_port}",
            "--log-format": plan.log_format,
        }
        # Started at once, they would sit out their reconnect back-off while the control plane is still importing.
        yield _python(plan, name, name, flags, HttpProbe(admin_port), after=frozenset({CONTROL_PLANE}))


def _analytics(plan: Plan) -> Process:
    """No other waits for it, not even at the start: it is not needed to serve a request."""
    ports = plan.ports
    flags = {
        "--role": ANALYTICS,
        "--address": f"{LOOPBACK}:{ports.analytics}",
        "--http-address": f"{LOOPBACK}:{ports.analytics_http}",
        "--state-dir": plan.analytics_dir,
        "--envoy-stats-port": str(ports.envoy_ready),
        "--log-format": plan.log_format,
    }
    return _python(plan, ANALYTICS, CONTROL_PLANE, flags, HttpProbe(ports.analytics_http))


def _demos(plan: Plan) -> Iterator[Process]:
    for instance, port in demo_ports(plan.ports.demo).items():
        flags = {"--name": instance.service, "--instance": instance.name, "--port": str(port)}
        yield _python(plan, instance.name, "demo", flags, HttpProbe(port, "/health"))


def _python(
    plan: Plan,
    name: str,
    module: str,
    flags: Mapping[str, str],
    probe: HttpProbe,
    after: frozenset[str] = frozenset(),
) -> Process:
    arguments = [part for flag in flags.items() for part in flag]
    environment = {
        **plan.environment,
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",  # a folder `policy` where the user happens to stand is none of ours
    }
    return Process(name, (plan.python, "-m", module, *arguments), environment, (probe,), after)


def _envoy(plan: Plan) -> Process:
    drain_s = drain_limit_s(plan.gateway)
    command = (
        *(plan.envoy, "--config-path", plan.bootstrap),
        "--disable-hot-restart",  # its shared memory would allow one Envoy a machine
        *("--drain-time-s", str(max(1, round(drain_s))), "--drain-strategy", "immediate"),
        *("--log-level", "warning", "--log-format", "%L %n: %v"),
    )
    # The listeners accept as soon as the first configuration is live.
    probes: tuple[Probe, ...] = (HttpProbe(plan.ports.envoy_ready, "/ready"), *_listener_probes(plan.gateway))
    before = frozenset({CONTROL_PLANE, "ext_authz", "ext_proc"})
    drain = EnvoyDrain(plan.ports.envoy_admin, drain_s)
    return Process(ENVOY, command, plan.environment, probes, after=before, drain=drain)


def _listener_probes(gateway: Gateway) -> Iterable[TcpProbe]:
    for listener in gateway.listeners:
        yield TcpProbe(listener.port, LOOPBACK if listener.address in WILDCARDS else listener.address)


def drain_limit_s(gateway: Gateway) -> float:
    """How long requests in flight may take when the gateway stops: the longest of the listeners' limits."""
    return max(listener.limits.drain.total_seconds() for listener in gateway.listeners)
