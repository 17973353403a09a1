"""Draws a dashboard's panels from query results, on the dashboard's own grid: draw.py BOARD.json RESULTS.json OUT.png

Shows data and layout. It is not Grafana's rendering: colours, axes and legends are matplotlib's.
Runs in .venv-ops-alerts.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator

COLUMN_INCHES, ROW_INCHES = 0.72, 0.40
_LEGEND_LINES = 7
_BACK, _TEXT, _GRID = "#f4f5f7", "#24292e", "#d8dbe0"
_TARGETS = {"target": "#2e7d32", "scale out": "#b26a00", "warning": "#b26a00", "too late": "#b26a00", "page": "#c62828"}

Series = Mapping[str, Any]


def _bytes(value: float, _at: object = None) -> str:
    return f"{value / 2**20:.0f} MiB"


def _short(value: float, _at: object = None) -> str:
    if abs(value) >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}"


UNITS: dict[str, Callable[..., str]] = {
    "percentunit": lambda value, _at=None: f"{100 * value:.3g} %",
    "s": lambda value, _at=None: f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{1000 * value:.3g} ms",
    "currencyUSD": lambda value, _at=None: f"${value:.3g}",
    "bytes": _bytes,
    "reqps": lambda value, _at=None: f"{value:.3g}/s",
    "d": lambda value, _at=None: f"{value:.3g} d",
    "short": _short,
    "bool_on_off": lambda value, _at=None: "On" if value else "Off",
}


def draw(board: Mapping[str, Any], results: Mapping[str, Sequence[Series]], out: Path) -> None:
    """Writes the picture."""
    panels = board["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    ends = [float(at) for series in results.values() for one in series for at, _ in one["values"]]
    start = min(ends)
    figure = plt.figure(figsize=(24 * COLUMN_INCHES, rows * ROW_INCHES + 0.6), facecolor=_BACK)
    figure.text(
        0.012, 1 - 0.3 / (rows * ROW_INCHES + 0.6), board["title"], size=15, weight="bold", color=_TEXT, va="center"
    )
    head = 0.6 / (rows * ROW_INCHES + 0.6)
    for panel in panels:
        at = panel["gridPos"]
        low = (1 - head) * (1 - (at["y"] + at["h"]) / rows)
        box = (at["x"] / 24, low, at["w"] / 24, (1 - head) * at["h"] / rows)
        _panel(figure, box, panel, results[str(panel["id"])], start)
    figure.savefig(out, dpi=88)


def _panel(
    figure: Any, box: tuple[float, float, float, float], panel: Mapping[str, Any], series: Any, start: float
) -> None:
    x, y, width, height = box
    gap_x, gap_y = 0.0035, 0.0035 * 24 * COLUMN_INCHES / figure.get_size_inches()[1]
    card = plt.Rectangle(
        (x + gap_x, y + gap_y), width - 2 * gap_x, height - 2 * gap_y, color="white", lw=0.8, zorder=-1
    )
    card.set_edgecolor(_GRID)
    card.set_transform(figure.transFigure)
    figure.patches.append(card)
    inch = 1 / figure.get_size_inches()[1]
    figure.text(
        x + gap_x + 0.006,
        y + height - gap_y - 0.17 * inch,
        panel["title"],
        size=9.5,
        weight="bold",
        color=_TEXT,
        va="center",
    )
    unit = UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    if panel["type"] == "stat":
        last = float(series[0]["values"][-1][1]) if series else math.nan
        figure.text(x + width / 2, y + height / 2, unit(last), size=30, color="#1f60c4", ha="center", va="center")
        return
    left, bottom = 0.62 / (24 * COLUMN_INCHES), 0.95 * inch
    axes = figure.add_axes(
        (x + left + gap_x, y + bottom + gap_y, width - left - 5 * gap_x, height - bottom - 0.48 * inch)
    )
    _lines(axes, panel, series, start)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(unit))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:.0f} s"))
    axes.tick_params(labelsize=7.5, colors="#5f6670", length=0)
    axes.grid(color=_GRID, lw=0.6)
    for side in axes.spines.values():
        side.set_visible(False)
    _legend(axes, series)


def _lines(axes: Any, panel: Mapping[str, Any], series: Sequence[Series], start: float) -> None:
    custom = panel["fieldConfig"]["defaults"]["custom"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    dashed = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
    if stacked:
        _stack(axes, series, start)
    colours = plt.get_cmap("tab10")
    for number, one in enumerate([] if stacked else series):
        points = [(float(at) - start, float(value)) for at, value in one["values"]]
        if one["legend"] in dashed:
            colour = _TARGETS.get(one["legend"], "#2e7d32")
            axes.plot(*zip(*points, strict=True), color=colour, ls=(0, (5, 4)), lw=1.2, label=one["legend"])
        else:
            axes.plot(*zip(*points, strict=True), color=colours(number % 10), lw=1.4, label=one["legend"])
    defaults = panel["fieldConfig"]["defaults"]
    low, high = axes.get_ylim()
    axes.set_ylim(defaults.get("min", low), 1.04 * defaults["max"] if "max" in defaults else max(high, 1e-9))
    axes.set_xlim(left=0)


def _stack(axes: Any, series: Sequence[Series], start: float) -> None:
    """One on the other; what a moment does not have counts as nothing."""
    times = sorted({float(at) for one in series for at, _ in one["values"]})
    kept = [one for one in series if any(float(value) > 0 for _, value in one["values"])] or list(series[:1])
    layers = []
    for one in kept:
        values = {float(at): float(value) for at, value in one["values"]}
        layers.append([0.0 if math.isnan(values.get(at, 0.0)) else values.get(at, 0.0) for at in times])
    colours = [plt.get_cmap("tab20")(number % 20) for number in range(len(kept))]
    labels = [one["legend"] for one in kept]
    if layers:
        axes.stackplot([at - start for at in times], *layers, labels=labels, colors=colours, alpha=0.75, lw=0)


def _legend(axes: Any, series: Sequence[Series]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if not series or not handles:
        return
    more = len(handles) - _LEGEND_LINES
    if more > 0:
        handles, labels = (
            handles[:_LEGEND_LINES],
            [*labels[: _LEGEND_LINES - 1], f"{labels[_LEGEND_LINES - 1]}  (+{more})"],
        )
    columns = 2 if max(map(len, labels)) > 18 else 3
    axes.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(-0.1, -0.13),
        ncol=columns,
        fontsize=7,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
        labelspacing=0.25,
        borderaxespad=0,
    )


if __name__ == "__main__":
    told, found, target = (Path(name) for name in sys.argv[1:4])
    draw(json.loads(told.read_text(encoding="utf-8")), json.loads(found.read_text(encoding="utf-8")), target)
