"""Reads a failed call: which outcome a status, a broken connection or a limit of time is, and how long to wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from servicekit.llm.calls import CallOutcome, Failure, ModelRequest
from servicekit.llm.server_errors import ServerError, error_of_body
from servicekit.llm.transport import ConnectError, Response, TransportError, UnreadableAnswerError, redirect_host

MAX_ERROR_BYTES: Final = 64 * 1024
"""No more is read of the body of an error."""
MAX_RETRY_AFTER_SECONDS: Final = 24 * 3600.0
"""A longer wait counts as this one."""
_NO_CAPACITY: Final = "resource_unavailable"
_EPOCH: Final = 1e9
"""A number of seconds above this is a time, not a wait."""


class StatusError(Exception):
    """The server answered with a status other than success."""

    def __init__(self, status: int, error: ServerError, retry_after: float | None) -> None:
        super().__init__(f"HTTP {status}: {error.words}")
        self.status = status
        self.error = error
        self.retry_after_seconds = retry_after

    @classmethod
    async def read(cls, response: Response, now: datetime) -> StatusError:
        """Reads as much of the body as says why."""
        if 300 <= response.status < 400:
            where = redirect_host(response.headers)
            words = f"the server redirects to {where}, which is not followed; set the base URL to where the API is"
            return cls(response.status, ServerError(words), None)
        body, _ = await response.read(MAX_ERROR_BYTES)
        error = error_of_body(body[:MAX_ERROR_BYTES], response.status)
        return cls(response.status, error, retry_after_seconds(response.headers, now))

    @property
    def tier_has_no_capacity(self) -> bool:
        """Whether the server refused because its service tier is full. Such a request costs nothing."""
        return self.status == 429 and _NO_CAPACITY in self.error.codes


def failure_of(error: Exception, request: ModelRequest, *, text_came: bool, seconds: float) -> Failure:
    """Classifies whatever a call raised. `seconds` is how long the call took."""
    match error:
        case StatusError():
            return Failure(error.error.outcome(error.status), str(error), error.retry_after_seconds)
        case TimeoutError():
            return _too_slow(request, text_came=text_came, seconds=seconds)
        case ConnectError():
            return Failure(CallOutcome.CONNECTION, str(error))
        case TransportError():
            return _transport_failure(error, text_came=text_came)
        case _:
            reason = f"the server's answer cannot be read: {type(error).__name__}: {error}"
            return Failure(CallOutcome.SERVER_ERROR, reason)


def _transport_failure(error: TransportError, *, text_came: bool) -> Failure:
    if text_came:
        return Failure(CallOutcome.BROKEN_STREAM, f"the connection broke in mid-answer: {error}")
    begun = isinstance(error, UnreadableAnswerError)
    return Failure(
        CallOutcome.BROKEN_STREAM if begun else CallOutcome.CONNECTION, f"no answer from the model server: {error}"
    )


def _too_slow(request: ModelRequest, *, text_came: bool, seconds: float) -> Failure:
    """Which of the three limits was hit. A timer may fire a hair early, so a limit that was not set is ruled out."""
    silence = request.stall_seconds if text_came else request.first_token_seconds
    if seconds >= request.timeout_seconds or math.isinf(silence):
        return Failure(CallOutcome.TIMEOUT, f"no end within {request.timeout_seconds:g} s")
    if text_came:
        return Failure(CallOutcome.STALLED, f"no more text within {silence:g} s")
    return Failure(CallOutcome.FIRST_TOKEN_TIMEOUT, f"no text within {silence:g} s")


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the server asks to wait, at most a day; None when it says nothing readable.

    Reads milliseconds, then seconds, then an HTTP date; a number too large for a wait is a time. The server's own clock
    (Date) counts where it tells it. Source: RFC 9110, 10.2.3, and the header that OpenAI adds.
    """
    here = _date(headers.get("date", "")) or now
    milliseconds = _number(headers.get("retry-after-ms"))
    value = headers.get("retry-after", "")
    seconds = _number(value) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        at = _date(value)
        seconds = None if at is None else (at - here).total_seconds()
    elif _EPOCH < seconds < 1000 * _EPOCH * 10:
        epoch = seconds if seconds < 100 * _EPOCH else seconds / 1000
        seconds = epoch - here.timestamp()
    return None if seconds is None else min(MAX_RETRY_AFTER_SECONDS, max(0.0, seconds))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
