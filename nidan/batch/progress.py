"""Progress of a batch on stderr: a bar on a terminal, else a line for each lesson."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from nidan.batch.result import Outcome, Result
from nidan.batch.summary import money, shortened
from nidan.terminal.sanitize import clean

_STYLES = {Outcome.COMPLETE: ("✓", "green"), Outcome.PARTIAL: ("!", "yellow"), Outcome.FAILED: ("✗", "red")}
_STYLE_OF_THE_REST = ("·", "")


class BatchProgress:
    """Counts the results of `total` lessons."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._results: list[Result] = []
        self._began = time.monotonic()
        self._bar: Progress | None = None

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the bar inside the block."""
        if not self._console.is_terminal:
            yield
            return
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self._console, transient=True) as bar:
            self._bar = bar
            bar.add_task(self._so_far(), total=self._total)
            try:
                yield
            finally:
                self._bar = None

    def add(self, result: Result) -> None:
        """Prints a permanent line, and advances the bar."""
        self._results.append(result)
        mark, style = _STYLES.get(result.outcome, _STYLE_OF_THE_REST)
        self.say(f"{mark} {self._of_row(result)}", style)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, description=self._so_far())

    def say(self, text: str, style: str = "") -> None:
        """Prints a permanent line."""
        self._console.print(Text(clean(text), style=style))

    def _of_row(self, result: Result) -> str:
        facts = [f"row {result.row.number}", result.row.name, result.outcome.value.lower().replace("_", " ")]
        facts += [f"{result.seconds:.1f} s"] if result.seconds is not None else []
        facts += [shortened(result.reason)] if result.reason else []
        facts += [] if self._bar else [f"{len(self._results)}/{self._total}", self._so_far()]
        return " · ".join(facts)

    def _so_far(self) -> str:
        """Cost and remaining time, such as: $0.0312 · about 4 min left."""
        left = self._total - len(self._results)
        if not self._results or not left or self._results[-1].outcome is Outcome.CANCELLED:
            return money(self._results)
        seconds = (time.monotonic() - self._began) / len(self._results) * left
        return f"{money(self._results)} · {about(seconds)} left"


def about(seconds: float) -> str:
    """A duration in the unit that fits."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
