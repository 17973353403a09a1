"""The import contracts hold, and each of them is broken once on purpose, in a copy, to see it caught."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]

# A module of ours, a line it must not hold, and the contract that forbids it.
BREACHES = [
    ("gateway/pipeline.py", "import content_service.stage", "Services and the command line"),
    ("content_service/stage.py", "import enhancer_service.stage", "Services and the command line"),
    ("enhancer_service/stage.py", "import enhancer_service.japanese.romaji", "Inside a stage service"),
    ("lesson/models/content.py", "import servicekit.errors", "Services and the command line"),
    ("servicekit/errors.py", "import lesson.models", "Services and the command line"),
    ("nidan/__main__.py", "import gateway.settings", "Services and the command line"),
    ("nidan/commands/catalogue.py", "import gateway.catalogue.entries", "Services and the command line"),
    ("content_service/prompts.py", "import content_service.servicer", "Inside a stage service"),
    ("enhancer_service/helpers.py", "", "Inside a stage service"),
    ("gateway/merge.py", "import gateway.pipeline", "Inside the gateway"),
    ("gateway/attempts/policy.py", "import gateway.runs.run", "Inside the gateway"),
    ("gateway/utils.py", "", "Inside the gateway"),
    ("gateway/draft.py", "import gateway.merge", "Inside the gateway"),
    ("gateway/draft.py", "import gateway.runs.stage2", "Inside the gateway"),
    ("gateway/runs/stage1.py", "import gateway.runs.stage2", "Inside a run"),
    ("gateway/runs/context.py", "import gateway.runs.stage1", "Inside a run"),
    ("gateway/attempts/policy.py", "import gateway.attempts.breaker", "Inside attempts"),
    ("lesson/models/content.py", "import lesson.wire", "Inside lesson"),
    ("gateway/master/schema.py", "import gateway.master.text", "Inside the master lesson"),
    ("gateway/master/page.py", "", "Inside the master lesson"),
    ("lesson/parsing/fit.py", "import lesson.parsing.spellings", "Inside parsing"),
    ("lesson/japanese/grammar.py", "import lesson.japanese.readability", "Inside the Japanese rules"),
    ("lesson/japanese/extra.py", "", "Inside the Japanese rules"),
    ("servicekit/telemetry.py", "import servicekit.server", "Inside servicekit"),
    ("servicekit/interceptors.py", "import servicekit.server", "Inside servicekit"),
    ("servicekit/auth.py", "import servicekit.tls", "Inside servicekit"),
    ("nidan/terminal/lines.py", "import nidan.services.own", "Inside the command line"),
    ("nidan/helpers.py", "", "Inside the command line"),
    ("gateway/access/keys.py", "import gateway.access.quotas", "Inside access"),
    ("gateway/access/sessions.py", "", "Inside access"),
    ("gateway/access/auth.py", "import grpc", "gRPC is known only at the edges"),
    ("gateway/pipeline.py", "import lesson.v1.lesson_pb2", "Generated messages"),
    ("gateway/merge.py", "import structlog", "Models, items and merge are pure"),
    ("gateway/catalogue/list_import.py", "import structlog", "Models, items and merge are pure"),
    ("enhancer_service/japanese/romaji.py", "import openai", "Models, items and merge are pure"),
    ("gateway/pipeline.py", "import grpc", "gRPC is known only at the edges"),
    ("content_service/stage.py", "import openai", "The model SDK"),
    ("servicekit/llm/answer.py", "import openai", "The model SDK"),
    ("servicekit/llm/calls.py", "import servicekit.llm.client", "Inside servicekit.llm"),
    ("gateway/pipeline.py", "import prometheus_client", "The metrics library"),
    ("servicekit/tracing.py", "import opentelemetry.trace", "OpenTelemetry is known only to the exporter"),
    ("enhancer_service/stage.py", "import sudachipy", "The analyser library"),
]


def lint(folder: Path) -> str:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return re.sub(r"\s+", " ", run.stdout)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in CONFIG["root_packages"]:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_every_contract_is_kept(house: Path) -> None:
    assert f"Contracts: {len(CONFIG['contracts'])} kept, 0 broken." in lint(house)


@pytest.mark.parametrize(("module", "line", "contract"), BREACHES)
def test_a_breach_is_caught(house: Path, module: str, line: str, contract: str) -> None:
    path = house / module
    before = path.read_text(encoding="utf-8") if path.exists() else None
    path.write_text((before or "") + f"\n{line}\n", encoding="utf-8")
    try:
        told = lint(house)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, encoding="utf-8")

    # An unplaced module is refused before any contract is judged; a forbidden import breaks the contract by name.
    assert re.search(rf"{contract}[^.]*? BROKEN", told) or Path(module).stem in told.split("Contracts:")[0], told
    assert "0 broken" not in told


def test_every_contract_is_among_those_broken_here() -> None:
    for contract in CONFIG["contracts"]:
        assert any(contract["name"].startswith(name) for _, _, name in BREACHES), contract["name"]
