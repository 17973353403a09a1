"""The account of every model call: a row opens with its reservation before the call, and settles exactly once.

A call without usage settles at the client's estimate of a whole answer, or else at its reserved cost, because money
that may have been spent is never counted as zero. Only a request that the provider refused before any work costs
nothing. A store can keep the rows behind the same protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from lesson.models import Attempt, AttemptKind, AttemptOutcome, SectionName, Stage

_NOT_CHARGED = {
    AttemptOutcome.CONNECTION,
    AttemptOutcome.RATE_LIMITED,
    AttemptOutcome.QUOTA,
    AttemptOutcome.BAD_REQUEST,
    AttemptOutcome.AUTH,
    AttemptOutcome.UNKNOWN_MODEL,
    AttemptOutcome.BUDGET_TOO_SMALL,
    AttemptOutcome.RETIRED,
    AttemptOutcome.SHED,
}


@dataclass(frozen=True)
class Row:
    """One model call; open while `attempt` is None."""

    id: str
    lesson_id: str
    stage: Stage
    section: SectionName | None
    model: str
    kind: AttemptKind
    reserved_usd: float | None
    """The most it can cost at list price; None when the model has no price."""
    attempt: Attempt | None = None


class Ledger(Protocol):
    """Where rows are kept."""

    def open(self, row: Row) -> None:
        """Writes a new row. Raises ValueError when its id is taken."""

    def settle(self, row_id: str, attempt: Attempt) -> Attempt:
        """Closes an open row and returns the attempt as counted. Raises ValueError when the row is not open."""

    def rows(self, lesson_id: str) -> tuple[Row, ...]:
        """A lesson's rows, in the order in which they were opened."""


class MemoryLedger:
    """Rows of the running lessons, in memory; `forget` a lesson when it has ended."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Row]] = {}
        self._lesson_of: dict[str, str] = {}

    def open(self, row: Row) -> None:
        if row.id in self._lesson_of:
            raise ValueError(f"ledger: row {row.id} already exists")
        self._lesson_of[row.id] = row.lesson_id
        self._rows.setdefault(row.lesson_id, {})[row.id] = row

    def settle(self, row_id: str, attempt: Attempt) -> Attempt:
        row = self._rows[self._lesson_of[row_id]][row_id]
        if row.attempt is not None:
            raise ValueError(f"ledger: row {row_id} is already settled")
        counted = counted_attempt(row, attempt)
        self._rows[row.lesson_id][row_id] = replace(row, attempt=counted)
        return counted

    def rows(self, lesson_id: str) -> tuple[Row, ...]:
        return tuple(self._rows.get(lesson_id, {}).values())

    def forget(self, lesson_id: str) -> None:
        for row in self._rows.pop(lesson_id, {}).values():
            del self._lesson_of[row.id]

    @property
    def open_rows(self) -> tuple[Row, ...]:
        """Rows of running calls."""
        return tuple(row for rows in self._rows.values() for row in rows.values() if row.attempt is None)


def counted_attempt(row: Row, attempt: Attempt) -> Attempt:
    """The attempt with its row's kind, and with its counted cost where the provider reported no usage."""
    cost = attempt.cost_usd
    if attempt.usage is None and cost is None:
        # A server that failed before any text answered with an error, and errors are not billed.
        failed_at_once = attempt.outcome is AttemptOutcome.SERVER_ERROR and attempt.first_token_seconds is None
        cost = 0.0 if attempt.outcome in _NOT_CHARGED or failed_at_once else row.reserved_usd
    return attempt.model_copy(update={"kind": row.kind, "cost_usd": cost})
