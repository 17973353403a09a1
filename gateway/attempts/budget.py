"""Money, reserved before a call and settled after it, so that no number of calls at once can pass a limit.

A lesson has a budget, its caller's day one above it, and the day of all callers one above that. What is reserved counts
as spent until it is settled at what the call really cost, or released. Within one event loop every method is atomic:
none of them waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta


class Budget:
    """A limit in US dollars under another one. None as limit: no limit here."""

    def __init__(self, scope: str, limit_usd: float | None, above: Budget | None = None) -> None:
        """`scope` is what the metric of refusals calls it."""
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
        """Another limit from now on; what was spent and reserved stays."""
        self._limit = usd

    def left_usd(self) -> float | None:
        """What may still be reserved, here and above; None when nothing limits it."""
        mine = None if self._limit is None else max(0.0, self._limit - self._spent - self._reserved)
        above = self._above.left_usd() if self._above else None
        limits = [limit for limit in (mine, above) if limit is not None]
        return min(limits, default=None)

    def refusing(self, usd: float) -> str | None:
        """The scope whose limit does not leave so much; None when it can be reserved."""
        above = self._above.refusing(usd) if self._above else None
        if above is not None:
            return above
        fits = self._limit is None or self._spent + self._reserved + usd <= self._limit
        return None if fits else self.scope

    def reserve(self, usd: float) -> Reservation | None:
        """Holds so much, here and above; None when a limit does not leave it."""
        if self.refusing(usd) is not None:
            return None
        self.hold(usd)
        return Reservation(self, usd)

    def hold(self, usd: float) -> None:
        """Counts so much as spent, here and above, whatever the limits are; `reserve` asks them."""
        self._reserved += usd
        if self._above:
            self._above.hold(usd)

    def close(self, held_usd: float, cost_usd: float) -> None:
        """What was held is what it cost, here and above; `Reservation.settle` does it once."""
        self._reserved = max(0.0, self._reserved - held_usd)
        self._spent += cost_usd
        if self._above:
            self._above.close(held_usd, cost_usd)


@dataclass
class Reservation:
    """Money held for one call."""

    _budget: Budget
    usd: float
    _open: bool = field(default=True)

    def settle(self, cost_usd: float) -> None:
        """The call ended and cost so much; 0 releases it. What comes after the first time counts for nothing."""
        if self._open:
            self._open = False
            self._budget.close(self.usd, cost_usd)


class DayBudget(Budget):
    """A limit for each UTC day. What was reserved before midnight is settled into the day on which it ends."""

    def __init__(
        self, limit_usd: float | None, now: Callable[[], datetime], scope: str = "day", above: Budget | None = None
    ) -> None:
        super().__init__(scope, limit_usd, above)
        self._now = now
        self._day: date = now().date()

    @property
    def spent_today_usd(self) -> float:
        """What the calls that ended on this UTC day cost."""
        self._turn()
        return self._spent

    def left_usd(self) -> float | None:
        self._turn()
        return super().left_usd()

    def refusing(self, usd: float) -> str | None:
        self._turn()
        return super().refusing(usd)

    def _turn(self) -> None:
        today = self._now().date()
        if today != self._day:
            self._day, self._spent = today, 0.0


def seconds_to_midnight(now: datetime) -> float:
    """Until the next UTC day begins; at least one. `now` is in UTC."""
    tomorrow = datetime.combine(now.date() + timedelta(days=1), time(), now.tzinfo)
    return max(1.0, (tomorrow - now).total_seconds())
