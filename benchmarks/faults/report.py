"""Writes the matrix as a page, docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.faults.cells import Cell, Seen
from benchmarks.faults.kinds import REFUSED

_STAGES = {"stage1": "Stage 1", "stage2": "Stage 2"}
_HEAD = "| fault | position | models | outcomes | next | lesson | seen | s |\n|---|---|---|---|---|---|---|---|"

_WHAT = """\
A cell is one lesson through the three services. Its fault happens on every call of the stage (in Stage 2: of one
section or of all) to the first model of the chain (*first*: the other two are healthy) or to any model (*every*).
`benchmarks/faults/wanted.tsv` states the wanted result and was written before the first run: how the attempts end,
what follows each, and the lesson's outcome. Every cell must also keep the invariants. Attempts follow the chain, at
most five per stage and section version, none before Retry-After. The run ends before its deadline. Every item keeps
Stage 1's text and has furigana and romaji; no translation is a placeholder. Rows, reply and metric agree about money;
every answer costs something and none more than its reservation. Nothing keeps running. While a healthy model is left,
the lesson is COMPLETE.""".splitlines()


@dataclass(frozen=True)
class Judged:
    """A cell, its observed run, and everything that is wrong."""

    cell: Cell
    seen: Seen
    wrong: tuple[str, ...]
    before: tuple[str, ...] = ()
    """What was wrong in the first run, beside other cells; `seen` is then the second run, alone."""


def judged(seen: Seen, broken: Sequence[str]) -> Judged:
    """Compares a run with the wanted result; `broken` lists its broken invariants."""
    cell = seen.cell
    pairs = {
        "outcomes": (cell.outcomes, seen.outcomes),
        "next": (cell.next, seen.next),
        "lesson": (cell.lesson, seen.outcome),
    }
    differs = [f"{what}: wanted {wanted}, seen {got}" for what, (wanted, got) in pairs.items() if wanted != got]
    return Judged(cell, seen, (*differs, *broken))


def page(results: Sequence[Judged], *, command: str, commit: str, machine: str, day: str, seconds: float) -> str:
    """The whole page as Markdown."""
    wrong = [result for result in results if result.wrong]
    lines = [
        "# What becomes of a lesson when its models fail",
        "",
        f"`{command}` writes this page; [benchmarks/README.md](../benchmarks/README.md) describes the method.",
        "",
        f"- commit: {commit}",
        f"- machine: {machine}; {day}; {seconds:.0f} s",
        f"- {len(results)} cells: {len(results) - len(wrong)} as wanted, {len(wrong)} not",
        "",
        *_WHAT,
        "",
    ]
    if wrong:
        lines += [
            "## Not as wanted",
            "",
            *(f"- **{result.cell.name}**: {'; '.join(result.wrong)}" for result in wrong),
            "",
        ]
    again = [result for result in results if result.before and not result.wrong]
    if again:
        lines += [
            "## As wanted only in a second run, alone",
            "",
            *(f"- {result.cell.name}: at first {'; '.join(result.before)}" for result in again),
            "",
        ]
    for stage, title in _STAGES.items():
        mine = [result for result in results if result.cell.stage == stage]
        if mine:
            lines += [f"## {title}", "", _HEAD, *(_row(result) for result in mine), ""]
    lines += [
        f"`{REFUSED}`: the port closes while such an attempt is in flight; one port serves all models.",
        "",
    ]
    return "\n".join(lines)


def _row(result: Judged) -> str:
    cell = result.cell
    seen = "as wanted" if not result.wrong else f"**{result.seen.outcomes}; {result.seen.next}; {result.seen.outcome}**"
    cells = (
        cell.fault,
        cell.position,
        cell.row,
        _short(cell.outcomes),
        cell.next,
        cell.lesson,
        seen,
        f"{result.seen.seconds:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _short(outcomes: str) -> str:
    """Shortens a repeated outcome to `2 x outcome`."""
    runs: list[list[str]] = []
    for outcome in outcomes.split(", "):
        if runs and runs[-1][0] == outcome:
            runs[-1].append(outcome)
        else:
            runs.append([outcome])
    return ", ".join(run[0] if len(run) == 1 else f"{len(run)} x {run[0]}" for run in runs)
