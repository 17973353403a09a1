"""The end of a batch: table, counts, cost and exit status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nidan.batch.result import Outcome, Result
from nidan.errors import EXIT_COMPLETE, EXIT_FAILED, EXIT_PARTIAL
from nidan.terminal.lines import Lines

_SHOWN_CHARACTERS = 120
_STYLES = {Outcome.COMPLETE: "green", Outcome.PARTIAL: "yellow", Outcome.FAILED: "red"}


def exit_code(results: Iterable[Result]) -> int:
    """0 when all are complete, 3 when the worst is partial, else 1."""
    outcomes = {result.outcome for result in results}
    if outcomes <= {Outcome.COMPLETE}:
        return EXIT_COMPLETE
    return EXIT_PARTIAL if outcomes <= {Outcome.COMPLETE, Outcome.PARTIAL} else EXIT_FAILED


def table(results: Sequence[Result]) -> RenderableType:
    """A line for each row."""
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    grid.add_column("Row", justify="right", no_wrap=True)
    grid.add_column("ID")
    grid.add_column("Outcome", no_wrap=True)
    grid.add_column("Time", justify="right", no_wrap=True)
    grid.add_column("Cost", justify="right", no_wrap=True)
    grid.add_column("File or reason")
    for result in results:
        outcome = Text(result.outcome.value.lower().replace("_", " "), _STYLES.get(result.outcome, ""))
        where = (result.file.name if result.file else "", shortened(result.reason))
        last = Lines(" · ".join(part for part in where if part))
        grid.add_row(str(result.row.number), Lines(result.row.name), outcome, _time(result), _cost(result), last)
    return grid


def _time(result: Result) -> str:
    """`before` for a lesson of an earlier run."""
    if result.already_there:
        return "before"
    return "" if result.seconds is None else f"{result.seconds:.1f} s"


def _cost(result: Result) -> str:
    if not result.made:
        return ""
    return "not known" if result.cost_usd is None else f"${result.cost_usd:.4f}"


def shortened(reason: str) -> str:
    """Cut for the screen; the report has all of it."""
    return reason if len(reason) <= _SHOWN_CHARACTERS else f"{reason[:_SHOWN_CHARACTERS].rstrip()}…"


def summary(results: Sequence[Result], seconds: float) -> str:
    """Such as: 12 lessons: 9 complete, 1 partial, 2 failed (4 were there already) · $0.4183 · 93 s."""
    counts = Counter(result.outcome for result in results)
    shown = [f"{counts[outcome]} {outcome.lower().replace('_', ' ')}" for outcome in Outcome if counts[outcome]]
    there = sum(result.already_there for result in results)
    were = f" ({there} {'was' if there == 1 else 'were'} there already)" if there else ""
    number = f"{len(results)} lesson{'s' * (len(results) != 1)}"
    return f"{number}: {', '.join(shown)}{were} · {money(results)} · {seconds:.0f} s"


def money(results: Iterable[Result]) -> str:
    """The known cost of this run, and the number of lessons of unknown cost."""
    made = [result for result in results if result.made]
    known = sum(result.known_cost_usd for result in made)
    unknown = sum(result.cost_usd is None for result in made)
    return f"${known:.4f}" + (f" and what {unknown} cost is not known" if unknown else "")
