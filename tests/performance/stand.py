"""The test stand: starts what the chosen cases need and keeps it until the run is over."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jwt

from control_plane import envoy_binary
from tests.performance import envoys
from tests.performance.empty_callouts import BODY_BYTES
from tests.performance.processes import HOST, BenchError, Program, answer_of, listens, program, wait_until
from tests.ports import free_port

ROOT = Path(__file__).parents[2]


Callouts = Literal["ours", "empty_grpcio", "empty_own", "headers_grpcio", "headers_own"]
"""Who listens at the callouts' addresses: our services, or handlers that decide nothing on one of the transports, which
answer with a body or change two headers.
"""


_PASSED: tuple[str, str] = ("content-length", str(BODY_BYTES))
_CACHED: Mapping[Callouts, tuple[str, str]] = {
    "ours": ("cache-status", "; hit"),
    "headers_grpcio": _PASSED,
    "headers_own": _PASSED,
}
"""How an answer on the route with a cache shows who made it."""


@dataclass(frozen=True)
class Target:
    """Something to load: a URL and the programs whose CPU time it costs."""

    url: str
    programs: Mapping[str, Program]
    """By role: envoy, callout (if there is one)."""
    headers: Mapping[str, str] = field(default_factory=dict)
    proof: tuple[str, str] = _PASSED
    """A header of the answer, and what it contains if the request went where it should."""


def find_envoy() -> str:
    """The Envoy binary, found as gatewayctl finds it."""
    try:
        return envoy_binary.find_envoy(None, os.environ)
    except envoy_binary.EnvoyMissingError as error:
        raise BenchError(str(error)) from error


def bearer_token() -> str:
    """A token of the bench's provider, valid for an hour."""
    now = int(time.time())
    claims = {"iss": envoys.JWT_ISSUER, "aud": envoys.JWT_AUDIENCE, "sub": "alice", "iat": now, "exp": now + 3600}
    return "Bearer " + jwt.encode(claims, envoys.JWT_SECRET, "HS256")


class Stand:
    """Starts each part on first use; a context manager that ends all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._envoy = find_envoy()
        self._running = ExitStack()
        self._programs: list[Program] = []
        self._upstream_port = 0
        self._static: Mapping[str, Target] = {}
        self._with_jwt_authn: Target | None = None
        self._gateways: dict[Callouts, Mapping[str, Target]] = {}

    def __enter__(self) -> "Stand":
        return self

    def __exit__(self, *_error: object) -> None:
        self._running.close()

    def plain(self) -> Target:
        """Envoy as a proxy and nothing else."""
        return self._static_targets()["plain"]

    def jwt_authn(self) -> Target:
        """Envoy with its own JWT filter."""
        return self._static_targets()["jwt"]

    def jwt_authn_of_gateway(self) -> Target:
        """The gateway with Envoy's own JWT filter in the place of ext_authz."""
        if self._with_jwt_authn is None:
            self._with_jwt_authn = self._start_with_jwt_authn()
        return self._with_jwt_authn

    def no_callout(self) -> Target:
        """The gateway's filter chain on a route that needs no callout."""
        return self._gateway("ours")["open"]

    def authz(self, callouts: Callouts, route: str = "authz") -> Target:
        """The gateway on a route with a credential and limits, judged by our ext_authz or by an empty handler.

        Args:
            route: authz (a token and a limit), two-limits (a token and two), api-key (with one limit).
        """
        return self._gateway(callouts)[route]

    def proc(self, callouts: Callouts) -> Target:
        """The gateway on a route that ext_proc answers: from our cache, or an empty handler's constant."""
        return self._gateway(callouts)["cached"]

    def headers(self, callouts: Callouts) -> Target:
        """The gateway on a route on which ext_proc changes two request headers, always the same."""
        return self._gateway(callouts)["headers"]

    def _start(self, name: str, command: Sequence[str]) -> Program:
        started = self._running.enter_context(program(name, command, self._folder))
        self._programs.append(started)
        return started

    def _start_python(self, name: str, module: str, *arguments: str) -> Program:
        return self._start(name, [sys.executable, "-m", module, *arguments])

    def _start_envoy(self, name: str, bootstrap: str) -> Program:
        path = self._folder / f"{name}.json"
        path.write_text(bootstrap)
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return self._start(name, [self._envoy, "-c", str(path), *options])

    def _upstream(self) -> int:
        if not self._upstream_port:
            port = free_port()
            upstream = self._start_envoy("upstream", envoys.upstream_bootstrap(port))
            wait_until(lambda: listens(port), "the upstream's listener", [upstream])
            self._upstream_port = port
        return self._upstream_port

    def _static_targets(self) -> Mapping[str, Target]:
        if not self._static:
            plain, jwt_port = free_port(), free_port()
            bootstrap = envoys.plain_bootstrap(plain_port=plain, jwt_port=jwt_port, upstream_port=self._upstream())
            programs = {"envoy": self._start_envoy("envoy-static", bootstrap)}
            self._static = {
                "plain": Target(f"http://{HOST}:{plain}/", programs),
                "jwt": Target(f"http://{HOST}:{jwt_port}/", programs, {"authorization": bearer_token()}),
            }
            for target in self._static.values():
                wait_for_answer(target, self._programs)
        return self._static

    def _gateway(self, callouts: Callouts) -> Mapping[str, Target]:
        """Gateways of the same gateway.yaml; only who listens at the callouts' addresses differs."""
        if callouts not in self._gateways:
            self._gateways[callouts] = self._start_gateway(callouts)
        return self._gateways[callouts]

    def _start_gateway(self, label: Callouts) -> Mapping[str, Target]:
        empty = label != "ours"
        port, xds, authz_port, proc_port = (free_port() for _ in range(4))
        config = self._folder / f"{label}.yaml"
        config.write_text(
            envoys.gateway_yaml(port=port, upstream_port=self._upstream(), authz_port=authz_port, proc_port=proc_port)
        )
        self._start_control_plane(label, config, xds)
        authz, proc = (
            self._start_empty_callout(label, module, port)
            if empty
            else self._start_our_callout(label, module, port, xds)
            for module, port in (("ext_authz", authz_port), ("ext_proc", proc_port))
        )
        envoy = self._start_envoy(f"{label}-envoy", envoys.ads_bootstrap(xds_port=xds))
        base = f"http://{HOST}:{port}"
        checked = {"envoy": envoy, "callout": authz}
        judged = _PASSED if empty else ("ratelimit", "per-")
        token, api_key = {"authorization": bearer_token()}, {"x-api-key": envoys.API_KEY}
        targets = {
            "open": Target(f"{base}/open", {"envoy": envoy}),
            "authz": Target(f"{base}/authz", checked, token, judged),
            "two-limits": Target(f"{base}/two-limits", checked, token, judged),
            "api-key": Target(f"{base}/api-key", checked, api_key, judged),
            "cached": Target(
                f"{base}/cached",
                {"envoy": envoy, "callout": proc},
                {},
                _CACHED.get(label, ("content-type", "application/octet-stream")),
            ),
        }
        targets["headers"] = Target(f"{base}/headers", {"envoy": envoy, "callout": proc})
        for target in targets.values():
            wait_for_answer(target, self._programs)
        return targets

    def _start_with_jwt_authn(self) -> Target:
        port, xds = free_port(), free_port()
        config = self._folder / "jwt_authn.yaml"
        config.write_text(envoys.gateway_yaml_with_jwt_authn(port=port, upstream_port=self._upstream()))
        self._start_control_plane("jwt_authn", config, xds)
        envoy = self._start_envoy("jwt_authn-envoy", envoys.ads_bootstrap(xds_port=xds))
        url, token = f"http://{HOST}:{port}/open", {"authorization": bearer_token()}
        target = Target(url, {"envoy": envoy}, token)
        wait_for_answer(target, self._programs)
        wait_until(lambda: (answer_of(url, {}) or (0,))[0] == 401, "a refusal by jwt_authn", self._programs)
        return target

    def _start_control_plane(self, label: str, config: Path, xds_port: int) -> None:
        addresses = ["--xds-address", f"{HOST}:{xds_port}", "--http-address", f"{HOST}:{free_port()}"]
        state = ["--state-dir", str(self._folder / f"{label}-state")]
        started = self._start_python(
            f"{label}-control_plane", "control_plane", "--config", str(config), *addresses, *state
        )
        wait_until(lambda: listens(xds_port), "the control plane's xDS server", [started])

    def _start_our_callout(self, label: str, module: str, port: int, xds_port: int) -> Program:
        admin = ["--admin-address", f"{HOST}:{free_port()}"]
        addresses = ["--xds-address", f"{HOST}:{xds_port}", "--address", f"{HOST}:{port}"]
        started = self._start_python(f"{label}-{module}", module, *addresses, *admin)
        wait_until(lambda: listens(port), f"the listener of {module}", [started])
        return started

    def _start_empty_callout(self, label: Callouts, module: str, port: int) -> Program:
        answer, _, transport = label.partition("_")
        arguments = [module, f"{HOST}:{port}", "--transport", transport]
        arguments += ["--answer", "headers" if answer == "headers" else "body"]
        started = self._start_python(f"{label}-{module}", "tests.performance.empty_callouts", *arguments)
        wait_until(lambda: listens(port), f"the listener of the empty {module}", [started])
        return started


def wait_for_answer(target: Target, programs: Sequence[Program]) -> None:
    def answers() -> bool:
        answer = answer_of(target.url, target.headers)
        name, content = target.proof
        return answer is not None and answer[0] == 200 and content in answer[1].get(name, "")

    wait_until(answers, f"a 200 with {target.proof} from {target.url}", programs)
