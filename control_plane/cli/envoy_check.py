"""Envoy's own judgement of a configuration: everything rendered into one bootstrap, and `envoy --mode validate`."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from control_plane.cli.stand_in import self_signed
from control_plane.config.faults import Fault, Position
from control_plane.config.materials import Materials
from control_plane.config.model.gateway import Gateway
from control_plane.envoy_binary import EnvoyMissingError, find_envoy
from control_plane.translate import translate
from control_plane.translate.bootstrap import BootstrapSettings
from control_plane.translate.patches import PatchError
from control_plane.translate.secrets import key_pair
from control_plane.translate.static import rendered_static

TIMEOUT_S = 60


def envoy_fault(file: str, gateway: Gateway, materials: Materials, program: str | None) -> Fault | None:
    """Return why Envoy would refuse a configuration without faults of its own, None if it takes it.

    Exits with 1 where there is no Envoy to ask.
    """
    try:
        binary = find_envoy(program, os.environ)
    except EnvoyMissingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    try:
        snapshot = translate(gateway, {}, {**_stand_ins(gateway), **materials})
    except PatchError as error:
        return Fault.at(Position(file, 0, 0), ("envoy_patches",), str(error))
    settings = BootstrapSettings(name=gateway.name, node_id="validate", xds_host="127.0.0.1", xds_port=18000)
    content = rendered_static(snapshot, settings).SerializeToString()
    # Keys stand in it: a folder of our own (0700), gone afterwards.
    with TemporaryDirectory(prefix="gateway-validate-") as folder:
        path = Path(folder) / "envoy.pb"
        path.write_bytes(content)
        refusal = _refusal(binary, path)
    return Fault.at(Position(file, 0, 0), (), f"Envoy refuses it: {refusal}") if refusal is not None else None


def _stand_ins(gateway: Gateway) -> Materials:
    """Certificates in place of those that only the cluster has."""
    pairs = [key_pair(each) for listener in gateway.listeners for each in listener.tls or () if each.kubernetes_secret]
    if not pairs:
        return {}
    certificate, private_key = self_signed()
    return {pair.certificate: certificate for pair in pairs} | {pair.private_key: private_key for pair in pairs}


def _refusal(binary: str, path: Path) -> str | None:
    command = [
        binary,
        "--mode",
        "validate",
        "--config-path",
        str(path),
        "--log-level",
        "error",
        "--disable-hot-restart",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    except OSError as error:
        return f"cannot run {binary}: {error.strerror or error}"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    told = [line for line in lines if "error initializing" in line or "] " in line] or lines
    return told[-1].rpartition("': ")[2] if told else f"exit status {done.returncode}"
