"""The ground: locks without addresses, stubs that are fresh, one version of the stub generator everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


LOCKS = {"requirements.lock": 40, "requirements-dev.lock": 70, "benchmarks/requirements-accuracy.lock": 5,
         "tests/judges/requirements-llmock.lock": 30, "tests/real_model/requirements-real-model.lock": 2,
         "tests/ops/requirements-kube.lock": 9, "tests/ops/requirements-kubectl.lock": 1}  # fmt: skip
"""Each with the fewest packages it can have."""


@pytest.mark.parametrize(("lock", "fewest"), LOCKS.items())
def test_a_lock_pins_every_package_with_hashes_and_names_no_address(lock: str, fewest: int) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    pins = re.split(r"\n(?=\S)", text.strip())
    assert len(pins) >= fewest
    for pin in pins:
        assert re.match(r"[a-z0-9._\-\[\]]+==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_the_development_lock_has_everything_that_runs_in_the_same_version() -> None:
    def pins(lock: str) -> set[str]:
        text = (ROOT / lock).read_text(encoding="utf-8")
        return set(re.findall(r"^[a-z0-9._\-\[\]]+==[^ ]+", text, re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


def test_a_package_asked_for_with_its_extras_is_locked_with_them() -> None:
    """pip before 23.3 otherwise takes the newest release for the extra, and refuses it: it has no hash."""
    lock = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    assert re.search(r"^coverage\[toml\]==", lock, re.MULTILINE)


def test_the_stubs_are_what_the_protos_give() -> None:
    run = subprocess.run(
        [sys.executable, "tools/stubs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_a_stub_changed_by_hand_is_told(tmp_path: Path) -> None:
    for name in ("protos", "tools", "lesson"):
        shutil.copytree(ROOT / name, tmp_path / name)
    stub = tmp_path / "lesson" / "v1" / "lesson_pb2.pyi"
    stub.write_text(stub.read_text(encoding="utf-8") + "\n# by hand\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "tools/stubs.py", "--check"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "lesson/v1/lesson_pb2.pyi" in run.stdout
    assert "make stubs" in run.stdout


def test_the_stub_generator_is_not_newer_than_the_grpc_that_runs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    generator = next(name for name in project["dependency-groups"]["dev"] if name.startswith("grpcio-tools"))
    floor = next(name for name in project["project"]["dependencies"] if name.startswith("grpcio>="))
    assert generator.removeprefix("grpcio-tools==") == floor.removeprefix("grpcio>=")


def test_every_field_and_rpc_of_the_protos_is_commented() -> None:
    declaration = re.compile(
        r"^\s+(?:(?:optional|repeated)\s+)?[\w.]+\s+\w+\s*=\s*\d+;|^\s+rpc\s|^\s+[A-Z_0-9]+ = \d+;"
    )
    for proto in (ROOT / "protos").rglob("*.proto"):
        lines = proto.read_text(encoding="utf-8").splitlines()
        for above, line in pairwise(lines):
            if declaration.match(line):
                assert above.strip().startswith("//"), f"{proto.name}: {line.strip()}"
