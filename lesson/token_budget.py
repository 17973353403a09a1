"""How many tokens a call of Stage 2 can take: money is reserved for them, and the answer is cut there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lesson.models import EnhancementMode, Item

# Some three times what the built-in lessons take (docs/cost.md): a bound, not an estimate.
_PROMPT: Final = 900
_PROMPT_AN_ITEM: Final = 45
_PROMPT_A_CHARACTER: Final = 3
_ANSWER: Final = 100
_ANSWER_AN_ITEM: Final = {EnhancementMode.MODEL: 60, EnhancementMode.REVIEW: 40, EnhancementMode.ANALYSER: 40}
_ANSWER_A_CHARACTER: Final = {EnhancementMode.MODEL: 6, EnhancementMode.REVIEW: 3, EnhancementMode.ANALYSER: 3}
# What a model that reasons may think in a call before it writes, which is billed and limited as output: some four times
# what effort `low` is estimated to take (docs/adr/0011).
_REASONING: Final = 2000


@dataclass(frozen=True)
class TokenBudget:
    """Tokens, at the most."""

    prompt_tokens: int
    output_tokens: int

    def with_reasoning(self, reasons: bool) -> TokenBudget:
        """The same for a model that reasons, or does not."""
        return TokenBudget(self.prompt_tokens, self.output_tokens + _REASONING) if reasons else self


def token_budget(items: Iterable[Item], asked: Iterable[Item], mode: EnhancementMode) -> TokenBudget:
    """For a call that shows all of the items and asks for some of them; without what a model thinks."""
    shown, wanted = [len(item.text) for item in items], [len(item.text) for item in asked]
    prompt = _PROMPT + _PROMPT_AN_ITEM * len(shown) + _PROMPT_A_CHARACTER * sum(shown)
    output = _ANSWER + _ANSWER_AN_ITEM[mode] * len(wanted) + _ANSWER_A_CHARACTER[mode] * sum(wanted)
    return TokenBudget(prompt, output)
