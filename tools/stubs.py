"""Generates lesson/v1 from protos/ (`make stubs`), or with --check reports whether the committed stubs are fresh."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"


def generate(out: Path) -> None:
    """Writes messages, services and their types below `out`; raises SystemExit when protoc fails."""
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    flags = [f"--{plugin}_out={out}" for plugin in ("python", "grpc_python")]
    flags += [f"--{plugin}_out=quiet:{out}" for plugin in ("mypy", "mypy_grpc")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *flags, *sources]) != 0:
        raise SystemExit("protoc failed on the protos")


def stale() -> list[str]:
    """The stubs that differ from the output of protos/, are missing, or are left over."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = {path.relative_to(scratch): path for path in Path(scratch).rglob("*_pb2*")}
        committed = {path.relative_to(ROOT): path for path in (ROOT / "lesson" / "v1").glob("*_pb2*.py*")}
        differing = [
            str(name)
            for name in fresh.keys() & committed.keys()
            if not filecmp.cmp(fresh[name], committed[name], shallow=False)
        ]
        return sorted(differing + [str(name) for name in fresh.keys() ^ committed.keys()])


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        generate(ROOT)
        return 0
    found = stale()
    if found:
        print("stubs differ from protos/; run `make stubs`:", *found, sep="\n  ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    # protoc finds its plugins (mypy-protobuf) next to this interpreter.
    import os

    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    raise SystemExit(main(sys.argv[1:]))
