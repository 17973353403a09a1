"""The most tokens that a Stage 2 call may use: the gateway reserves their price, the enhancer limits the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lesson.models import EnhancementMode, Item

# About three times the use of the built-in lessons (docs/cost.md): a bound, not an estimate.
_PROMPT: Final = 900
_PROMPT_AN_ITEM: Final = 45
_PROMPT_A_CHARACTER: Final = 3
_ANSWER: Final = 100
_ANSWER_AN_ITEM: Final = {EnhancementMode.MODEL: 60, EnhancementMode.REVIEW: 40, EnhancementMode.ANALYSER: 40}
_ANSWER_A_CHARACTER: Final = {EnhancementMode.MODEL: 6, EnhancementMode.REVIEW: 3, EnhancementMode.ANALYSER: 3}
# Reasoning tokens of one call, which count as output: about four times the estimate for effort `low`.
_REASONING: Final = 2000


@dataclass(frozen=True)
class TokenBudget:
    """Upper bounds."""

    prompt_tokens: int
    output_tokens: int

    def with_reasoning(self, reasons: bool) -> TokenBudget:
        """The budget, with tokens for reasoning added if the model reasons."""
        return TokenBudget(self.prompt_tokens, self.output_tokens + _REASONING) if reasons else self


def token_budget(items: Iterable[Item], wanted: Iterable[Item], mode: EnhancementMode) -> TokenBudget:
    """The budget of a call that shows all items and asks for some of them, without reasoning."""
    all_lengths, lengths = [len(item.text) for item in items], [len(item.text) for item in wanted]
    prompt = _PROMPT + _PROMPT_AN_ITEM * len(all_lengths) + _PROMPT_A_CHARACTER * sum(all_lengths)
    output = _ANSWER + _ANSWER_AN_ITEM[mode] * len(lengths) + _ANSWER_A_CHARACTER[mode] * sum(lengths)
    return TokenBudget(prompt, output)
