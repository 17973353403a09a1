"""Turns the moments that a caller saw and the server's own record into figures. Pure."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

READING = "reading"


class TimelineError(Exception):
    """The moments do not make a lesson that counts. The message says why."""


class Seen(enum.Enum):
    """The kind of a moment."""

    READY = "ready"
    TRANSLATED = "translated"
    """A section arrived ENHANCED, with every translation it needs."""
    REPLACED = "replaced"
    """A later answer replaces the section."""


@dataclass(frozen=True)
class Moment:
    """Something the caller saw. `at` is time.monotonic()."""

    at: float
    what: Seen
    section: str


@dataclass(frozen=True)
class Stream:
    """Stage 1's call in the server's own record, from its request to its last chunk."""

    asked: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.asked

    def percent(self, at: float) -> float:
        """A moment's place in the stream; above 100 after its end."""
        return 100 * (at - self.asked) / self.seconds


@dataclass(frozen=True)
class Figures:
    """One lesson. Seconds are as measured, not scaled back; percentages are of Stage 1's stream."""

    total_seconds: float
    """From the request to Completed, at the caller."""
    stream_seconds: float
    """Stage 1's own stream, by the server's record."""
    ratio: float
    added_ms: float
    """The total minus the stream: the next two figures together."""
    before_ms: float
    """From the request to Stage 1's call at the model server."""
    after_ms: float
    """From the last chunk that the server wrote to Completed at the caller."""
    first_ready_percent: float
    reading_ready_percent: float
    """When the caller had the reading in plain Japanese."""
    reading_translated_percent: float
    """When the caller had the reading translated."""


def measure(begun: float, completed: float, moments: Sequence[Moment], stream: Stream) -> Figures:
    """The figures of one lesson. Raises TimelineError if a moment they need is missing."""
    total = completed - begun
    if stream.seconds <= 0 or total <= 0:
        raise TimelineError("the lesson or its stream took no time")
    first = min((moment.at for moment in moments if moment.what is Seen.READY), default=None)
    if first is None:
        raise TimelineError("no section was ever ready")
    return Figures(
        total_seconds=total,
        stream_seconds=stream.seconds,
        ratio=total / stream.seconds,
        added_ms=1000 * (total - stream.seconds),
        before_ms=1000 * (stream.asked - begun),
        after_ms=1000 * (completed - stream.ended),
        first_ready_percent=stream.percent(first),
        reading_ready_percent=stream.percent(_standing(moments, READING, Seen.READY)),
        reading_translated_percent=stream.percent(_standing(moments, READING, Seen.TRANSLATED)),
    )


def _standing(moments: Iterable[Moment], section: str, what: Seen) -> float:
    """When the version that the caller kept arrived first; a replaced version does not count."""
    at: float | None = None
    for moment in moments:
        if moment.section != section:
            continue
        if moment.what is Seen.REPLACED:
            at = None
        elif moment.what is what and at is None:
            at = moment.at
    if at is None:
        raise TimelineError(f"{section} was never {what.value}")
    return at


def median(runs: Sequence[Figures]) -> Figures:
    """The median of each figure separately. Raises statistics.StatisticsError without a run."""
    names = [field.name for field in fields(Figures)]
    return Figures(**{name: statistics.median(getattr(run, name) for run in runs) for name in names})
