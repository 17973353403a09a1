"""Which attempt comes next. Pure: outcomes in, the next model and kind of attempt out.

At most five attempts at a thing (Stage 1, or one section), and one of them is kept for each model of the chain not yet
tried. What a fault of the answer asks for is a re-ask with its reasons; a fault of the way asks for the same request
again; and where neither can help, the next model comes at once. The same fault twice on a model is that model's last.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lesson.models import AttemptKind, AttemptOutcome

MAX_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.3
_LONGEST_PAUSE_SECONDS = 4.0


class Remedy(enum.Enum):
    """What an ended attempt asks for."""

    REASK = "reask"
    RETRY = "retry"
    NEXT_MODEL = "next_model"


_REMEDIES: dict[AttemptOutcome, Remedy] = {
    # Some of it may be right: only what is missing is asked again, with the reasons.
    AttemptOutcome.OK: Remedy.REASK,
    AttemptOutcome.INVALID_JSON: Remedy.REASK,
    AttemptOutcome.INVALID_SCHEMA: Remedy.REASK,
    AttemptOutcome.EMPTY: Remedy.REASK,
    AttemptOutcome.LENGTH: Remedy.REASK,
    # The model may be well; the way to it was not.
    AttemptOutcome.STALLED: Remedy.RETRY,
    AttemptOutcome.BROKEN_STREAM: Remedy.RETRY,
    AttemptOutcome.CONNECTION: Remedy.RETRY,
    AttemptOutcome.RATE_LIMITED: Remedy.RETRY,
    AttemptOutcome.SERVER_ERROR: Remedy.RETRY,
    AttemptOutcome.UPSTREAM: Remedy.RETRY,
    AttemptOutcome.SHED: Remedy.RETRY,
}
"""Anything else (a refusal, a key, a quota, a limit of time) the same model would only say again: the next one."""


def remedy_for(outcome: AttemptOutcome) -> Remedy:
    return _REMEDIES.get(outcome, Remedy.NEXT_MODEL)


@dataclass(frozen=True)
class Step:
    """The next attempt: which model, why, and how long to wait before it (at the most; the caller draws)."""

    model: str
    kind: AttemptKind
    pause_seconds: float = 0.0
    floor_seconds: float = 0.0
    """What the provider asked for (Retry-After): never less."""


class Attempts:
    """The attempts at one thing. Ask for `next()`, make it, tell how it `ended`; `next()` is None when none is left."""

    def __init__(self, models: Sequence[str], limit: int = MAX_ATTEMPTS) -> None:
        """`models` is the chain, first to last, without repeats; `limit` is at least its length."""
        self._models = tuple(models)
        self._limit = max(limit, len(self._models))
        self._used = 0
        self._at = 0
        self._remedy = Remedy.NEXT_MODEL
        self._retries = 0
        self._seen: set[frozenset[str]] = set()
        self._retry_after = 0.0

    @property
    def ahead(self) -> tuple[str, ...]:
        """The models that may still be asked: the one in turn and all after it."""
        return self._models[self._at :]

    def next(self, refused: Collection[str] = ()) -> Step | None:
        """The next attempt, or None when there is none that could help. A refused model is passed over: no attempt."""
        left = self._limit - self._used
        if self._used == 0:
            return self._onward(self._at, refused, left)
        untried = len(self._models) - self._at - 1
        if self._remedy is not Remedy.NEXT_MODEL and left > untried and self._models[self._at] not in refused:
            kind = AttemptKind.REASK if self._remedy is Remedy.REASK else AttemptKind.RETRY
            return self._step(kind, self._at)
        return self._onward(self._at + 1, refused, left)

    def _onward(self, start: int, refused: Collection[str], left: int) -> Step | None:
        """The first model from there on that is not refused."""
        ahead = (at for at in range(start, len(self._models)) if self._models[at] not in refused)
        at = next(ahead, None) if left > 0 else None
        if at is None:
            return None
        return self._step(AttemptKind.FALLBACK if at > 0 else AttemptKind.FIRST, at)

    def ended(self, outcome: AttemptOutcome, faults: Collection[str], retry_after_seconds: float | None = None) -> None:
        """How the attempt ended: its outcome, and the faults a re-ask should mend (path first)."""
        self._used += 1
        self._remedy = remedy_for(outcome)
        self._retry_after = retry_after_seconds or 0.0
        # Of what went wrong on the way the message says no more: it may hold an id, or a time.
        signature = frozenset((outcome.value, *(faults if self._remedy is Remedy.REASK else ())))
        # A service that is being started again says nothing about the model.
        if signature in self._seen and outcome is not AttemptOutcome.UPSTREAM:
            self._remedy = Remedy.NEXT_MODEL
        self._seen.add(signature)
        self._retries = self._retries + 1 if self._remedy is Remedy.RETRY else 0

    def _step(self, kind: AttemptKind, at: int) -> Step:
        if at != self._at:
            self._at = at
            self._seen.clear()
        if kind is not AttemptKind.RETRY:
            return Step(self._models[at], kind)
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (self._retries - 1))
        return Step(self._models[at], kind, pause, self._retry_after)
