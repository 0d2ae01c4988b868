"""Every metric of a process, as JSON: its real `main` runs until its registry is filled, and ends.

python -m scripts.registries control_plane|ext_authz|ext_proc|analytics
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Never, cast

import typer
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from gateway_runtime.process import Shutdown

CONFIG = """
version: 1
name: edge
listeners: [{name: public, port: 10000}]
services: {}
routes: [{name: all, match: {path_prefix: /}, auth: none, direct_response: {status: 204}}]
"""
NOWHERE = "127.0.0.1:0"
MAIN = {"control_plane": "control_plane.main", "analytics": "control_plane.analytics.process"}
"""Where it is not the package's __main__."""


class Recorded(CollectorRegistry):
    """Remembers that it was made."""

    made: "list[Recorded]" = []  # noqa: RUF012 - one process, one list

    def __init__(self) -> None:
        super().__init__()
        self.made.append(self)

    def metrics(self) -> Iterator[tuple[str, str, list[str], str]]:
        """Name as exposed, type, labels, text; in the order of registration."""
        for collector in self._collector_to_names:
            if isinstance(collector, MetricWrapperBase):
                found = [(collector._name, str(collector._type), collector._labelnames, collector._documentation)]
            else:
                found = [
                    (family.name, family.type, getattr(family, "_labelnames", ()), family.documentation)
                    for family in collector.collect()
                ]
            for name, kind, labels, text in found:
                yield f"{name}_total" if kind == "counter" else name, kind, list(labels), text


async def _shut_down() -> Never:
    """Instead of waiting for a signal: by now everything has been built."""
    raise Shutdown


def _arguments(process: str, folder: Path) -> list[str]:
    if process == "analytics":
        return ["--address", NOWHERE, "--http-address", NOWHERE, "--state-dir", str(folder)]
    if process != "control_plane":
        return ["--xds-address", NOWHERE, "--address", NOWHERE, "--admin-address", NOWHERE]
    config = folder / "gateway.yaml"
    config.write_text(CONFIG)
    return ["--config", str(config), "--xds-address", NOWHERE, "--http-address", NOWHERE]


def _run(process: str) -> None:
    module = import_module(MAIN.get(process, f"{process}.__main__"))
    vars(module).update(CollectorRegistry=Recorded, raise_on_signal=_shut_down)
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = [process, "--log-level", "error", *_arguments(process, Path(folder))]
        try:
            if process in MAIN:
                typer.run(module.main)
            else:
                module.main()
        except SystemExit as end:
            if end.code:
                raise


def _add_kubernetes() -> None:
    """What is there with a cluster only."""
    from control_plane.kubernetes.api import Api
    from control_plane.kubernetes.discovery import Discovery

    Discovery(cast(Api, None), random=lambda: 0.0, monotonic=lambda: 0.0, registry=Recorded())


def main() -> None:
    process = sys.argv[1]
    os.environ.pop("KUBECONFIG", None)
    _run(process)
    if process == "control_plane":
        _add_kubernetes()
    print(json.dumps([metric for registry in Recorded.made for metric in registry.metrics()]))


if __name__ == "__main__":
    main()
