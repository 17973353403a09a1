"""Rules of the tests themselves: short names, helpers outside test_* modules, nothing faked and nothing skipped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
LONGEST_NAME = 79
FAKES = ("unittest.mock", "mock", "pytest_mock")
PATCHES = ("monkeypatch.setattr", "monkeypatch.setitem", "pytest.skip", "pytest.xfail", "pytest.importorskip")


def breaches(source: str) -> Iterator[str]:
    """What in one module of tests breaks a rule."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_") and len(name) > LONGEST_NAME:
                    yield f"{name} has {len(name)} characters"
            case ast.ImportFrom(module=str(module)) if _is_test_module(module):
                yield f"imports from {module}: what modules share lies outside test_*"
            case ast.ImportFrom(module=str(module)) if module in FAKES:
                yield f"imports {module}"
            case ast.Import(names=names):
                yield from (
                    f"imports {name.name}" for name in names if name.name in FAKES or _is_test_module(name.name)
                )
            case ast.Attribute() if ast.unparse(node) in PATCHES:
                yield f"uses {ast.unparse(node)}"
            case ast.Attribute() if ast.unparse(node).startswith(("pytest.mark.skip", "pytest.mark.xfail")):
                yield f"uses {ast.unparse(node)}"


def _is_test_module(name: str) -> bool:
    return name.startswith("tests.") and name.rpartition(".")[2].startswith("test_")


def test_every_module_of_tests_keeps_the_rules() -> None:
    modules = sorted(TESTS.rglob("*.py"))
    assert len(modules) > 100
    found = [
        f"{module.relative_to(TESTS)}: {breach}"
        for module in modules
        for breach in breaches(module.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_a_broken_rule_is_caught() -> None:
    source = f"""
import mock
import tests.lesson.test_items
from unittest.mock import Mock
from tests.flow.test_modes import helper
def test_{"x" * 75}(monkeypatch): monkeypatch.setattr(a, "b", 1)
async def test_{"y" * 75}(): pytest.skip()
@pytest.mark.skipif(True, reason="")
def test_{"z" * 74}(): ...
"""
    assert len(list(breaches(source))) == 9


@pytest.mark.xdist_group("grouped")
def test_xdist_knows_the_groups(request: pytest.FixtureRequest) -> None:
    """Under a pytest that it does not fit, pytest-xdist groups nothing and says nothing."""
    assert request.node.nodeid.endswith("@grouped") == request.config.getoption("loadgroup", default=False)
