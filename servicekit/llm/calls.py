"""One model call as values: what is asked, and how it ended."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from servicekit.llm.prices import TokenUsage


class CallOutcome(enum.StrEnum):
    """How a call ended, as far as the call can tell."""

    OK = "ok"
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
    CANCELLED = "cancelled"
    BUDGET_TOO_SMALL = "budget_too_small"


@dataclass(frozen=True)
class JsonSchema:
    """A name and a strict schema, for models that can be held to one."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class ModelRequest:
    """One call. The client leaves out what the model does not take (models.toml)."""

    model: str
    system: str
    user: str
    attempt_id: str
    max_output_tokens: int
    timeout_seconds: float
    """For the whole call."""
    schema: JsonSchema | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    first_token_seconds: float = math.inf
    """For the first text of a streamed answer."""
    stall_seconds: float = math.inf
    """For any silence after the first text; comments that keep the connection alive count as silence."""
    max_cost_usd: float | None = None
    """The most that the call may cost; limits its output tokens. None: no limit."""

    @property
    def prompt_tokens(self) -> int:
        """An upper bound for prompt and schema: one token for a kana or kanji, one for three letters otherwise."""
        shape = json.dumps(self.schema.schema) if self.schema else ""
        return -(-len((self.system + self.user + shape).encode("utf-8", "replace")) // 3)


@dataclass
class Reply:
    """How a call ended. `text` holds everything that arrived, whatever the outcome."""

    outcome: CallOutcome = CallOutcome.BROKEN_STREAM
    reason: str = ""
    text: str = ""
    finish_reason: str = ""
    usage: TokenUsage | None = None
    cost_usd: float | None = None
    retry_after_seconds: float | None = None
    first_token_seconds: float | None = None
    duration_seconds: float = 0.0
    fingerprint: str = ""
    """The server's `system_fingerprint`: the backend behind the answer."""
    model: str = ""
    """The model that answered, as the server names it."""
    service_tier: str = ""
    """The tier of the bill, as the server names it, or else as it was sent; empty: the standard one."""
    unavailable_tier: str = ""
    """A tier that had no capacity, so that the request was sent once more at the standard one."""


@dataclass(frozen=True)
class Failure:
    """Why a call has no answer."""

    outcome: CallOutcome
    reason: str
    retry_after_seconds: float | None = None


Observer = Callable[[ModelRequest, Reply], None]
"""Called with every call that has ended."""
