"""From a command line to running processes: everything that can be refused is refused before anything starts."""

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from google.protobuf.json_format import MessageToJson

from control_plane.cli.environment import EnvFileError, environment_for
from control_plane.cli.files import CommandLineFiles
from control_plane.cli.loaded import print_warnings
from control_plane.cli.tokens import minted
from control_plane.config.loading import load
from control_plane.config.model.auth import JwtProvider
from control_plane.config.model.gateway import Gateway
from control_plane.envoy_binary import CHECKOUT, EnvoyMissingError, find_envoy
from control_plane.supervisor.conduct import Run, conduct
from control_plane.supervisor.detach import detach
from control_plane.supervisor.listening import taken
from control_plane.supervisor.plan import Plan, demo_environment, runs_analytics
from control_plane.supervisor.ports import LOOPBACK, Ports, clashes, listener_bindings, own_bindings
from control_plane.supervisor.state_dir import AlreadyRunningError, Lock, StateDir
from control_plane.translate.bootstrap import BootstrapSettings, bootstrap

TOKEN_LIFETIME = timedelta(hours=1)
DEFAULT_CONFIG = CHECKOUT / "envoy" / "gateway.yaml"


@dataclass(frozen=True, slots=True)
class Request:
    """What was typed."""

    config: Path | None
    state_dir: Path
    demo: bool | None
    """None: with the default configuration only, which leads to the demo's upstreams."""
    envoy: str | None
    env_file: Path | None
    ports: Ports
    detach: bool


class StartRefusedError(Exception):
    """Nothing was started; the text is for the operator."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def start(request: Request, environment: Mapping[str, str]) -> int:
    """Run until asked to stop (or, detached, until ready); return the exit status. Raises StartRefusedError."""
    plan = _plan(request, environment)
    state = StateDir(request.state_dir)
    lock = _lock(state)
    with lock:
        _refuse_taken_ports(plan)
        state.bootstrap.write_text(_bootstrap(plan))
        run = Run(plan, state, lock, lambda provider: _token(plan.gateway.auth.jwt[provider]))
        return _detached(run) if request.detach else conduct(run, report=None)


def _plan(request: Request, environment: Mapping[str, str]) -> Plan:
    config = request.config or _default_config()
    demo = request.demo if request.demo is not None else config.resolve() == DEFAULT_CONFIG.resolve()
    try:
        variables = environment_for(config, request.env_file, environment)
    except EnvFileError as error:
        raise StartRefusedError(str(error), 2) from None
    if demo:
        variables = {**variables, **demo_environment(request.ports.demo)}
    gateway = _gateway(config, variables)
    try:
        envoy = find_envoy(request.envoy, variables)
    except EnvoyMissingError as error:
        raise StartRefusedError(str(error), 1) from None
    return Plan(
        config=str(config),
        gateway=gateway,
        ports=request.ports,
        demo=demo,
        python=sys.executable,
        envoy=envoy,
        bootstrap=str(StateDir(request.state_dir).bootstrap),
        state_dir=str(StateDir(request.state_dir).control_plane),
        analytics_dir=str(StateDir(request.state_dir).analytics),
        environment=variables,
        log_format="console" if sys.stdout.isatty() and not request.detach else "auto",
    )


def _default_config() -> Path:
    if not DEFAULT_CONFIG.is_file():
        raise StartRefusedError("no configuration: name one with -c FILE", 2)
    return Path(os.path.relpath(DEFAULT_CONFIG))


def _gateway(config: Path, environment: Mapping[str, str]) -> Gateway:
    loaded = load(str(config), CommandLineFiles(), environment, now=datetime.now(UTC))
    print_warnings(loaded.warnings)
    if loaded.gateway is None:
        raise StartRefusedError("\n".join(map(str, loaded.faults)), 2)
    return loaded.gateway


def _lock(state: StateDir) -> Lock:
    try:
        return state.lock()
    except AlreadyRunningError as running:
        raise StartRefusedError(f"{running}; stop it with: gatewayctl down --state-dir {state.path}", 1) from None
    except OSError as error:
        raise StartRefusedError(f"cannot use {state.path}: {error.strerror}", 1) from None


def _refuse_taken_ports(plan: Plan) -> None:
    own = own_bindings(plan.ports, plan.demo, analytics=runs_analytics(plan.gateway))
    bindings = [*listener_bindings(plan.gateway), *own]
    if trouble := clashes(bindings) or taken(bindings):
        StateDir(Path(plan.bootstrap).parent).sweep()
        raise StartRefusedError("\n".join(trouble), 1)


def _bootstrap(plan: Plan) -> str:
    ports = plan.ports
    settings = BootstrapSettings(
        name=plan.gateway.name,
        node_id=f"{plan.gateway.name}-{socket.gethostname()}",
        xds_host=LOOPBACK,
        xds_port=ports.xds,
        xds_token=plan.environment.get("GATEWAY_XDS_TOKEN", ""),
        admin_address=LOOPBACK,
        admin_port=ports.envoy_admin,
        status_address=LOOPBACK,
        status_port=ports.envoy_ready,
    )
    return MessageToJson(bootstrap(settings))


def _token(provider: JwtProvider) -> str:
    """For the commands that are suggested: alice's, for an hour."""
    lifetime = min(TOKEN_LIFETIME, provider.max_lifetime or TOKEN_LIFETIME)
    ttl = f"{lifetime.total_seconds():.0f}s"
    return minted(provider, sub="alice", claims=(), ttl=ttl, private_key=None, jwks=None, now=int(time.time()))


def _detached(run: Run) -> int:
    ready, text = detach(lambda report: conduct(run, report), run.state.logs / "up.log")
    typer.echo(text, err=not ready)
    return 0 if ready else 1
