"""Which attempt comes next. Pure: outcomes in, the next model and kind of attempt out.

At most five attempts at a thing (Stage 1, or one version of a section: what is written anew is another text, which no
attempt has seen), and one of them is kept for each model of the chain not yet tried. What a fault of the answer asks
for is a re-ask with its reasons; a fault of the way asks for the same request again; and where neither can help, the
next model comes at once. The same fault twice on a model is that model's last.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lesson.models import AttemptKind, AttemptOutcome

MAX_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.3
_LONGEST_PAUSE_SECONDS = 4.0


class Remedy(enum.Enum):
    """What an ended attempt asks for."""

    REASK = "reask"
    RETRY = "retry"
    NEXT_MODEL = "next_model"


@dataclass(frozen=True)
class End:
    """What an outcome means, and what an attempt that ended so asks for."""

    remedy: Remedy
    meaning: str


ENDS: Final[Mapping[AttemptOutcome, End]] = {
    # Some of it may be right: only what is missing is asked again, with the reasons.
    AttemptOutcome.OK: End(Remedy.REASK, "a whole, valid answer; asked again only for what it lacks, if anything"),
    AttemptOutcome.INVALID_JSON: End(Remedy.REASK, "the answer holds no JSON that can be read in one way only"),
    AttemptOutcome.INVALID_SCHEMA: End(Remedy.REASK, "JSON, but a section or an item is missing or breaks a rule"),
    AttemptOutcome.EMPTY: End(Remedy.REASK, "the answer ended well and has no text"),
    AttemptOutcome.LENGTH: End(Remedy.REASK, "the answer was cut at its limit of output tokens"),
    # The model may be well; the way to it was not.
    AttemptOutcome.STALLED: End(Remedy.RETRY, "the stream fell silent in mid-answer"),
    AttemptOutcome.BROKEN_STREAM: End(Remedy.RETRY, "the answer ended without its end, or is not the API's"),
    AttemptOutcome.CONNECTION: End(Remedy.RETRY, "no connection, or one that ended before any answer"),
    AttemptOutcome.RATE_LIMITED: End(Remedy.RETRY, "HTTP 429, but for a quota"),
    AttemptOutcome.SERVER_ERROR: End(
        Remedy.RETRY, "HTTP 408, 409 or 5xx, an error in the stream, a body not the API's"
    ),
    AttemptOutcome.UPSTREAM: End(Remedy.RETRY, "our own stage could not be reached, or ended in mid-call"),
    AttemptOutcome.SHED: End(Remedy.RETRY, "every replica of our own stage was full until the time was up"),
    # The same model would only say the same again.
    AttemptOutcome.REFUSED: End(Remedy.NEXT_MODEL, "the model refused"),
    AttemptOutcome.CONTENT_FILTER: End(Remedy.NEXT_MODEL, "the provider's content filter ended the answer"),
    AttemptOutcome.REASONING_EXHAUSTED: End(Remedy.NEXT_MODEL, "reasoning used up all output tokens before any text"),
    AttemptOutcome.AUTH: End(Remedy.NEXT_MODEL, "HTTP 401 or 403: the key is wrong, or may not do this"),
    AttemptOutcome.QUOTA: End(Remedy.NEXT_MODEL, "HTTP 429 with code insufficient_quota: the account is empty"),
    AttemptOutcome.UNKNOWN_MODEL: End(Remedy.NEXT_MODEL, "code model_not_found: the provider has no such model"),
    AttemptOutcome.BAD_REQUEST: End(Remedy.NEXT_MODEL, "any other HTTP 4xx: the server does not take the request"),
    # It has had its time or its money, or may not be asked at all.
    AttemptOutcome.TIMEOUT: End(Remedy.NEXT_MODEL, "the attempt's whole time was up"),
    AttemptOutcome.FIRST_TOKEN_TIMEOUT: End(Remedy.NEXT_MODEL, "no text within the limit for the first"),
    AttemptOutcome.BUDGET_TOO_SMALL: End(Remedy.NEXT_MODEL, "the money left pays for no answer: nothing was sent"),
    AttemptOutcome.RETIRED: End(Remedy.NEXT_MODEL, "past its provider's end date: passed over, nothing was sent"),
    AttemptOutcome.CANCELLED: End(Remedy.NEXT_MODEL, "nobody waits for the answer any more"),
}
"""Every way in which an attempt can end; docs/errors.md shows it to users. After the last model's: the lesson fails
(Stage 1), or the section stays as it is (Stage 2)."""


def remedy_for(outcome: AttemptOutcome) -> Remedy:
    return ENDS[outcome].remedy


@dataclass(frozen=True)
class Step:
    """The next attempt: which model, why, and how long to wait before it (at the most; the caller draws)."""

    model: str
    kind: AttemptKind
    pause_seconds: float = 0.0


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

    def ended(self, outcome: AttemptOutcome, faults: Collection[str]) -> None:
        """How the attempt ended: its outcome, and the faults a re-ask should mend (path first)."""
        self._used += 1
        self._remedy = remedy_for(outcome)
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
        return Step(self._models[at], kind, pause)
