"""A circuit breaker for each model: after failures in a row its calls are held back, then one probes if it is well.

Only what says that the model or the way to it is unwell counts: an answer that is no good is the flow's affair, and a
request that is refused says nothing of the next. No library: those that we looked at read the wall clock themselves,
know exceptions and no outcomes, or keep no half-open state for tasks (docs/adr/0010). Pure but for its own state; the
clock is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lesson.models import AttemptOutcome

FAILURES_TO_OPEN: Final = 12
"""In a row; more than the sections of one lesson, which fail together."""
OPEN_SECONDS: Final = 30.0
"""The first time; twice as long after each probe that fails."""
LONGEST_OPEN_SECONDS: Final = 300.0

_UNWELL: Final = frozenset(
    {
        AttemptOutcome.TIMEOUT,
        AttemptOutcome.FIRST_TOKEN_TIMEOUT,
        AttemptOutcome.STALLED,
        AttemptOutcome.BROKEN_STREAM,
        AttemptOutcome.CONNECTION,
        AttemptOutcome.SERVER_ERROR,
        AttemptOutcome.RATE_LIMITED,
        AttemptOutcome.QUOTA,
        AttemptOutcome.AUTH,
        AttemptOutcome.UNKNOWN_MODEL,
    }
)
_SAYS_NOTHING: Final = frozenset(
    {
        AttemptOutcome.CANCELLED,
        AttemptOutcome.UPSTREAM,
        AttemptOutcome.SHED,
        AttemptOutcome.BAD_REQUEST,
        AttemptOutcome.BUDGET_TOO_SMALL,
        AttemptOutcome.RETIRED,
    }
)


@dataclass
class _State:
    failures: int = 0
    open_seconds: float = 0.0
    """How long it was opened for the last time; 0: closed."""
    until: float = 0.0
    probing: bool = False


class Breakers:
    """The breakers of a provider's models. `now` gives monotonic seconds; `tell` hears of every opening and closing."""

    def __init__(self, now: Callable[[], float], tell: Callable[[str, bool], None]) -> None:
        self._now = now
        self._tell = tell
        self._states: dict[str, _State] = {}

    def refused(self, models: Sequence[str]) -> frozenset[str]:
        """Those that are not to be asked now. Never all: then the one that may be asked soonest is left out."""
        held = frozenset(model for model in models if self._holds(model))
        if not models or len(held) < len(models):
            return held
        return held - {min(models, key=lambda model: self._state(model).until)}

    def begins(self, model: str) -> bool:
        """A call is about to be made; whether it is the probe of a breaker that is half open."""
        state = self._state(model)
        probe = state.open_seconds > 0
        state.probing = state.probing or probe
        return probe

    def ended(self, model: str, outcome: AttemptOutcome) -> None:
        """How the call ended. Whatever ends it, call this once for each `begins`."""
        state = self._state(model)
        state.probing = False
        if outcome in _SAYS_NOTHING:
            return
        if outcome not in _UNWELL:
            if state.open_seconds:
                self._tell(model, False)
            self._states[model] = _State()
            return
        state.failures += 1
        if state.open_seconds or state.failures >= FAILURES_TO_OPEN:
            self._open(model, state)

    def _open(self, model: str, state: _State) -> None:
        if not state.open_seconds:
            self._tell(model, True)
        state.open_seconds = min(LONGEST_OPEN_SECONDS, 2 * state.open_seconds or OPEN_SECONDS)
        state.until = self._now() + state.open_seconds

    def _holds(self, model: str) -> bool:
        """Open, or half open with its one probe under way."""
        state = self._state(model)
        return state.open_seconds > 0 and (state.probing or self._now() < state.until)

    def _state(self, model: str) -> _State:
        return self._states.setdefault(model, _State())
