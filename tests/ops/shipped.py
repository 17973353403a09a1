"""The files of deploy/ that monitoring is made of, as data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".nidan" / "tools"
DRAWING = ROOT / ".venv-ops-alerts" / "bin" / "python"
RULES = ROOT / "deploy" / "prometheus" / "rules" / "nidan.yml"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RULE_TESTS = ROOT / "deploy" / "prometheus" / "tests"
BOARDS = {path.stem: path for path in sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))}
WATCHDOG = "NidanWatchdog"


def groups() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.load(RULES.read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def records() -> set[str]:
    """Every record, by name and by name with the promise that it is of."""
    found = set()
    for rule in rules():
        if "record" in rule:
            found.add(rule["record"])
            found.add(f'{rule["record"]}{{sloth_slo="{rule.get("labels", {}).get("sloth_slo")}"}}')
    return found


def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BOARDS[name].read_text(encoding="utf-8"))
    return found


def panels(name: str) -> list[dict[str, Any]]:
    """All of them, those inside rows too."""
    return [one for panel in board(name)["panels"] for one in (panel, *panel.get("panels", ()))]


def panel_titles() -> set[str]:
    """As alerts name them: `Lessons: Cost of a lesson`."""
    return {f"{name.capitalize()}: {panel['title']}" for name in BOARDS for panel in panels(name)}


def queries() -> Iterator[str]:
    """Every query of every rule and panel."""
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for name in BOARDS for panel in panels(name) for target in panel["targets"])


def names(query: str) -> set[str]:
    """The metrics and records that a query asks for."""
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\{\{[^}]*\}\}', "", query)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    return {word for word in re.findall(r"[a-zA-Z_:][\w:]*", bare) if "_" in word or ":" in word or word == "up"} - {
        "histogram_quantile",
        "sum_over_time",
        "group_left",
    }
