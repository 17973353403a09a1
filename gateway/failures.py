"""The errors that end a lesson: each says whose fault it is, and whether to come back."""

from __future__ import annotations

from collections.abc import Mapping

from lesson.models import Attempt, AttemptOutcome, SectionName
from servicekit.errors import (
    DeadlineError,
    Fault,
    MisconfiguredError,
    OverloadedError,
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
    """No such Can-do here, and no topic and level beside it."""

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
"""Error and retryable of a Stage 1 that failed so; anything else is UNAVAILABLE and worth another try."""


def stage1_failure(last: Attempt | None, missing: tuple[SectionName, ...], lesson_id: str) -> ServiceError:
    """The error of a lesson that cannot be: from the last attempt at it (None: none was begun in time)."""
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
