"""Money is reserved before a call and settled after it, so concurrent calls cannot exceed a limit.

A lesson's budget stands under its caller's daily budget, and that under the daily budget of all callers. A reservation
counts as spent until it is settled at the actual cost, or released. Within one event loop every method is atomic: none
of them awaits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta


class Budget:
    """A limit in US dollars, under the limit of `above`. None: no limit of its own."""

    def __init__(self, scope: str, limit_usd: float | None, above: Budget | None = None) -> None:
        """`scope` is its label in the metric of refusals."""
        self.scope = scope
        self._limit = limit_usd
        self._above = above
        self._spent = 0.0
        self._reserved = 0.0

    @property
    def spent_usd(self) -> float:
        return self._spent

    @property
    def reserved_usd(self) -> float:
        return self._reserved

    def limit_to(self, usd: float | None) -> None:
        """Changes the limit; what was spent and reserved stays."""
        self._limit = usd

    def left_usd(self) -> float | None:
        """What can still be reserved, here and above; None when nothing limits it."""
        mine = None if self._limit is None else max(0.0, self._limit - self._spent - self._reserved)
        above = self._above.left_usd() if self._above else None
        limits = [limit for limit in (mine, above) if limit is not None]
        return min(limits, default=None)

    def refusing(self, usd: float) -> str | None:
        """The scope whose limit is too small for the amount; None when it can be reserved."""
        above = self._above.refusing(usd) if self._above else None
        if above is not None:
            return above
        fits = self._limit is None or self._spent + self._reserved + usd <= self._limit
        return None if fits else self.scope

    def reserve(self, usd: float) -> Reservation | None:
        """Reserves the amount, here and above; None when a limit is too small."""
        if self.refusing(usd) is not None:
            return None
        self.hold(usd)
        return Reservation(self, usd)

    def hold(self, usd: float) -> None:
        """Counts the amount as reserved, here and above, without checking limits; `reserve` checks them."""
        self._reserved += usd
        if self._above:
            self._above.hold(usd)

    def close(self, held_usd: float, cost_usd: float) -> None:
        """Replaces a reserved amount by the actual cost, here and above; `Reservation.settle` does so once."""
        self._reserved = max(0.0, self._reserved - held_usd)
        self._spent += cost_usd
        if self._above:
            self._above.close(held_usd, cost_usd)


@dataclass
class Reservation:
    """Money reserved for one call."""

    _budget: Budget
    usd: float
    _open: bool = field(default=True)

    def settle(self, cost_usd: float) -> None:
        """Settles at the actual cost; 0 releases the reservation. Only the first call counts."""
        if self._open:
            self._open = False
            self._budget.close(self.usd, cost_usd)


class DayBudget(Budget):
    """A limit for each UTC day. A reservation made before midnight settles into the day on which its call ends."""

    def __init__(
        self, limit_usd: float | None, now: Callable[[], datetime], scope: str = "day", above: Budget | None = None
    ) -> None:
        super().__init__(scope, limit_usd, above)
        self._now = now
        self._day: date = now().date()

    @property
    def spent_today_usd(self) -> float:
        """Cost of the calls that ended on this UTC day."""
        self._roll_over()
        return self._spent

    def left_usd(self) -> float | None:
        self._roll_over()
        return super().left_usd()

    def refusing(self, usd: float) -> str | None:
        self._roll_over()
        return super().refusing(usd)

    def _roll_over(self) -> None:
        today = self._now().date()
        if today != self._day:
            self._day, self._spent = today, 0.0


def seconds_to_midnight(now: datetime) -> float:
    """Seconds until the next UTC day, at least one. `now` is in UTC."""
    tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    return max(1.0, (tomorrow - now).total_seconds())
