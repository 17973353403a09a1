"""A model call: its kind, its outcome, its cost."""

from __future__ import annotations

import enum
from typing import Any, Protocol

from lesson.models.base import Model, SectionName


class Stage(enum.StrEnum):
    STAGE1 = "stage1"
    STAGE2 = "stage2"


class AttemptKind(enum.StrEnum):
    FIRST = "first"
    RETRY = "retry"
    REASK = "reask"
    FALLBACK = "fallback"
    PROBE = "probe"


class AttemptOutcome(enum.StrEnum):
    """How a model call ended. A call that is not OK may still cost money and give sections."""

    OK = "ok"
    INVALID_JSON = "invalid_json"
    INVALID_SCHEMA = "invalid_schema"
    EMPTY = "empty"
    LENGTH = "length"
    REASONING_EXHAUSTED = "reasoning_exhausted"
    REFUSED = "refused"
    CONTENT_FILTER = "content_filter"
    TIMEOUT = "timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a token of text, not a secret
    STALLED = "stalled"
    BROKEN_STREAM = "broken_stream"
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    AUTH = "auth"
    UNKNOWN_MODEL = "unknown_model"
    BUDGET_TOO_SMALL = "budget_too_small"
    RETIRED = "retired"
    CANCELLED = "cancelled"
    UPSTREAM = "upstream"
    SHED = "shed"


class Usage(Model):
    """Billable tokens of one call. Cached tokens are part of the input, reasoning tokens part of the output."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int


class Attempt(Model):
    """One model call, as the stage that made it reports it."""

    id: str
    stage: Stage
    section: SectionName | None
    """None for Stage 1, which writes all sections."""
    provider: str
    model: str
    kind: AttemptKind
    outcome: AttemptOutcome
    reason: str
    """One line for people; empty when OK."""
    retry_after_seconds: float | None
    usage: Usage | None
    """None when the provider reported none: the cost is then unknown, not zero."""
    cost_usd: float | None
    """At list price; None when usage or price is unknown."""
    first_token_seconds: float | None
    duration_seconds: float


class CallReport(Protocol):
    """The result of a model call, as the client reports it. Each field is as in Attempt."""

    @property
    def usage(self) -> Any: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def retry_after_seconds(self) -> float | None: ...
    @property
    def first_token_seconds(self) -> float | None: ...
    @property
    def duration_seconds(self) -> float: ...


def attempt_reported(
    report: CallReport,
    *,
    attempt_id: str,
    stage: Stage,
    section: SectionName | None,
    provider: str,
    model: str,
    outcome: AttemptOutcome,
    reason: str,
) -> Attempt:
    """The attempt of a reported call. Its kind is FIRST until the gateway, which knows all attempts, sets it."""
    return Attempt(
        id=attempt_id,
        stage=stage,
        section=section,
        provider=provider,
        model=model,
        kind=AttemptKind.FIRST,
        outcome=outcome,
        reason="" if outcome is AttemptOutcome.OK else reason,
        retry_after_seconds=report.retry_after_seconds,
        usage=Usage(**vars(report.usage)) if report.usage else None,
        cost_usd=report.cost_usd,
        first_token_seconds=report.first_token_seconds,
        duration_seconds=report.duration_seconds,
    )


def unanswered_attempt(
    *,
    attempt_id: str,
    stage: Stage,
    section: SectionName | None,
    provider: str,
    model: str,
    outcome: AttemptOutcome,
    reason: str,
    retry_after_seconds: float | None = None,
    duration_seconds: float = 0.0,
) -> Attempt:
    """The attempt of a call without a report from the stage. Its usage is unknown."""
    return Attempt(
        id=attempt_id,
        stage=stage,
        section=section,
        provider=provider,
        model=model,
        kind=AttemptKind.FIRST,
        outcome=outcome,
        reason=reason,
        retry_after_seconds=retry_after_seconds,
        usage=None,
        cost_usd=None,
        first_token_seconds=None,
        duration_seconds=duration_seconds,
    )
