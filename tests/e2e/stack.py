"""The whole gateway, started as users start it: `gatewayctl up -d` with the default configuration, on free ports."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt

from control_plane.supervisor.ports import DEMO_INSTANCES, Ports, demo_ports
from control_plane.supervisor.state_dir import State, StateDir
from tests.e2e.waiting import until
from tests.ports import free_ports

CHECKOUT = Path(__file__).resolve().parents[2]
DEFAULT_CONFIG = CHECKOUT / "envoy" / "gateway.yaml"
GATEWAYCTL = (sys.executable, "-c", "from control_plane.cli import main; main()")
SECRET = "a secret of thirty-two bytes for tests"


def is_alive(pid: int) -> bool:
    """A zombie that waits for a slow init counts as dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass(frozen=True)
class Stack:
    """One gateway on ports and in a folder of its own."""

    folder: Path
    port: int
    """Of the public listener; the others follow it."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> "Stack":
        """Nothing is started yet; the configuration is a copy that tests may edit."""
        own = len(_FLAGS) + len(DEMO_INSTANCES)
        stack = cls(folder, free_ports(1 + own))
        # Tests do not want to wait until an ejected instance is back.
        stack.config.write_text(DEFAULT_CONFIG.read_text().replace("base_ejection_time: 10s", "base_ejection_time: 3s"))
        return stack

    @property
    def config(self) -> Path:
        return self.folder / "gateway.yaml"

    @property
    def state_dir(self) -> StateDir:
        return StateDir(self.folder / "state")

    @property
    def ports(self) -> Ports:
        numbers = {name: self.port + 1 + index for index, name in enumerate(_FLAGS)}
        return Ports(**numbers, demo=self.port + 1 + len(_FLAGS))

    @property
    def all_ports(self) -> range:
        return range(self.port, self.port + 1 + len(_FLAGS) + len(DEMO_INSTANCES))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def demo(self, name: str) -> str:
        """Base URL of a demo instance, past the gateway."""
        return next(
            f"http://127.0.0.1:{port}"
            for instance, port in demo_ports(self.ports.demo).items()
            if instance.name == name
        )

    def variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "DEMO_"))}
        return {**kept, "GATEWAY_PORT": str(self.port), "JWT_SECRET": SECRET, **self.environment}

    def command(self, *flags: str) -> list[str]:
        """`gatewayctl up` with all ports."""
        ports = self.ports
        numbered = [part for name, flag in _FLAGS.items() for part in (flag, str(getattr(ports, name)))]
        return [
            *GATEWAYCTL,
            *("up", "-c", str(self.config), "--demo", "--state-dir", str(self.state_dir.path)),
            *(*numbered, "--demo-port", str(ports.demo), *flags),
        ]

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.variables(), cwd=CHECKOUT, capture_output=True, text=True, timeout=90, check=False
        )

    def up(self, *flags: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.command("-d", *flags))

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run([*GATEWAYCTL, "down", "--state-dir", str(self.state_dir.path)])

    def state(self) -> State:
        state = self.state_dir.read_state()
        assert state is not None, "the gateway does not run"
        return state

    def kill(self, name: str) -> int:
        """kill -9 one process; return the pid that it had."""
        pid = self.state().processes[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def until_restarted(self, name: str, old_pid: int) -> float:
        return until(lambda: self.state().processes.get(name, old_pid) != old_pid, f"{name} runs again")

    def edit(self, old: str, new: str) -> None:
        """Write the configuration as editors do: a new file in its place."""
        text = self.config.read_text()
        assert old in text, f"{old!r} is not in the configuration"
        draft = self.config.with_suffix(".new")
        draft.write_text(text.replace(old, new))
        draft.replace(self.config)

    def token(self, sub: str, **claims: object) -> str:
        """As the default configuration's provider wants it."""
        payload = {
            "iss": "https://auth.meetinity.io",
            "aud": "meetinity-api",
            "sub": sub,
            "exp": int(time.time()) + 600,
            **claims,
        }
        return jwt.encode(payload, SECRET, algorithm="HS256")

    def bearer(self, sub: str, **claims: object) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token(sub, **claims)}"}

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=20.0)

    def metric(self, name: str, port: int | None = None) -> float | None:
        """A sample without labels of the control plane's /metrics, or another's."""
        text = httpx.get(f"http://127.0.0.1:{port or self.ports.http}/metrics").text
        return next((float(line.split()[1]) for line in text.splitlines() if line.split()[0] == name), None)


_FLAGS = {
    "xds": "--xds-port",
    "http": "--http-port",
    "envoy_admin": "--envoy-admin-port",
    "envoy_ready": "--envoy-ready-port",
    "ext_authz": "--ext-authz-port",
    "ext_authz_admin": "--ext-authz-admin-port",
    "ext_proc": "--ext-proc-port",
    "ext_proc_admin": "--ext-proc-admin-port",
    "analytics": "--analytics-port",
    "analytics_http": "--analytics-http-port",
}
