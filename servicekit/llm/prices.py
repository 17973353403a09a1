"""Dollars of a model call at list price, from the genai-prices data set.

Cached tokens are a part of input and cost less; reasoning tokens are a part of output. A price that is not known is
None, never 0; the offline model's is 0 because nobody is paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from genai_prices import Usage, calc_price

from servicekit.llm.capabilities import Provider


@dataclass(frozen=True)
class TokenUsage:
    """Billable tokens of one call: cached is a part of input, reasoning a part of output."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int


def cost_usd(provider: Provider, model: str, usage: TokenUsage, at: datetime) -> float | None:
    """What the call cost at the list price of that day; None when the data set does not price the model."""
    if provider is Provider.OFFLINE:
        return 0.0
    billed = Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=min(usage.cached_input_tokens, usage.input_tokens),
        output_tokens=usage.output_tokens,
    )
    try:
        price = calc_price(billed, model_ref=model, provider_id=provider.value, genai_request_timestamp=at)
    except LookupError:
        return None
    return float(price.total_price)
