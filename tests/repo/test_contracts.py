"""The import contracts hold, and each of them is broken on purpose, in a copy, to see it caught."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]

# A module of ours, what it must not import, and the contract that forbids it.
IMPORTS = [
    ("gateway/pipeline.py", "content_service.stage", "Services and the command line"),
    ("content_service/stage.py", "enhancer_service.stage", "Services and the command line"),
    ("enhancer_service/stage.py", "enhancer_service.japanese.romaji", "Inside a stage service"),
    ("lesson/models/content.py", "servicekit.errors", "Services and the command line"),
    ("servicekit/errors.py", "lesson.models", "Services and the command line"),
    ("nidan/__main__.py", "gateway.settings", "Services and the command line"),
    ("nidan/commands/catalogue.py", "gateway.catalogue.entries", "Services and the command line"),
    ("content_service/prompts.py", "content_service.servicer", "Inside a stage service"),
    ("gateway/merge.py", "gateway.pipeline", "Inside the gateway"),
    ("gateway/attempts/policy.py", "gateway.runs.run", "Inside the gateway"),
    ("gateway/draft.py", "gateway.merge", "Inside the gateway"),
    ("gateway/draft.py", "gateway.runs.stage2", "Inside the gateway"),
    ("gateway/runs/stage1.py", "gateway.runs.stage2", "Inside a run"),
    ("gateway/runs/context.py", "gateway.runs.stage1", "Inside a run"),
    ("gateway/attempts/policy.py", "gateway.attempts.breaker", "Inside attempts"),
    ("lesson/models/content.py", "lesson.wire", "Inside lesson,"),
    ("gateway/master/schema.py", "gateway.master.text", "Inside the master lesson"),
    ("lesson/parsing/fit.py", "lesson.parsing.spellings", "Inside parsing"),
    ("lesson/japanese/grammar.py", "lesson.japanese.readability", "Inside the Japanese rules"),
    ("servicekit/telemetry.py", "servicekit.server", "Inside servicekit,"),
    ("servicekit/interceptors.py", "servicekit.server", "Inside servicekit,"),
    ("servicekit/auth.py", "servicekit.tls", "Inside servicekit,"),
    ("nidan/terminal/lines.py", "nidan.services.own", "Inside the command line"),
    ("gateway/access/keys.py", "gateway.access.quotas", "Inside access"),
    ("gateway/access/auth.py", "grpc", "gRPC is known only at the edges"),
    ("gateway/pipeline.py", "lesson.v1.lesson_pb2", "Generated messages"),
    ("gateway/merge.py", "structlog", "Models, items and merge are pure"),
    ("gateway/catalogue/list_import.py", "structlog", "Models, items and merge are pure"),
    ("enhancer_service/japanese/romaji.py", "aiohttp", "Models, items and merge are pure"),
    ("gateway/pipeline.py", "grpc", "gRPC is known only at the edges"),
    ("content_service/stage.py", "aiohttp", "The HTTP library"),
    ("servicekit/llm/answer.py", "aiohttp", "The HTTP library"),
    ("servicekit/llm/calls.py", "servicekit.llm.client", "Inside servicekit.llm"),
    ("gateway/pipeline.py", "prometheus_client", "The metrics library"),
    ("servicekit/tracing.py", "opentelemetry.trace", "OpenTelemetry is known only to the exporter"),
    ("enhancer_service/stage.py", "sudachipy", "The analyser library"),
]
# A module that has no place in its room, and the contract that lists the places.
UNPLACED = [
    ("enhancer_service/helpers.py", "Inside a stage service"),
    ("gateway/utils.py", "Inside the gateway"),
    ("gateway/master/page.py", "Inside the master lesson"),
    ("lesson/japanese/extra.py", "Inside the Japanese rules"),
    ("nidan/helpers.py", "Inside the command line"),
    ("gateway/access/sessions.py", "Inside access"),
]


def lint(folder: Path) -> str:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo", "--no-cache"]
    wide = os.environ | {"COLUMNS": "500"}
    return subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, check=False).stdout


def copy(folder: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in CONFIG["root_packages"]:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What lint-imports says under each broken contract's name about a copy with every forbidden import at once."""
    folder = copy(tmp_path_factory.mktemp("broken"))
    for module, imported, _ in IMPORTS:
        with (folder / module).open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    said = lint(folder).partition("Broken contracts")[2]
    _, *parts = re.split(r"^(\S.*)\n-+\n", said, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_contract_is_kept(house: Path) -> None:
    assert f"Contracts: {len(CONFIG['contracts'])} kept, 0 broken." in lint(house)


@pytest.mark.parametrize(("module", "imported", "contract"), IMPORTS)
def test_a_forbidden_import_is_caught(broken: dict[str, str], module: str, imported: str, contract: str) -> None:
    # The linter knows a package that is not ours by its first name.
    root = imported.partition(".")[0]
    known = imported if root in CONFIG["root_packages"] else root
    (told,) = (text for name, text in broken.items() if name.startswith(contract))
    assert f"{module.removesuffix('.py').replace('/', '.')} -> {known} " in told


@pytest.mark.parametrize(("module", "contract"), UNPLACED)
def test_a_module_without_a_place_is_caught(house: Path, module: str, contract: str) -> None:
    (house / module).touch()
    try:
        told = lint(house)
    finally:
        (house / module).unlink()
    # It breaks the contract, or is refused before any contract is judged.
    assert re.search(rf"{contract}.* BROKEN", told) or Path(module).stem in told.split("Contracts:")[0], told
    assert "0 broken" not in told


def test_every_contract_is_among_those_broken_here() -> None:
    names = [contract for *_, contract in [*IMPORTS, *UNPLACED]]
    for contract in CONFIG["contracts"]:
        assert any(contract["name"].startswith(name) for name in names), contract["name"]
