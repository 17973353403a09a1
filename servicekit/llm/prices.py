"""Dollars of a model call at list price: models.toml's where it gives one, else the genai-prices data set's that day.

Cached tokens are a part of input and cost less; reasoning tokens are a part of output. A price that is not known is
None, never 0; a 0 stands in models.toml, for servers of one's own and for the offline model, because nobody is paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from genai_prices import Usage, calc_price

from servicekit.llm.capabilities import Provider, capabilities, preset

_MILLION = 1_000_000


@dataclass(frozen=True)
class TokenUsage:
    """Billable tokens of one call: cached is a part of input, reasoning a part of output."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int


def cost_usd(provider: Provider, model: str, usage: TokenUsage, at: datetime) -> float | None:
    """What the call cost at the list price of that day; None when nobody prices the model."""
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    price = capabilities(provider, model).price
    if price is not None:
        fresh = usage.input_tokens - cached
        return (fresh * price.input + cached * price.cached + usage.output_tokens * price.output) / _MILLION
    data_set = preset(provider).prices
    if data_set is None:
        return None
    billed = Usage(input_tokens=usage.input_tokens, cache_read_tokens=cached, output_tokens=usage.output_tokens)
    try:
        told = calc_price(billed, model_ref=model, provider_id=data_set, genai_request_timestamp=at)
    except LookupError:
        return None
    return float(told.total_price)
