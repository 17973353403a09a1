"""Dollars of a model call at list price: from models.toml, or else from the genai-prices data set of that day.

Cached tokens are a part of input and cost less; reasoning tokens are a part of output. An unknown price is None, never
0. models.toml gives 0 for self-hosted servers and for the offline model, which cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
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


_SECTION = TokenUsage(5000, 0, 1000, 0)
"""The shape of a Stage 2 call: five tokens are sent for each that is written (docs/cost.md)."""


def cost_usd(provider: Provider, model: str, usage: TokenUsage, at: datetime, tier: str = "") -> float | None:
    """What the call costs at the list price of that day; None when no price is known.

    `tier` is a service tier of models.toml; any other name has the standard price.
    """
    standard = _standard_usd(provider, model, usage, at)
    return None if standard is None else standard * capabilities(provider, model).tiers.get(tier, 1.0)


def cheapest_first(provider: Provider, models: Sequence[str], at: datetime) -> tuple[str, ...]:
    """The chain with its cheapest priced model in front, the rest in order; unchanged when none has a price."""
    costs = {model: cost for model in models if (cost := cost_usd(provider, model, _SECTION, at)) is not None}
    if not costs:
        return tuple(models)
    cheapest = min(costs, key=costs.__getitem__)
    return (cheapest, *(model for model in models if model != cheapest))


def _standard_usd(provider: Provider, model: str, usage: TokenUsage, at: datetime) -> float | None:
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
        priced = calc_price(billed, model_ref=model, provider_id=data_set, genai_request_timestamp=at)
    except LookupError:
        return None
    return float(priced.total_price)
