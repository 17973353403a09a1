"""What a lesson's timeline says: pure arithmetic on the moments that a caller saw and on the server's own record."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

READING = "reading"


class TimelineError(Exception):
    """What was seen is no lesson that may be counted; says why."""


class Seen(enum.Enum):
    """What a moment was."""

    READY = "ready"
    TRANSLATED = "translated"
    """A section came enhanced, with a translation wherever one is needed."""
    REPLACED = "replaced"
    """What was said of the section no longer holds."""


@dataclass(frozen=True)
class Moment:
    """Something the caller saw. `at` is time.monotonic()."""

    at: float
    what: Seen
    section: str


@dataclass(frozen=True)
class Stream:
    """Stage 1's call, from the server's own record: its request came, its last chunk was written."""

    asked: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.asked

    def percent(self, at: float) -> float:
        """Where in the stream a moment lies; above 100: after it."""
        return 100 * (at - self.asked) / self.seconds


@dataclass(frozen=True)
class Figures:
    """One lesson. Seconds as measured, nothing scaled back; per cent of Stage 1's stream."""

    total_seconds: float
    """From the request to Completed, at the caller."""
    stream_seconds: float
    """Stage 1's own stream, by the server's record."""
    ratio: float
    added_ms: float
    """The total without the stream: what follows, together."""
    before_ms: float
    """From the request to Stage 1's call at the model server."""
    after_ms: float
    """From the last chunk that the server wrote to Completed at the caller."""
    first_ready_percent: float
    reading_ready_percent: float
    """When the caller had the reading in plain Japanese."""
    reading_translated_percent: float
    """When the reading stood translated before the caller."""


def measure(begun: float, completed: float, moments: Sequence[Moment], stream: Stream) -> Figures:
    """The figures of one lesson. Raises TimelineError when a moment they need was never seen."""
    total = completed - begun
    if stream.seconds <= 0 or total <= 0:
        raise TimelineError("time did not pass")
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
    """When what the caller kept of the section came first: what was replaced later had not stood."""
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
    """The median of each figure by itself. Raises statistics.StatisticsError when there is no run."""
    names = [field.name for field in fields(Figures)]
    return Figures(**{name: statistics.median(getattr(run, name) for run in runs) for name in names})
