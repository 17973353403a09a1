"""The most that attempts can cost, and whether a lesson's cost limit allows a lesson at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from lesson.models import SectionName
from lesson.token_budget import TokenBudget
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.prices import TokenUsage, cost_usd
from servicekit.settings import SettingsError

STAGE1_PROMPT_TOKENS: Final = 5000
"""Upper bound of the Stage 1 prompt, schema included (docs/cost.md)."""
TOKENS_A_SECOND: Final = 500
"""No model of a provider's writes more, reasoning included, so a call that was cancelled wrote no more."""
CANCEL_SECONDS: Final = 1.0
"""How long a provider may write on after a call was cancelled."""
_SECTION: Final = TokenBudget(3100, 1600)
"""A section of the built-in lessons, by `lesson.token_budget`."""
_SECTIONS: Final = len(SectionName) - 1  # the plan has no items


def most_usd(
    provider: Provider, model: str, budget: TokenBudget, at: datetime, seconds: float = math.inf
) -> float | None:
    """A Stage 2 call at list price, in US dollars, reasoning included; None when the model has no price.

    `seconds`: the call was cancelled after this time.
    """
    whole = budget.with_reasoning(capabilities(provider, model).reasons)
    return _usd(provider, model, replace(whole, output_tokens=most_tokens(whole.output_tokens, seconds)), at)


def stage1_usd(provider: Provider, model: str, output_tokens: int, at: datetime) -> float | None:
    """A Stage 1 call at list price, in US dollars; `output_tokens` includes reasoning. None: the model has no price."""
    return _usd(provider, model, TokenBudget(STAGE1_PROMPT_TOKENS, output_tokens), at)


def most_tokens(limit: int, seconds: float) -> int:
    """The most tokens of an answer with this limit that was cancelled after so many seconds."""
    written = TOKENS_A_SECOND * (seconds + CANCEL_SECONDS)
    return limit if written >= limit else int(written)


def _usd(provider: Provider, model: str, budget: TokenBudget, at: datetime) -> float | None:
    return cost_usd(provider, model, TokenUsage(budget.prompt_tokens, 0, budget.output_tokens, 0), at)


def sections_usd(provider: Provider, models: Sequence[str], at: datetime) -> float:
    """The most that every section once costs with the cheapest priced model; 0 when no model has a price."""
    prices = [most_usd(provider, model, _SECTION, at) for model in models]
    return _SECTIONS * min((price for price in prices if price is not None), default=0.0)


def check_limit(
    limit_usd: float, stage1: tuple[Provider, str, int], stage2: tuple[Provider, Sequence[str]], at: datetime
) -> None:
    """Checks that a lesson fits: one Stage 1 attempt, and one Stage 2 attempt for each section, with the first models.

    Raises SettingsError that names both amounts.
    """
    provider, model, output_tokens = stage1
    first = stage1_usd(provider, model, output_tokens, at) or 0.0
    sections = sections_usd(stage2[0], stage2[1][:1], at)
    if limit_usd < first + sections:
        raise SettingsError(
            f"LESSON_COST_LIMIT_USD is {limit_usd:g}: one attempt of Stage 1 with {model} can cost ${first:.4f} and "
            f"one of Stage 2 for each section ${sections:.4f}. Raise it to {first + sections:.2f} or more, lower "
            "AI_STAGE1_MAX_OUTPUT_TOKENS, or choose cheaper models."
        )
