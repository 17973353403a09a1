"""Reads a failed call: which outcome an SDK, HTTP or time error is, and how long the server asks to wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import openai

from servicekit.llm.calls import CallOutcome, Failure, ModelRequest

CALL_ERRORS = (openai.OpenAIError, httpx2.HTTPError, TimeoutError)
"""Everything that a call can raise besides cancellation."""
_NO_CAPACITY = "resource_unavailable"
_BY_STATUS = {
    401: CallOutcome.AUTH,
    403: CallOutcome.AUTH,
    408: CallOutcome.SERVER_ERROR,
    409: CallOutcome.SERVER_ERROR,
    429: CallOutcome.RATE_LIMITED,
}
_BY_CODE = {
    "insufficient_quota": CallOutcome.QUOTA,
    "model_not_found": CallOutcome.UNKNOWN_MODEL,
    "content_filter": CallOutcome.CONTENT_FILTER,
}


def failure_of(error: Exception, request: ModelRequest, *, text_came: bool, seconds: float, now: datetime) -> Failure:
    """Classifies one of CALL_ERRORS. `seconds` is how long the call took; an HTTP date counts from `now`."""
    # The aiohttp backend reports a refused connection as one that timed out.
    if isinstance(error.__cause__, httpx2.ConnectTimeout):
        return Failure(CallOutcome.CONNECTION, f"no connection to the model server: {error.__cause__}")
    if isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException):
        return _too_slow(request, text_came=text_came, seconds=seconds)
    if isinstance(error, openai.APIStatusError):
        return _status_failure(error, now)
    if text_came:
        return Failure(CallOutcome.BROKEN_STREAM, "the connection broke in mid-answer")
    return Failure(CallOutcome.CONNECTION, f"no answer from the model server: {error.__cause__ or error}")


def tier_has_no_capacity(error: Exception) -> bool:
    """Whether the server refused a request because its service tier is full. Such a request costs nothing."""
    return isinstance(error, openai.RateLimitError) and _NO_CAPACITY in (error.code, error.type)


def _status_failure(error: openai.APIStatusError, now: datetime) -> Failure:
    default = CallOutcome.SERVER_ERROR if error.status_code >= 500 else CallOutcome.BAD_REQUEST
    outcome = _BY_CODE.get(str(error.code)) or _BY_STATUS.get(error.status_code, default)
    reason = f"HTTP {error.status_code}: {_body_message(error)}"
    return Failure(outcome, reason, retry_after_seconds(error.response.headers, now))


def _too_slow(request: ModelRequest, *, text_came: bool, seconds: float) -> Failure:
    """Which of the three limits was hit. A timer may fire a hair early, so a limit that was not set is ruled out."""
    silence = request.stall_seconds if text_came else request.first_token_seconds
    if seconds >= request.timeout_seconds or math.isinf(silence):
        return Failure(CallOutcome.TIMEOUT, f"no end within {request.timeout_seconds:g} s")
    if text_came:
        return Failure(CallOutcome.STALLED, f"no more text within {silence:g} s")
    return Failure(CallOutcome.FIRST_TOKEN_TIMEOUT, f"no text within {silence:g} s")


def _body_message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("message"), str):
        return str(body["message"])
    return error.message


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """How long the server asks to wait; None when it says nothing readable.

    Reads milliseconds, then seconds, then an HTTP date. Source: RFC 9110, 10.2.3, and the header that OpenAI adds.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    return _seconds_until(value, now) if seconds is None else seconds


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _seconds_until(value: str, now: datetime) -> float | None:
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
