"""docs/settings.md is held to the settings classes."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.deploy.shipped import MODULES, ROOT, defaults


def rows(text: str) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """The table: variable -> (default, what it changes, services)."""
    table: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            name, default, change, services = (cell.strip() for cell in line.strip("|").split("|"))
            assert name.strip("`") not in table, f"{name} is told twice"
            told = "" if default == "(empty)" else default.strip("`")
            table[name.strip("`")] = (told, change, tuple(services.split(", ")))
    return table


TABLE = rows((ROOT / "docs" / "settings.md").read_text(encoding="utf-8"))


def readers() -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for service, module in MODULES.items():
        for name in defaults(module):
            found[name].append(service)
    return {name: tuple(services) for name, services in found.items()}


def test_the_table_lists_exactly_the_variables_that_the_services_read() -> None:
    assert sorted(TABLE) == sorted(readers())


def test_the_table_names_the_services_that_read_each_variable() -> None:
    assert {name: services for name, (_, _, services) in TABLE.items()} == readers()


@pytest.mark.parametrize("module", MODULES.values())
def test_the_table_has_the_default_that_the_code_has(module: str) -> None:
    read = defaults(module)
    assert {name: TABLE[name][0] for name in read} == read


def test_every_row_says_in_a_sentence_what_the_variable_changes() -> None:
    assert all(change.endswith(".") and len(change) > 15 for _, change, _ in TABLE.values())


def test_every_process_with_settings_is_one_that_the_table_knows() -> None:
    processes = {path.parent.name for path in ROOT.glob("*/settings.py") if (path.parent / "__main__.py").exists()}
    assert processes == set(MODULES.values())


def test_a_default_that_differs_is_seen() -> None:
    changed = rows("| `LOG_LEVEL` | `debug` | How much is written. | gateway |")
    assert changed["LOG_LEVEL"][0] != defaults("gateway")["LOG_LEVEL"]
