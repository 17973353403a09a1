"""Limits the lessons and the cost of each caller.

Each process counts on its own: N replicas give a caller up to N times its limits, and a restart forgets the counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.access.keys import Key
from gateway.attempts.budget import DayBudget, seconds_to_midnight
from servicekit.errors import FieldViolation, QuotaError

_CONCURRENCY_RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Limits:
    """The limits of one caller. 0 means no limit."""

    lessons_per_minute: float = 0.0
    daily_cost_usd: float = 0.0
    lessons_at_once: int = 0

    def for_key(self, key: Key) -> Limits:
        """These limits, with the key's own values in place of those that it sets."""
        own = {name: getattr(key, name) for name in ("lessons_per_minute", "daily_cost_usd", "lessons_at_once")}
        return Limits(**{name: getattr(self, name) if value is None else value for name, value in own.items()})


class CallerQuota:
    """What one caller has used. `budget` is its budget for the UTC day; times are monotonic seconds."""

    def __init__(self, caller: str, limits: Limits, budget: DayBudget, now: Callable[[], datetime], at: float) -> None:
        self.budget = budget
        self._caller = caller
        self._limits = limits
        self._now = now
        self._active = 0
        self._tokens = max(1.0, limits.lessons_per_minute)
        self._filled_at = at

    def limit_to(self, limits: Limits) -> None:
        """Applies new limits and keeps the counts."""
        if limits != self._limits:
            self._limits = limits
            self.budget.limit_to(limits.daily_cost_usd or None)

    def acquire(self, at: float) -> None:
        """Counts one more lesson until `release`. Raises QuotaError without counting."""
        self._check_concurrency()
        self._check_budget()
        self._take_token(at)
        self._active += 1

    def release(self) -> None:
        """Frees the lesson's place when it ends."""
        self._active -= 1

    def _check_concurrency(self) -> None:
        most = self._limits.lessons_at_once
        if most and self._active >= most:
            raise _exceeded(
                "CALLER_AT_ONCE",
                "GATEWAY_CALLER_LESSONS_AT_ONCE",
                f"{self._caller} may run {most} lessons at once",
                _CONCURRENCY_RETRY_SECONDS,
            )

    def _check_budget(self) -> None:
        most = self._limits.daily_cost_usd
        if most and self.budget.spent_today_usd >= most:
            raise _exceeded(
                "CALLER_DAILY_COST",
                "GATEWAY_CALLER_DAILY_COST_USD",
                f"{self._caller} has spent its ${most:g} for this UTC day",
                seconds_to_midnight(self._now()),
                retryable=False,
            )

    def _take_token(self, at: float) -> None:
        """Takes one token. The bucket holds one minute's lessons, so a caller may start them all at once."""
        per_minute = self._limits.lessons_per_minute
        if not per_minute:
            return
        per_second = per_minute / 60
        self._tokens = min(max(1.0, per_minute), self._tokens + (at - self._filled_at) * per_second)
        self._filled_at = at
        if self._tokens < 1.0:
            raise _exceeded(
                "CALLER_RATE",
                "GATEWAY_CALLER_LESSONS_PER_MINUTE",
                f"{self._caller} may ask for {per_minute:g} lessons a minute",
                (1.0 - self._tokens) / per_second,
            )
        self._tokens -= 1.0


class CallerLease:
    """One lesson's place in its caller's quota: kept while the call runs, and while the lesson does."""

    def __init__(self, quota: CallerQuota) -> None:
        self._quota = quota
        self._users = 1

    @property
    def budget(self) -> DayBudget:
        """What pays for the lesson."""
        return self._quota.budget

    def share(self) -> None:
        """One more user keeps the place."""
        self._users += 1

    def end(self) -> None:
        """One user needs the place no longer; the last one frees it."""
        self._users -= 1
        if not self._users:
            self._quota.release()


class CallerQuotas:
    """The quota of every caller seen so far. `above` is the day's budget of all callers together."""

    def __init__(self, above: DayBudget, now: Callable[[], datetime], clock: Callable[[], float]) -> None:
        self._above = above
        self._now = now
        self._clock = clock
        self._quotas: dict[str, CallerQuota] = {}

    def acquire(self, caller: str, limits: Limits) -> CallerQuota:
        """The caller's quota, with one more lesson counted. Raises QuotaError."""
        at = self._clock()
        quota = self._quotas.get(caller)
        if quota is None:
            budget = DayBudget(limits.daily_cost_usd or None, self._now, scope="caller", above=self._above)
            quota = self._quotas[caller] = CallerQuota(caller, limits, budget, self._now, at)
        quota.limit_to(limits)
        quota.acquire(at)
        return quota


def _exceeded(reason: str, limit: str, text: str, seconds: float, *, retryable: bool = True) -> QuotaError:
    return QuotaError(
        f"The caller has reached a limit ({limit}): {text}. Try again in {math.ceil(seconds)} s.",
        reason=reason,
        retryable=retryable,
        retry_after_seconds=seconds,
        violations=[FieldViolation(limit, text)],
    )
