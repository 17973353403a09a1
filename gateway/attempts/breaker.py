"""A circuit breaker for each model: after failures in a row it holds calls back, then lets one probe through.

Counts only failures of the model or of the connection to it. A bad answer is not a breaker's business: the retry policy
handles it. A refused request says nothing about the next one. docs/adr/0010 says why this is not a library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lesson.models import AttemptOutcome

FAILURES_TO_OPEN: Final = 12
"""In a row. More than a lesson has sections, because those fail together."""
OPEN_SECONDS: Final = 30.0
"""The first time; doubled after each failed probe."""
LONGEST_OPEN_SECONDS: Final = 300.0

_FAILURES: Final = frozenset(
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
_NEUTRAL: Final = frozenset(
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
    """How long it last opened; 0: closed."""
    until: float = 0.0
    probing: bool = False


class Breakers:
    """The breakers of a provider's models."""

    def __init__(self, now: Callable[[], float], on_change: Callable[[str, bool], None]) -> None:
        """`now` returns monotonic seconds; `on_change` gets the model, and whether its breaker opened."""
        self._now = now
        self._on_change = on_change
        self._states: dict[str, _State] = {}

    def refused(self, models: Sequence[str]) -> frozenset[str]:
        """The models to hold back now. Never all of them: the one whose breaker closes soonest is left out."""
        held = frozenset(model for model in models if self._holds(model))
        if not models or len(held) < len(models):
            return held
        return held - {min(models, key=lambda model: self._state(model).until)}

    def begin(self, model: str) -> bool:
        """Registers a call that is about to start; True when it probes a half-open breaker."""
        state = self._state(model)
        probe = state.open_seconds > 0
        state.probing = state.probing or probe
        return probe

    def record_outcome(self, model: str, outcome: AttemptOutcome) -> None:
        """Registers how the call ended. Call it once for each `begin`."""
        state = self._state(model)
        state.probing = False
        if outcome in _NEUTRAL:
            return
        if outcome not in _FAILURES:
            if state.open_seconds:
                self._on_change(model, False)
            self._states[model] = _State()
            return
        state.failures += 1
        if state.open_seconds or state.failures >= FAILURES_TO_OPEN:
            self._open(model, state)

    def _open(self, model: str, state: _State) -> None:
        if not state.open_seconds:
            self._on_change(model, True)
        state.open_seconds = min(LONGEST_OPEN_SECONDS, 2 * state.open_seconds or OPEN_SECONDS)
        state.until = self._now() + state.open_seconds

    def _holds(self, model: str) -> bool:
        """True when open, or half open with its probe under way."""
        state = self._state(model)
        return state.open_seconds > 0 and (state.probing or self._now() < state.until)

    def _state(self, model: str) -> _State:
        return self._states.setdefault(model, _State())
