"""Which attempt comes next: pure rules, from the history of the attempts at one thing.

One thing is Stage 1, or one revision of a section: a rewritten section is a new text that no attempt has seen. It gets
at most five attempts, and one of them is kept for each model of the chain that has not been tried. A faulty answer
calls for a re-ask with its faults, a broken connection for the same request again, and anything else for the next
model. A model that fails twice in the same way is not asked again.

`next_attempt` depends on nothing but its arguments, so the plan of a run can be rebuilt from stored rows.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lesson.models import AttemptKind, AttemptOutcome

MAX_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.3
_LONGEST_PAUSE_SECONDS: Final = 4.0


class Remedy(enum.Enum):
    """What an outcome calls for."""

    REASK = "reask"
    RETRY = "retry"
    NEXT_MODEL = "next_model"


@dataclass(frozen=True)
class OutcomeRule:
    """What an outcome means, and what it calls for."""

    remedy: Remedy
    meaning: str


OUTCOME_RULES: Final[Mapping[AttemptOutcome, OutcomeRule]] = {
    # Part of the answer may be right: ask again only for what is missing, with the reasons.
    AttemptOutcome.OK: OutcomeRule(Remedy.REASK, "a valid answer; a re-ask covers only what it lacks"),
    AttemptOutcome.INVALID_JSON: OutcomeRule(Remedy.REASK, "the answer holds no JSON, or JSON that is ambiguous"),
    AttemptOutcome.INVALID_SCHEMA: OutcomeRule(
        Remedy.REASK, "JSON, but a section or an item is missing or breaks a rule"
    ),
    AttemptOutcome.EMPTY: OutcomeRule(Remedy.REASK, "the answer ended normally without text"),
    AttemptOutcome.LENGTH: OutcomeRule(Remedy.REASK, "the answer was cut at its limit of output tokens"),
    # The model may be well; the connection to it was not.
    AttemptOutcome.STALLED: OutcomeRule(Remedy.RETRY, "the stream stalled during the answer"),
    AttemptOutcome.BROKEN_STREAM: OutcomeRule(Remedy.RETRY, "the stream ended early, or is not the API's"),
    AttemptOutcome.CONNECTION: OutcomeRule(Remedy.RETRY, "no connection, or it closed before any answer"),
    AttemptOutcome.RATE_LIMITED: OutcomeRule(Remedy.RETRY, "HTTP 429, except for a quota"),
    AttemptOutcome.SERVER_ERROR: OutcomeRule(
        Remedy.RETRY, "HTTP 408, 409 or 5xx, an error in the stream, or a body that is not the API's"
    ),
    AttemptOutcome.UPSTREAM: OutcomeRule(Remedy.RETRY, "our own stage was unreachable, or ended during the call"),
    AttemptOutcome.SHED: OutcomeRule(Remedy.RETRY, "every replica of our own stage stayed full"),
    # The same model would only repeat itself.
    AttemptOutcome.REFUSED: OutcomeRule(Remedy.NEXT_MODEL, "the model refused"),
    AttemptOutcome.CONTENT_FILTER: OutcomeRule(Remedy.NEXT_MODEL, "the provider's content filter ended the answer"),
    AttemptOutcome.REASONING_EXHAUSTED: OutcomeRule(
        Remedy.NEXT_MODEL, "reasoning used up all output tokens before any text"
    ),
    AttemptOutcome.AUTH: OutcomeRule(Remedy.NEXT_MODEL, "HTTP 401 or 403: the key is wrong or lacks the permission"),
    AttemptOutcome.QUOTA: OutcomeRule(Remedy.NEXT_MODEL, "HTTP 429 with code insufficient_quota: the account is empty"),
    AttemptOutcome.UNKNOWN_MODEL: OutcomeRule(
        Remedy.NEXT_MODEL, "code model_not_found: the provider has no such model"
    ),
    AttemptOutcome.BAD_REQUEST: OutcomeRule(Remedy.NEXT_MODEL, "any other HTTP 4xx: the server rejects the request"),
    # The model has used up its time or its money, or must not be asked.
    AttemptOutcome.TIMEOUT: OutcomeRule(Remedy.NEXT_MODEL, "the attempt ran out of time"),
    AttemptOutcome.FIRST_TOKEN_TIMEOUT: OutcomeRule(Remedy.NEXT_MODEL, "no text within the limit for the first token"),
    AttemptOutcome.BUDGET_TOO_SMALL: OutcomeRule(
        Remedy.NEXT_MODEL, "the remaining budget pays for no answer: nothing was sent"
    ),
    AttemptOutcome.RETIRED: OutcomeRule(Remedy.NEXT_MODEL, "past its provider's end date: skipped, nothing was sent"),
    AttemptOutcome.CANCELLED: OutcomeRule(Remedy.NEXT_MODEL, "cancelled: its answer is no longer needed"),
}
"""What every outcome means and calls for; docs/errors.md shows it to users. After the last attempt with the last model
the lesson fails (Stage 1), or the section stays as it is (Stage 2)."""


def remedy_for(outcome: AttemptOutcome) -> Remedy:
    return OUTCOME_RULES[outcome].remedy


@dataclass(frozen=True)
class PastAttempt:
    """An attempt that ended."""

    model: str
    kind: AttemptKind
    outcome: AttemptOutcome
    issue_keys: frozenset[str] = frozenset()
    """The faults of the answer, each as its issue's string."""

    @property
    def signature(self) -> tuple[AttemptOutcome, frozenset[str]]:
        """Equal when two attempts failed in the same way. Only faults of an answer count: an error message of the
        connection may hold an id or a time."""
        return self.outcome, self.issue_keys if remedy_for(self.outcome) is Remedy.REASK else frozenset()


@dataclass(frozen=True)
class NextAttempt:
    """The model to ask, why, and the longest pause before it (the caller draws)."""

    model: str
    kind: AttemptKind
    pause_seconds: float = 0.0


def next_attempt(
    history: Sequence[PastAttempt],
    chain: Sequence[str],
    refused: Collection[str] = (),
    limit: int = MAX_ATTEMPTS,
) -> NextAttempt | None:
    """The next attempt, or None when no attempt can help.

    `history` holds the attempts so far, in order. `chain` holds the models, first to last, without repeats. A refused
    model is skipped, which is not an attempt. `limit` counts attempts, but every model gets at least one.
    """
    left = max(limit, len(chain)) - len(history)
    at = _position(history, chain)
    untried = chain[at + 1 :]
    last = history[-1].model if history else None
    if at >= 0 and last == chain[at] and last not in refused and left > len(untried):
        again = _again(history)
        if again is not None:
            return again
    model = next((model for model in untried if model not in refused), None)
    if model is None or left <= 0:
        return None
    return NextAttempt(model, AttemptKind.FIRST if model == chain[0] else AttemptKind.FALLBACK)


def models_ahead(history: Sequence[PastAttempt], chain: Sequence[str]) -> tuple[str, ...]:
    """The models that may still be asked: the last one asked, and all after it."""
    return tuple(chain[max(0, _position(history, chain)) :])


def _position(history: Sequence[PastAttempt], chain: Sequence[str]) -> int:
    """The index in the chain of the furthest model that was asked; -1 before the first attempt."""
    asked = {past.model for past in history}
    return max((index for index, model in enumerate(chain) if model in asked), default=-1)


def _again(history: Sequence[PastAttempt]) -> NextAttempt | None:
    """Another attempt with the model asked last; None when it calls for the next model."""
    model, remedy = history[-1].model, _remedy(history, len(history) - 1)
    if remedy is Remedy.REASK:
        return NextAttempt(model, AttemptKind.REASK)
    if remedy is Remedy.RETRY:
        pause = _FIRST_PAUSE_SECONDS * 2 ** (_retries(history) - 1)
        return NextAttempt(model, AttemptKind.RETRY, min(_LONGEST_PAUSE_SECONDS, pause))
    return None


def _remedy(history: Sequence[PastAttempt], at: int) -> Remedy:
    """What the attempt at that index called for: the next model, where it failed as an earlier one of its model did."""
    past = history[at]
    repeated = any(earlier.model == past.model and earlier.signature == past.signature for earlier in history[:at])
    # A stage that is being restarted says nothing about the model.
    if repeated and past.outcome is not AttemptOutcome.UPSTREAM:
        return Remedy.NEXT_MODEL
    return remedy_for(past.outcome)


def _retries(history: Sequence[PastAttempt]) -> int:
    """How many attempts in a row, up to the last, called for a retry."""
    count = 0
    while count < len(history) and _remedy(history, len(history) - 1 - count) is Remedy.RETRY:
        count += 1
    return count
