"""Writes docs/metrics.md from the catalogue of metrics, or with --check reports whether it is fresh."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram, ProcessCollector

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.metrics import LessonMetrics
from servicekit.telemetry import ModelMetrics, Registry, RpcMetrics
from tools.ops.rules import ROOT, keep

PAGE = ROOT / "docs" / "metrics.md"
ROWS = Path(__file__).with_name("monitoring.toml")
_HEAD = """# Metrics

`tools/ops/metrics_doc.py` (`make ops-rules`) writes this page from `gateway/metrics.py` and `servicekit/telemetry.py`.
A test keeps it fresh. Prometheus reads the gateway on 9100, the content service on 9101, the enhancer on 9102. Label
values come from the configuration or from closed sets. The series that alerts count exist, at zero, from the start.

| metric | type | labels | meaning | exported by |
|---|---|---|---|---|
"""
_BUCKETS = """
## Buckets

Upper edges; above the last there is +Inf. A promise about a time or a price needs an edge at exactly that value: 180 s,
240 s, $0.05. Queries write `le` as the service does: `le="180.0"`, `le="0.05"`.

| histogram | edges |
|---|---|
"""
_ASKED = """
## What operators asked to see

A line for each row of the earlier system's monitoring and for each of its log events, which the gateway still writes
([runbook.md](runbook.md#logs)). Rules are in `deploy/prometheus/rules/nidan.yml`, alerts in the
[runbook](runbook.md), panels on the dashboards Lessons and Services. A test fails when a cell is empty or a
name does not exist.

| row | metric | rule | alert | panel |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class MetricInfo:
    """A metric of the catalogue, as docs/metrics.md lists it."""

    name: str
    """As queries name it: a counter with its _total."""
    kind: str
    text: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    """Upper edges of a histogram, without +Inf; empty for any other kind."""
    services: str
    """The services that export it."""


def _metrics_of(part: object, services: str) -> tuple[MetricInfo, ...]:
    """Every metric that is an attribute of `part`, in the order of definition."""
    metrics = [value for value in vars(part).values() if isinstance(value, Counter | Gauge | Histogram)]
    return tuple(_info(metric, services) for metric in metrics)


def _process_metrics() -> tuple[MetricInfo, ...]:
    """What the system reports about the process of every service."""
    return tuple(
        MetricInfo(
            family.name + "_total" * (family.type == "counter"), family.type, family.documentation, (), (), "all"
        )
        for family in ProcessCollector(registry=None).collect()
    )


def _info(metric: Counter | Gauge | Histogram, services: str) -> MetricInfo:
    (family,) = metric.describe()
    name = family.name + "_total" * (family.type == "counter")
    # The library has no public name for these two.
    labels = tuple(metric._labelnames)  # noqa: SLF001
    edges = tuple(metric._upper_bounds[:-1]) if isinstance(metric, Histogram) else ()  # noqa: SLF001
    return MetricInfo(name, family.type, family.documentation, labels, edges, services)


def rows() -> list[dict[str, str]]:
    """The rows of monitoring.toml."""
    found: list[dict[str, str]] = tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]
    return found


def catalogue() -> tuple[MetricInfo, ...]:
    """Every metric that a service exports."""
    return (
        *_metrics_of(LessonMetrics(Registry()), "gateway"),
        *_metrics_of(ModelMetrics(Registry()), "content, enhancer"),
        *_metrics_of(RpcMetrics(Registry()), "all"),
        *_process_metrics(),
    )


def page() -> str:
    """The whole page."""
    metrics = catalogue()
    return (
        _HEAD + "".join(map(_line, metrics)) + _BUCKETS + "".join(_edges(metrics)) + _ASKED + "".join(map(_row, rows()))
    )


def _line(metric: MetricInfo) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text.rstrip('.')} | {metric.services} |\n"


def _edges(metrics: tuple[MetricInfo, ...]) -> Iterator[str]:
    for metric in metrics:
        if metric.buckets:
            yield f"| `{metric.name}` | {', '.join(f'{edge:.15g}' for edge in metric.buckets)} |\n"


def _row(row: dict[str, str]) -> str:
    request = row.get("request") or f"log event `{row['event']}`"
    alerts = ", ".join(f"[{name}](runbook.md#{name.lower()})" for name in row["alert"].split(", "))
    return f"| {request} | `{row['metric']}` | `{row['rule']}` | {alerts} | {row['panel']} |\n"


if __name__ == "__main__":
    sys.exit(keep(PAGE, page(), sys.argv))
