"""The matrix as a page: docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.faults.cells import Cell, Seen
from benchmarks.faults.kinds import REFUSED

_STAGES = {"stage1": "Stage 1", "stage2": "Stage 2"}
_HEAD = "| fault | position | models | outcomes | next | lesson | seen | s |\n|---|---|---|---|---|---|---|---|"

_WHAT = """\
A cell is one lesson through the three services. Its fault is on every call of the stage (of Stage 2: of one
section, or of all) that goes to the first model of the chain (*first*: the other two are well) or to any model
(*every*). What is wanted was written down before anything was run (`benchmarks/faults/wanted.tsv`): how the
attempts end, what follows each, and the lesson's outcome. In every cell the invariants hold, too: the order of
the chain; at most five attempts at a thing, and none before Retry-After; an end before the deadline; Stage 1's
text in every item, with furigana and romaji; no placeholder; rows, reply and metric say the same of money,
nothing that was answered counts as nothing, and nothing above what was reserved; nothing is left running; and
with a healthy model left the lesson is COMPLETE.""".splitlines()


@dataclass(frozen=True)
class Judged:
    """A cell, what was seen of it, and everything that is not as it should be."""

    cell: Cell
    seen: Seen
    wrong: tuple[str, ...]
    before: tuple[str, ...] = ()
    """What was not as it should be when it first ran, beside others: this is the second time, alone."""


def judged(seen: Seen, broken: Sequence[str]) -> Judged:
    """Compares with what was wanted; `broken` has the invariants that do not hold."""
    cell = seen.cell
    pairs = {
        "outcomes": (cell.outcomes, seen.outcomes),
        "next": (cell.next, seen.next),
        "lesson": (cell.lesson, seen.outcome),
    }
    differs = [f"{what}: wanted {wanted}, seen {got}" for what, (wanted, got) in pairs.items() if wanted != got]
    return Judged(cell, seen, (*differs, *broken))


def page(results: Sequence[Judged], *, command: str, commit: str, machine: str, day: str, seconds: float) -> str:
    """All of it as Markdown."""
    wrong = [result for result in results if result.wrong]
    lines = [
        "# What becomes of a lesson when its models fail",
        "",
        f"Written by `{command}`; how it is measured is in [benchmarks/README.md](../benchmarks/README.md).",
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
            "## As wanted only when run again, alone",
            "",
            *(f"- {result.cell.name}: at first {'; '.join(result.before)}" for result in again),
            "",
        ]
    for stage, title in _STAGES.items():
        mine = [result for result in results if result.cell.stage == stage]
        if mine:
            lines += [f"## {title}", "", _HEAD, *(_row(result) for result in mine), ""]
    lines += [
        f"`{REFUSED}`: the port is closed while such an attempt is under way; one port speaks for all models.",
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
    """A run of one outcome as 2 x it."""
    runs: list[list[str]] = []
    for outcome in outcomes.split(", "):
        if runs and runs[-1][0] == outcome:
            runs[-1].append(outcome)
        else:
            runs.append([outcome])
    return ", ".join(run[0] if len(run) == 1 else f"{len(run)} x {run[0]}" for run in runs)
