"""Draws a dashboard's panels from query results, on the dashboard's own grid: draw.py BOARD.json RESULTS.json OUT.png

It shows data and layout; colours, axes and legends are matplotlib's, not Grafana's.
Runs in .venv-ops-alerts.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator

COLUMN_INCHES, ROW_INCHES, HEAD_INCHES = 0.72, 0.40, 0.6
_LONGEST_STEP_SECONDS = 5.0
_BACK, _TEXT, _GRID = "#f4f5f7", "#24292e", "#d8dbe0"
_TARGETS = {"target": "#2e7d32", "scale out": "#b26a00", "warning": "#b26a00", "too late": "#b26a00", "page": "#c62828"}

Series = Mapping[str, Any]


def _bytes(value: float, _at: object = None) -> str:
    return f"{value / 2**20:.0f} MiB"


def _short(value: float, _at: object = None) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.3g}M"
    if abs(value) >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}"


UNITS: dict[str, Callable[..., str]] = {
    "percentunit": lambda value, _at=None: f"{100 * value:.0f} %" if abs(value) >= 1 else f"{100 * value:.3g} %",
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
    height = ROW_INCHES * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + HEAD_INCHES
    figure = plt.figure(figsize=(24 * COLUMN_INCHES, height), facecolor=_BACK)
    figure.text(0.012, 1 - HEAD_INCHES / 2 / height, board["title"], size=15, weight="bold", color=_TEXT, va="center")
    times = [float(at) for series in results.values() for one in series for at, _ in one["values"]]
    for panel in panels:
        at = panel["gridPos"]
        low = height - HEAD_INCHES - ROW_INCHES * (at["y"] + at["h"])
        box = Box(COLUMN_INCHES * at["x"], low, COLUMN_INCHES * at["w"], ROW_INCHES * at["h"], figure)
        _panel(box, panel, results[str(panel["id"])], (min(times), max(times)))
    figure.savefig(out, dpi=88)


@dataclass(frozen=True)
class Box:
    """A panel's place on the page, in inches from its lower left corner."""

    x: float
    y: float
    width: float
    height: float
    figure: Any

    def within(self, left: float, right: float, bottom: float, top: float) -> tuple[float, float, float, float]:
        """The area inside these margins, as shares of the page (matplotlib's form)."""
        width, height = self.figure.get_size_inches()
        across, up = self.width - left - right, self.height - bottom - top
        return (self.x + left) / width, (self.y + bottom) / height, across / width, up / height


def _panel(box: Box, panel: Mapping[str, Any], series: Sequence[Series], times: tuple[float, float]) -> None:
    x, y, width, height = box.within(0.06, 0.06, 0.06, 0.06)
    card = plt.Rectangle((x, y), width, height, facecolor="white", edgecolor=_GRID, lw=0.8, zorder=-1)
    card.set_transform(box.figure.transFigure)
    box.figure.patches.append(card)
    left, bottom, _, up = box.within(0.16, 0, 0, 0.24)
    box.figure.text(left, bottom + up, panel["title"], size=9.5, weight="bold", color=_TEXT, va="center")
    unit = UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    if panel["type"] == "stat":
        last = float(series[0]["values"][-1][1]) if series else math.nan
        middle = {"ha": "center", "va": "center", "color": "#1f60c4"}
        box.figure.text(x + width / 2, y + height / 2, unit(last), size=30, **middle)
        return
    axes = box.figure.add_axes(box.within(0.66, 0.22, 0.98, 0.42))
    _lines(axes, panel, series, times)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(unit))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:.0f} s"))
    axes.tick_params(labelsize=7.5, colors="#5f6670", length=0)
    axes.grid(color=_GRID, lw=0.6)
    for side in axes.spines.values():
        side.set_visible(False)
    _legend(axes, box)


def _lines(axes: Any, panel: Mapping[str, Any], series: Sequence[Series], times: tuple[float, float]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    dashed = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
    if defaults["custom"].get("stacking", {}).get("mode") == "normal":
        _stack(axes, series, times[0])
    else:
        colours = iter(range(1000))
        for one in series:
            points = list(_points(one, times[0]))
            if one["legend"] in dashed:
                look = {"color": _TARGETS[one["legend"]], "ls": (0, (5, 4)), "lw": 1.2}
            else:
                look = {"color": plt.get_cmap("tab10")(next(colours) % 10), "lw": 1.4}
            axes.plot(*zip(*points, strict=True), label=one["legend"], **look)
    low, high = axes.get_ylim()
    axes.set_ylim(defaults.get("min", low), 1.04 * defaults["max"] if "max" in defaults else max(high, 1e-9))
    axes.set_xlim(0, times[1] - times[0])


def _points(series: Series, start: float) -> Iterator[tuple[float, float]]:
    """Seconds and values; the line breaks at a gap."""
    before = math.inf
    for at, value in series["values"]:
        if float(at) - before > _LONGEST_STEP_SECONDS:
            yield float(at) - start, math.nan
        before = float(at)
        yield before - start, float(value)


def _stack(axes: Any, series: Sequence[Series], start: float) -> None:
    """The series stacked; a missing value counts as 0."""
    times = sorted({float(at) for one in series for at, _ in one["values"]})
    kept = [one for one in series if any(float(value) > 0 for _, value in one["values"])] or list(series[:1])
    layers = []
    for one in kept:
        values = {float(at): float(value) for at, value in one["values"] if value != "NaN"}
        layers.append([values.get(at, 0.0) for at in times])
    colours = [plt.get_cmap("tab20")((2 * number + number // 10) % 20) for number in range(len(kept))]
    labels = [one["legend"] for one in kept]
    axes.stackplot([at - start for at in times], *layers, labels=labels, colors=colours, alpha=0.8, lw=0)


def _legend(axes: Any, box: Box) -> None:
    """The names, below the axis from the card's left edge; names without room are counted."""
    named = {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    columns = max(1, int((box.width - 0.3) / (0.45 + 0.072 * max(map(len, named)))))
    kept = list(named)[: 4 * columns]
    words = [*kept[:-1], kept[-1] + f"  (+{len(named) - len(kept)})" * (len(named) > len(kept))]
    width, height = box.width - 0.66 - 0.22, box.height - 0.98 - 0.42
    axes.legend(
        [named[label] for label in kept],
        words,
        loc="upper left",
        bbox_to_anchor=(-0.5 / width, -0.27 / height),
        ncol=columns,
        fontsize=7,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
        labelspacing=0.2,
        borderaxespad=0,
    )


if __name__ == "__main__":
    board, found, target = (Path(name) for name in sys.argv[1:4])
    draw(json.loads(board.read_text(encoding="utf-8")), json.loads(found.read_text(encoding="utf-8")), target)
