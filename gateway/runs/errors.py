"""The errors that end a lesson. Each says whose fault it is, and whether a retry is worthwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lesson.models import Attempt, AttemptOutcome, SectionName
from servicekit.errors import (
    DeadlineError,
    Fault,
    FieldViolation,
    MisconfiguredError,
    OverloadedError,
    QuotaError,
    ServiceError,
    UnknownResourceError,
    UnsupportedError,
    UpstreamError,
)


class FeatureDisabledError(UnsupportedError):
    """USE_TWOSTAGE_GENERATION is off."""

    reason = "TWOSTAGE_DISABLED"
    fault: Fault = "service"


class UnknownCanDoError(UnknownResourceError):
    """The Can-do is unknown, and the request has no topic and level instead."""

    reason = "UNKNOWN_CAN_DO"


_UNAVAILABLE = (UpstreamError, True)
_OPERATOR = (MisconfiguredError, False)
_BAD_ANSWER = (ServiceError, True)
_STAGE1_ERRORS: Mapping[AttemptOutcome, tuple[type[ServiceError], bool]] = {
    AttemptOutcome.AUTH: _OPERATOR,
    AttemptOutcome.BAD_REQUEST: _OPERATOR,
    AttemptOutcome.UNKNOWN_MODEL: _OPERATOR,
    AttemptOutcome.RETIRED: _OPERATOR,
    AttemptOutcome.QUOTA: (OverloadedError, False),
    AttemptOutcome.BUDGET_TOO_SMALL: (OverloadedError, False),
    AttemptOutcome.RATE_LIMITED: (OverloadedError, True),
    AttemptOutcome.SHED: (OverloadedError, True),
    AttemptOutcome.REFUSED: (ServiceError, False),
    AttemptOutcome.CONTENT_FILTER: (ServiceError, False),
    AttemptOutcome.INVALID_JSON: _BAD_ANSWER,
    AttemptOutcome.INVALID_SCHEMA: _BAD_ANSWER,
    AttemptOutcome.EMPTY: _BAD_ANSWER,
    AttemptOutcome.LENGTH: _BAD_ANSWER,
    AttemptOutcome.REASONING_EXHAUSTED: _BAD_ANSWER,
}
"""The error class of a Stage 1 that ended so, and whether it is retryable. Others: UNAVAILABLE, retryable."""


def stage1_failure(last: Attempt | None, missing: tuple[SectionName, ...], lesson_id: str) -> ServiceError:
    """The error of a lesson without a required section. `last` is the last attempt; None: none began in time."""
    names = ", ".join(name.json_key for name in missing)
    if last is None:
        return DeadlineError(f"There was no time for Stage 1: no {names}.", stage="stage1", lesson_id=lesson_id)
    kind, retryable = _STAGE1_ERRORS.get(last.outcome, _UNAVAILABLE)
    return kind(
        f"Stage 1 gave no {names}. {last.model} ended {last.outcome.value}: {last.reason}",
        reason=f"STAGE1_{last.outcome.name}",
        retryable=retryable,
        fault="upstream" if kind is UpstreamError else "model",
        retry_after_seconds=last.retry_after_seconds,
        stage="stage1",
        lesson_id=lesson_id,
    )


def stage1_retired(ended: Sequence[str], lesson_id: str) -> ServiceError:
    """The error when every model of Stage 1's chain has ended."""
    return MisconfiguredError(
        f"No model of Stage 1 is left: {'; '.join(ended)}. Set CANDO_AI_STAGE1_MODEL to a model that is served.",
        reason="STAGE1_RETIRED",
        stage="stage1",
        lesson_id=lesson_id,
    )


_LIMITS = {
    "lesson": "LESSON_COST_LIMIT_USD",
    "day": "DAILY_COST_LIMIT_USD",
    "caller": "GATEWAY_CALLER_DAILY_COST_USD",
}


def until_tomorrow(error: QuotaError, seconds_to_midnight: float) -> None:
    """Sets the retry delay of a daily limit's error to the start of the next day."""
    if error.reason == "BUDGET_EXCEEDED" and all(one.field != _LIMITS["lesson"] for one in error.violations):
        error.retry_after_seconds = seconds_to_midnight


def budget_exceeded(scope: str, lesson_id: str) -> ServiceError:
    """The error when a cost limit allows no attempt of Stage 1 with any model."""
    limit = _LIMITS[scope]
    return QuotaError(
        f"The {scope}'s cost limit ({limit}) leaves too little for an attempt of Stage 1 with any model.",
        reason="BUDGET_EXCEEDED",
        violations=[FieldViolation(limit, f"no model of Stage 1 fits into what is left of the {scope}'s limit")],
        stage="stage1",
        lesson_id=lesson_id,
    )
