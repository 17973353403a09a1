"""How each row of a batch ended: kept in report.csv as rows end, and told at the end."""

from __future__ import annotations

import contextlib
import csv
import enum
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nidan.batch.rows import Row
from nidan.terminal.lines import Lines
from nidan.terminal.output import Output, OutputError
from nidan.terminal.sanitize import clean

EXIT_COMPLETE, EXIT_FAILED, EXIT_PARTIAL = 0, 1, 3
_NAME = "report.csv"
_SHOWN_CHARACTERS = 120
_COLUMNS = ("row", "id", "outcome", "seconds", "cost_usd", "file", "reason", "ended_at")
_BOM = "\ufeff"
"""Without it a spreadsheet reads Japanese as something else."""


class Outcome(enum.StrEnum):
    """How a row ended, or that it did not."""

    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    NOT_STARTED = "NOT_STARTED"


_STYLES = {Outcome.COMPLETE: "green", Outcome.PARTIAL: "yellow", Outcome.FAILED: "red"}


@dataclass(frozen=True)
class Result:
    """How one row ended."""

    row: Row
    outcome: Outcome
    file: Path | None = None
    """Where its lesson is."""
    reason: str = ""
    """One line: why it is not complete."""
    next_step: str = ""
    seconds: float | None = None
    """None for a lesson that was there already, or was not begun."""
    cost_usd: float | None = None
    """At list price; None when it is not known to the last cent, or nothing was made."""
    known_cost_usd: float = 0.0
    already_there: bool = False
    worth_checking: bool = False
    """Whether the gateway may be gone."""
    ended_at: float = field(default_factory=lambda: datetime.now(UTC).timestamp())

    @property
    def made(self) -> bool:
        """Whether this run began it."""
        return not self.already_there and self.outcome is not Outcome.NOT_STARTED

    def as_json(self) -> str:
        """One line."""
        told = {
            "row": self.row.number,
            "id": self.row.name,
            "outcome": self.outcome.value,
            "alreadyThere": self.already_there,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "costUsd": self.cost_usd,
            "file": str(self.file) if self.file else None,
            "reason": self.reason,
        }
        return json.dumps(told, ensure_ascii=False)

    def as_cells(self) -> list[str]:
        """In the order of the report's columns."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        cost = "" if self.cost_usd is None else f"{self.cost_usd:.6f}"
        ended = datetime.fromtimestamp(self.ended_at, UTC).isoformat(timespec="seconds")
        file = self.file.name if self.file else ""
        return [str(self.row.number), self.row.name, self.outcome.value, seconds, cost, file, self.reason, ended]


class Report:
    """report.csv of a directory: a line for each lesson as it ends; put in order, a line for each row, when it closes.

    Lines of earlier runs stay for the rows that this one does not make. Raises OutputError.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._earlier = self._read()
        with self._told():
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._number = os.open(self._path, flags, 0o666)
            if not os.fstat(self._number).st_size:
                self._append(_BOM + _line(_COLUMNS))
            elif not self._path.read_bytes().endswith(b"\n"):
                self._append("\r\n")  # a run that was killed in mid-line

    def add(self, result: Result) -> None:
        """On the disk when it returns."""
        with self._told():
            self._append(_line(result.as_cells()))
            os.fsync(self._number)

    def close(self, results: Sequence[Result]) -> None:
        """Writes the whole again, one line a row."""
        os.close(self._number)
        lines = [_line(_COLUMNS)]
        for result in results:
            cells = result.as_cells()
            earlier = self._earlier.get((cells[0], cells[1]))
            lines.append(_line(earlier if earlier and not result.made else cells))
        with Output(self._path) as output:
            output.write(_BOM + "".join(lines))

    def _read(self) -> dict[tuple[str, str], list[str]]:
        """The last line of each row and id."""
        if not self._path.is_file():
            return {}
        try:
            text = self._path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"cannot read {self._path}: {error}.") from error
        header, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [list(_COLUMNS)]
        if tuple(header) != _COLUMNS:
            raise OutputError(f"cannot write {self._path}: it is there and no report of a batch. Name another --out.")
        return {(cells[0], cells[1]): cells for cells in lines if len(cells) == len(_COLUMNS)}

    def _append(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._number, data) :]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}.") from error


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(cells)
    return out.getvalue()


# --- told at the end --------------------------------------------------------------------------------------------


def exit_code(results: Iterable[Result]) -> int:
    """0 all complete, 3 some partial and none worse, else 1."""
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
        told = Lines(" · ".join(part for part in where if part))
        grid.add_row(str(result.row.number), Lines(result.row.name), outcome, _time(result), _cost(result), told)
    return grid


def _time(result: Result) -> str:
    """A lesson that was there already is from a run before."""
    if result.already_there:
        return "before"
    return "" if result.seconds is None else f"{result.seconds:.1f} s"


def _cost(result: Result) -> str:
    if not result.made:
        return ""
    return "not known" if result.cost_usd is None else f"${result.cost_usd:.4f}"


def shortened(reason: str) -> str:
    """For a line of a screen; the report has the whole."""
    return reason if len(reason) <= _SHOWN_CHARACTERS else f"{reason[:_SHOWN_CHARACTERS].rstrip()}…"


def summary(results: Sequence[Result], seconds: float) -> str:
    """As in: 12 lessons: 9 complete, 1 partial, 2 failed (4 were there already) · $0.4183 · 93 s."""
    counts = Counter(result.outcome for result in results)
    told = ", ".join(f"{counts[outcome]} {outcome.lower().replace('_', ' ')}" for outcome in Outcome if counts[outcome])
    there = sum(result.already_there for result in results)
    were = f" ({there} {'was' if there == 1 else 'were'} there already)" if there else ""
    number = f"{len(results)} lesson{'s' * (len(results) != 1)}"
    return f"{number}: {told}{were} · {money(results)} · {seconds:.0f} s"


def money(results: Iterable[Result]) -> str:
    """What this run is known to have cost, and of how many lessons that is not known."""
    made = [result for result in results if result.made]
    known = sum(result.known_cost_usd for result in made)
    unknown = sum(result.cost_usd is None for result in made)
    return f"${known:.4f}" + (f" and what {unknown} cost is not known" if unknown else "")


def one_line(text: str) -> str:
    """What a service said, as a cell."""
    return " ".join(clean(text).split())
