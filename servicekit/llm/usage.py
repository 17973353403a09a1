"""Tokens of a call: as the server counts them, where that can be true, and else estimated by characters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from servicekit.llm.calls import ModelRequest
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.prices import TokenUsage, cost_usd
from servicekit.llm.request_body import output_tokens

_FACTOR: Final = 2
_OVERHEAD: Final = 2000
"""A server's usage is believed up to twice the limit of output, and twice the prompt plus what providers add to it."""
_CHARACTERS_A_TOKEN: Final = 50
"""No tokenizer puts more of a lesson's text into one token, so usage below a fiftieth was not counted."""


def read_usage(raw: object) -> TokenUsage | None:
    """The usage of a payload; None where it is not the API's. Details that are of no use count as zero."""
    if not isinstance(raw, Mapping):
        return None
    counts = (
        _count(raw.get("prompt_tokens")),
        _detail(raw.get("prompt_tokens_details"), "cached_tokens"),
        _count(raw.get("completion_tokens")),
        _detail(raw.get("completion_tokens_details"), "reasoning_tokens"),
    )
    valid = [count for count in counts if count is not None]
    return TokenUsage(*valid) if len(valid) == len(counts) else None


def is_plausible(provider: Provider, request: ModelRequest, usage: TokenUsage, text: str, at: datetime) -> bool:
    """Whether a call that gave `text` can have used so much, and so little.

    A server that counts too much must not use up a lesson's money; one that counts too little must not void its limit.
    """
    most_prompt = _FACTOR * request.prompt_tokens + _OVERHEAD
    most_output = _FACTOR * output_tokens(provider, request, at)
    least_prompt = (len(request.system) + len(request.user)) // _CHARACTERS_A_TOKEN
    least_output = -(-len(text) // _CHARACTERS_A_TOKEN)
    within_prompt = least_prompt <= usage.input_tokens <= most_prompt
    return within_prompt and least_output <= usage.output_tokens <= most_output


def estimated_usd(provider: Provider, request: ModelRequest, text: str, at: datetime, tier: str) -> float | None:
    """What a whole answer of unknown usage costs at most, by its characters and the prompt's.

    None where that proves nothing: a model that may think unseen, or one without a price.
    """
    if capabilities(provider, request.model).reasons:
        return None
    written = min(-(-len(text.encode("utf-8", "replace")) // 3), output_tokens(provider, request, at))
    return cost_usd(provider, request.model, TokenUsage(request.prompt_tokens, 0, written, 0), at, tier)


def _count(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value.strip()[:18])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _detail(details: object, name: str) -> int:
    return _count(details.get(name)) or 0 if isinstance(details, Mapping) else 0
