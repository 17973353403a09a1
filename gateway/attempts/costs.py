"""What attempts can cost at the most, and whether the limit of a lesson leaves room for one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from lesson.models import SectionName
from lesson.token_budget import TokenBudget
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.prices import TokenUsage, cost_usd
from servicekit.settings import SettingsError

STAGE1_PROMPT_TOKENS: Final = 5000
"""What the prompt of Stage 1 has at the most, its schema included (docs/cost.md); the answer is cut at the setting."""
_SECTION: Final = TokenBudget(3100, 1600)
"""A section of the built-in lessons, by `lesson.token_budget`."""
_SECTIONS: Final = len(SectionName) - 1  # the plan has no items


def most_usd(provider: Provider, model: str, budget: TokenBudget, at: datetime) -> float | None:
    """A call of Stage 2 at list price, with what the model may think where it does; None when nobody prices it."""
    return _usd(provider, model, budget.with_reasoning(capabilities(provider, model).reasoning_effort), at)


def stage1_usd(provider: Provider, model: str, output_tokens: int, at: datetime) -> float | None:
    """The same of Stage 1, whose limit of output has the thinking in it."""
    return _usd(provider, model, TokenBudget(STAGE1_PROMPT_TOKENS, output_tokens), at)


def _usd(provider: Provider, model: str, budget: TokenBudget, at: datetime) -> float | None:
    return cost_usd(provider, model, TokenUsage(budget.prompt_tokens, 0, budget.output_tokens, 0), at)


def sections_usd(provider: Provider, models: Sequence[str], at: datetime) -> float:
    """Every section once with the cheapest priced model; 0 when none is priced."""
    prices = [most_usd(provider, model, _SECTION, at) for model in models]
    return _SECTIONS * min((price for price in prices if price is not None), default=0.0)


def check_limit(
    limit_usd: float, stage1: tuple[Provider, str, int], stage2: tuple[Provider, Sequence[str]], at: datetime
) -> None:
    """A lesson must fit: one attempt of Stage 1 with its first model, and one of Stage 2 for each section with its own.

    Raises SettingsError that names both figures.
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
