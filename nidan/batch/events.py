"""What the workers of a batch report to the main thread."""

from __future__ import annotations

from dataclasses import dataclass

from nidan.batch.result import Result
from nidan.batch.rows import Row
from nidan.errors import GivenUpError, StartError
from nidan.terminal.output import OutputError


@dataclass(frozen=True)
class Waiting:
    """The gateway or a provider is full and says when to come back."""

    row: Row
    seconds: float
    why: str


@dataclass(frozen=True)
class Broken:
    """An error that makes every further lesson useless."""

    error: OutputError | GivenUpError | StartError


@dataclass(frozen=True)
class WorkerDone:
    """One worker has no more rows."""


@dataclass(frozen=True)
class Signalled:
    """A signal asks the batch to end."""

    number: int


Event = Result | Waiting | Broken | WorkerDone | Signalled
