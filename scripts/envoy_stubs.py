"""Writes type stubs for Envoy's API classes, so that mypy sees a misspelt field (PyPI xds-protos ships none).

The stubs come from the descriptors inside the installed package: `python scripts/envoy_stubs.py DIRECTORY`.
They are not committed; `make setup` writes them again whenever the package's version changes.
"""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

PACKAGES = ("envoy", "xds", "udpa", "validate", "google/rpc", "google/api")


def modules() -> Iterator[str]:
    for file in distribution("xds-protos").files or ():
        name = str(file)
        if name.startswith(PACKAGES) and name.endswith("_pb2.py"):
            yield name.removesuffix(".py").replace("/", ".")


def with_dependencies(files: list[FileDescriptor]) -> dict[str, FileDescriptorProto]:
    """Every file and what it imports, by file name, imports first (as protoc wants a descriptor set)."""
    found: dict[str, FileDescriptorProto] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name in found:
            return
        for dependency in file.dependencies:
            visit(dependency)
        found[file.name] = FileDescriptorProto.FromString(file.serialized_pb)

    for file in files:
        visit(file)
    return found


def main(target: Path) -> None:
    wanted = [importlib.import_module(name).DESCRIPTOR for name in sorted(modules())]
    descriptors = with_dependencies(wanted)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".binpb") as descriptor_set:
        descriptor_set.write(FileDescriptorSet(file=descriptors.values()).SerializeToString())
        descriptor_set.flush()
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"--descriptor_set_in={descriptor_set.name}",
                f"--pyi_out={target}",
                *(file.name for file in wanted),
            ],
            check=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
