"""Grants attempts: the next one by the policy, with its money reserved, past models that are held back.

Three reasons hold a model back before anything is sent, and none of them is an attempt: its breaker is open, the budget
is too small, or its provider asks for a longer wait than the time left. Money is kept for the cheapest model not yet
tried, as the policy keeps an attempt for it. Models past their end date never reach this module
(`gateway.attempts.retirement`).
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self

from gateway.attempts.breaker import Breakers
from gateway.attempts.budget import Budget, Reservation
from gateway.attempts.policy import NextAttempt, PastAttempt, models_ahead, next_attempt
from lesson.models import Attempt, AttemptKind, AttemptOutcome

_ENDS_EARLY_SECONDS = 1.5
"""A stage ends its call so much before the gateway's time is over, at the most."""


class RetryAfter:
    """The waits that providers asked for (Retry-After), by model; each holds for all calls of a lesson."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds."""
        self._clock = clock
        self._until: dict[str, float] = {}

    def record(self, model: str, seconds: float | None) -> None:
        """A provider asked to wait so long; None: it did not."""
        self._until[model] = max(self._until.get(model, 0.0), self._clock() + (seconds or 0.0))

    def remaining(self, model: str) -> float:
        """Seconds until the model may be asked."""
        return max(0.0, self._until.get(model, 0.0) - self._clock())


@dataclass
class AttemptPermit:
    """Leave to make one attempt now. On exit it settles what it reserved, however the block ends."""

    attempt: NextAttempt
    reserved_usd: float | None
    """None: the model has no price."""
    _retry_after: RetryAfter
    _reservation: Reservation
    _breakers: Breakers
    _most_usd: Callable[[float], float | None]
    _hurried_seconds: float
    """What was left of a time that the caller had shortened; infinite: he had not."""
    _settled: bool = field(default=False)

    async def pause(self) -> None:
        """Waits as long as the provider asked, and at least a random part of the pause."""
        drawn = random.uniform(0.0, self.attempt.pause_seconds)  # noqa: S311 - full jitter
        # Read once: a one-hour Retry-After of another call must not block this attempt until the deadline.
        await asyncio.sleep(max(self.retry_after_seconds, drawn))

    @property
    def retry_after_seconds(self) -> float:
        """How long the provider still asks to wait."""
        return self._retry_after.remaining(self.attempt.model)

    def most_usd(self, seconds: float) -> float | None:
        """The most that the attempt can have cost when it was cancelled after so many seconds; None: not known."""
        most = self._most_usd(seconds)
        return None if most is None or self.reserved_usd is None else min(most, self.reserved_usd)

    def settle(self, attempt: Attempt) -> None:
        """Closes the permit with the attempt as the ledger counted it."""
        # A time limit that a caller shortened says nothing about the model.
        seconds = attempt.duration_seconds or 0.0
        late = attempt.outcome is AttemptOutcome.TIMEOUT and seconds > self._hurried_seconds - _ENDS_EARLY_SECONDS
        self._close(attempt.cost_usd or 0.0, AttemptOutcome.CANCELLED if late else attempt.outcome)

    def _close(self, cost_usd: float, outcome: AttemptOutcome) -> None:
        self._settled = True
        self._reservation.settle(cost_usd)
        self._breakers.record_outcome(self.attempt.model, outcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._settled:
            self._close(0.0, AttemptOutcome.CANCELLED)


class AttemptScheduler:
    """The attempts at one thing."""

    def __init__(
        self,
        models: Sequence[str],
        breakers: Breakers,
        retry_after: RetryAfter,
        budget: Budget,
        price: Callable[[str], float | None],
        *,
        most_usd: Callable[[str, float], float | None] = lambda _model, _seconds: None,
        hurried: bool = False,
    ) -> None:
        """`price` returns the most that an attempt with a model can cost; None: the model has no price.

        `most_usd` returns the same for one that was cancelled after so many seconds. `hurried`: the caller gave the
        lesson less time than it would have.
        """
        self._most_usd = most_usd
        self._hurried = hurried
        self._models = tuple(models)
        self._history: list[PastAttempt] = []
        self._breakers = breakers
        self._retry_after = retry_after
        self._budget = budget
        self._price = price
        self.refused_by: str | None = None
        """The scope of the budget that refused a model when `next` last returned None for lack of money."""

    def next(self, seconds_left: float) -> AttemptPermit | None:
        """A permit for the next attempt, its money reserved; None when no model can be asked."""
        prices = {model: self._price(model) for model in models_ahead(self._history, self._models)}
        scopes = {model: self._budget.refusing(usd or 0.0) for model, usd in prices.items()}
        dear = {model for model, scope in scopes.items() if scope}
        late = {model for model in prices if self._retry_after.remaining(model) >= seconds_left}
        refused = dear | late | self._breakers.refused([model for model in prices if model not in dear | late])
        attempt = self._planned(refused, prices)
        reservation = self._budget.reserve(prices[attempt.model] or 0.0) if attempt is not None else None
        if attempt is None or reservation is None:
            for_money = next_attempt(self._history, self._models, refused - dear) is not None
            self.refused_by = next((scope for scope in scopes.values() if scope and for_money), None)
            return None
        if self._breakers.begin(attempt.model):
            attempt = replace(attempt, kind=AttemptKind.PROBE)
        return AttemptPermit(
            attempt,
            prices[attempt.model],
            self._retry_after,
            reservation,
            self._breakers,
            partial(self._most_usd, attempt.model),
            seconds_left if self._hurried else math.inf,
        )

    def record_outcome(self, attempt: Attempt, issue_keys: Collection[str]) -> None:
        """Adds a finished attempt to the history, with its faults as in PastAttempt."""
        self._history.append(PastAttempt(attempt.model, attempt.kind, attempt.outcome, frozenset(issue_keys)))
        self._retry_after.record(attempt.model, attempt.retry_after_seconds)

    def _planned(self, refused: Collection[str], prices: Mapping[str, float | None]) -> NextAttempt | None:
        attempt = next_attempt(self._history, self._models, refused)
        if attempt is not None and self._spends_the_next_models_money(attempt, prices):
            return next_attempt(self._history, self._models, {*refused, attempt.model})
        return attempt

    def _spends_the_next_models_money(self, attempt: NextAttempt, prices: Mapping[str, float | None]) -> bool:
        """Whether asking the same model again leaves no money for any model not yet tried."""
        again = attempt.kind in (AttemptKind.RETRY, AttemptKind.REASK)
        untried = [usd or 0.0 for model, usd in prices.items() if model != attempt.model]
        left = self._budget.left_usd()
        if not again or not untried or left is None:
            return False
        return left - (prices[attempt.model] or 0.0) < min(untried) <= left
