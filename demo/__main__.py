"""python -m demo: one instance of one demo service.

python -m demo --name events --instance events-v2 --port 8103
"""

import argparse
import asyncio
import os
import sys

from demo.app import DemoService, Instance
from demo.login import DEMO_SECRET, Issuer
from gateway_runtime.admin import http_server
from gateway_runtime.process import raise_on_signal, run


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    arguments = _parser().parse_args()
    sys.exit(run(lambda: serve(arguments)))


async def serve(arguments: argparse.Namespace) -> None:
    """Announce the bound address on stdout as soon as it answers."""
    instance = Instance(arguments.name, arguments.instance or arguments.name)
    service = DemoService(instance, Issuer(os.environ.get("JWT_SECRET") or DEMO_SECRET))
    address = f"{arguments.address}:{arguments.port}"
    async with http_server(service.app(), address, name=f"demo {instance.name}") as bound:
        print(f"{instance.name} listens on http://{bound}", flush=True)  # noqa: T201 - the one line of this process
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(raise_on_signal(), name="signals")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="One instance of a demo service. JWT_SECRET is what `auth` signs tokens with.",
        epilog="example: python -m demo --name events --instance events-v2 --port 8103",
    )
    parser.add_argument("--name", required=True, help="service: users, events, matching or auth; others echo too")
    parser.add_argument("--instance", help="what its answers call it (default: the name)")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", required=True, type=int, help="where to listen; 0 is any free port")
    return parser


if __name__ == "__main__":
    main()
