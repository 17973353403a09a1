"""How one row of a batch ended."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from nidan.batch.rows import Row
from nidan.terminal.sanitize import clean
from servicekit.safe_json import safe_dumps


class Outcome(enum.StrEnum):
    """How a row ended. NOT_STARTED: it did not begin."""

    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    NOT_STARTED = "NOT_STARTED"


@dataclass(frozen=True)
class Result:
    """The result of one row."""

    row: Row
    outcome: Outcome
    file: Path | None = None
    """Holds its lesson."""
    reason: str = ""
    """One line: why the lesson is not complete."""
    next_step: str = ""
    seconds: float | None = None
    """None for a lesson that existed already, or was not started."""
    cost_usd: float | None = None
    """At list price. None when some of it is unknown, or nothing was made."""
    known_cost_usd: float = 0.0
    already_there: bool = False
    worth_checking: bool = False
    """True when the gateway may be gone."""
    ended_at: float = field(default_factory=lambda: datetime.now(UTC).timestamp())

    @property
    def made(self) -> bool:
        """Whether this run started it."""
        return not self.already_there and self.outcome is not Outcome.NOT_STARTED

    def as_json(self) -> str:
        """One line."""
        values = {
            "row": self.row.number,
            "id": self.row.name,
            "outcome": self.outcome.value,
            "alreadyThere": self.already_there,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "costUsd": self.cost_usd,
            "file": str(self.file) if self.file else None,
            "reason": self.reason,
        }
        return safe_dumps(values)

    def as_cells(self) -> list[str]:
        """In the order of the report's columns."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        cost = "" if self.cost_usd is None else f"{self.cost_usd:.6f}"
        ended = datetime.fromtimestamp(self.ended_at, UTC).isoformat(timespec="seconds")
        file = self.file.name if self.file else ""
        return [str(self.row.number), self.row.name, self.outcome.value, seconds, cost, file, self.reason, ended]


def one_line(text: str) -> str:
    """A service's message as one cell."""
    return " ".join(clean(text).split())
