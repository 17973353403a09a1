"""Whose turn it is: the next attempt at a thing, past models that are held back, and with the money for it reserved.

Three reasons pass a model over before anything is sent, and none of them is an attempt: its breaker is open, the budget
is too small, or what its provider asks it to wait is longer than the time that is left. As one attempt is kept for each
model not yet tried, so is the money for the cheapest of them: the same model is not asked again with it. Models past
their end date are out of the chain before it comes here (`gateway.attempts.retirement`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from gateway.attempts.breaker import Breakers
from gateway.attempts.budget import Budget, Reservation
from gateway.attempts.policy import Attempts, Step
from lesson.models import Attempt, AttemptKind, AttemptOutcome


class Waits:
    """How long each model's provider asked one lesson to wait (Retry-After): what one call is told holds for all."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._until: dict[str, float] = {}

    def told(self, model: str, seconds: float | None) -> None:
        self._until[model] = max(self._until.get(model, 0.0), self._clock() + (seconds or 0.0))

    def left(self, model: str) -> float:
        """Seconds until the model may be asked."""
        return max(0.0, self._until.get(model, 0.0) - self._clock())


@dataclass
class Turn:
    """One attempt that may be made now. Leave its block, and what was reserved is settled, whatever happened."""

    step: Step
    reserved_usd: float | None
    """None: nobody prices the model."""
    _waits: Waits
    _held: Reservation
    _breakers: Breakers
    _done: bool = field(default=False)

    async def pause(self) -> None:
        """Waits as long as the provider asked, or a random part of the pause: never less than the one."""
        drawn = random.uniform(0.0, self.step.pause_seconds)  # noqa: S311 - full jitter
        # What another call is told meanwhile is for the next turn: an hour must not hold this one to the deadline.
        await asyncio.sleep(max(self.floor_seconds, drawn))

    @property
    def floor_seconds(self) -> float:
        """What its provider still asks to wait: never less."""
        return self._waits.left(self.step.model)

    def ended(self, attempt: Attempt) -> None:
        """The attempt as the ledger counted it."""
        self._done = True
        self._held.settle(attempt.cost_usd or 0.0)
        self._breakers.ended(self.step.model, attempt.outcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._held.settle(0.0)
            self._breakers.ended(self.step.model, AttemptOutcome.CANCELLED)


class Turns:
    """The turns at one thing. `price` is the most that an attempt with a model can cost; None: nobody prices it."""

    def __init__(
        self,
        models: Sequence[str],
        breakers: Breakers,
        waits: Waits,
        budget: Budget,
        price: Callable[[str], float | None],
    ) -> None:
        self._attempts = Attempts(models)
        self._breakers = breakers
        self._waits = waits
        self._budget = budget
        self._price = price
        self.refused_by: str | None = None
        """The scope of the budget that passed a model over when last there was no turn."""

    def next(self, seconds_left: float) -> Turn | None:
        """The next turn, its money reserved; None when no model can have one."""
        prices = {model: self._price(model) for model in self._attempts.ahead}
        scopes = {model: self._budget.refusing(usd or 0.0) for model, usd in prices.items()}
        dear = {model for model, scope in scopes.items() if scope}
        late = {model for model in prices if self._waits.left(model) >= seconds_left}
        refused = dear | late | self._breakers.refused([model for model in prices if model not in dear | late])
        step = self._attempts.next(refused)
        if step is not None and self._spends_the_next_models(step, prices):
            step = self._attempts.next(refused | {step.model})
        held = self._budget.reserve(prices[step.model] or 0.0) if step is not None else None
        if step is None or held is None:
            for_money = self._attempts.next(refused - dear) is not None
            self.refused_by = next((scope for scope in scopes.values() if scope and for_money), None)
            return None
        if self._breakers.begins(step.model):
            step = replace(step, kind=AttemptKind.PROBE)
        return Turn(step, prices[step.model], self._waits, held, self._breakers)

    def _spends_the_next_models(self, step: Step, prices: Mapping[str, float | None]) -> bool:
        """Whether asking the same model again would leave no money for any that was not asked yet."""
        again = step.kind in (AttemptKind.RETRY, AttemptKind.REASK)
        untried = [usd or 0.0 for model, usd in prices.items() if model != step.model]
        left = self._budget.left_usd()
        if not again or not untried or left is None:
            return False
        return left - (prices[step.model] or 0.0) < min(untried) <= left

    def ended(self, attempt: Attempt, faults: Sequence[str]) -> None:
        """How the turn's attempt ended, and what a re-ask should mend."""
        self._attempts.ended(attempt.outcome, faults)
        self._waits.told(attempt.model, attempt.retry_after_seconds)
