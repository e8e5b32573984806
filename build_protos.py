"""Compile `proto/` into `services/slop/v1`, when the package is built, or by `python build_protos.py`."""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


def compile_protos() -> None:
    """Write the `_pb2.py` modules and their type stubs."""
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    out = ROOT / "services"
    well_known = files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}"]
    if protoc.main([*arguments, *map(str, protos)]) != 0:
        sys.exit("protoc failed")
    (out / "slop" / "v1" / "__init__.py").touch()


class CompileProtos(BuildHookInterface):  # type: ignore[type-arg]
    """The hatch build hook."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Run before the files are collected."""
        del version, build_data
        compile_protos()


if __name__ == "__main__":
    compile_protos()
