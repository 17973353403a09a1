"""Writes docs/metrics.md from the catalogue in servicekit.telemetry, or with --check says whether it is fresh."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servicekit.telemetry import Told, catalogue
from tools.ops.rules import ROOT, keep

PAGE = ROOT / "docs" / "metrics.md"
ROWS = Path(__file__).with_name("monitoring.toml")
_HEAD = """# Metrics

Made from `servicekit/telemetry.py` by `tools/ops/metrics_doc.py` (`make ops-rules`); a test holds it fresh. Prometheus
reads the gateway on 9100, the content service on 9101, the enhancer on 9102. Label values come from the configuration
or from closed sets; the series that alerts count are there, at zero, from the start.

| metric | type | labels | what it tells | told by |
|---|---|---|---|---|
"""
_BUCKETS = """
## Buckets

Upper edges; above the last there is +Inf. A promise about a time or a price needs an edge exactly there: 180 s and
240 s, $0.05. In queries `le` is written as the service writes it: `le="180.0"`, `le="0.05"`.

| histogram | edges |
|---|---|
"""
_ASKED = """
## What operators asked to see, and where it is

A line for each row of the earlier system's monitoring, and one for each of its log events (the gateway still writes
them: [runbook.md](runbook.md#logs)). Rules are in `deploy/prometheus/rules/nidan.yml`, alerts in the
[runbook](runbook.md), panels on the dashboards Lessons and Services. A test fails when a cell is empty or names what
does not exist.

| row | metric | rule | alert | panel |
|---|---|---|---|---|
"""


def rows() -> list[dict[str, str]]:
    """What was asked for, and where it is."""
    found: list[dict[str, str]] = tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]
    return found


def page() -> str:
    """The whole page."""
    metrics = catalogue()
    return (
        _HEAD + "".join(map(_line, metrics)) + _BUCKETS + "".join(_edges(metrics)) + _ASKED + "".join(map(_row, rows()))
    )


def _line(told: Told) -> str:
    labels = ", ".join(f"`{label}`" for label in told.labels)
    return f"| `{told.name}` | {told.kind} | {labels} | {told.text.rstrip('.')} | {told.by} |\n"


def _edges(metrics: tuple[Told, ...]) -> Iterator[str]:
    for told in metrics:
        if told.buckets:
            yield f"| `{told.name}` | {', '.join(f'{edge:.15g}' for edge in told.buckets)} |\n"


def _row(row: dict[str, str]) -> str:
    told = row.get("told") or f"log event `{row['event']}`"
    alerts = ", ".join(f"[{name}](runbook.md#{name.lower()})" for name in row["alert"].split(", "))
    return f"| {told} | `{row['metric']}` | `{row['rule']}` | {alerts} | {row['panel']} |\n"


if __name__ == "__main__":
    sys.exit(keep(PAGE, page(), sys.argv))
