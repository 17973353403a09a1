"""The gateway's door: who calls, what they may do, how often, and for how much money.

A key (`authorization: Bearer nidan_…`) identifies the caller; a caller without one is `anonymous`. Every RPC of the port
has a row in RPC_POLICIES. An RPC without a row is refused, so that a new RPC stays closed until someone adds it.
Rates and budgets are counted in this process alone: with N replicas a caller has up to N times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from gateway.access.keys import Key, LiveKeys, Scope
from gateway.attempts.budget import DayBudget, seconds_to_midnight
from servicekit.auth import CallInfo
from servicekit.errors import FieldViolation, ForbiddenError, QuotaError, ServiceError, UnauthenticatedError
from servicekit.telemetry import bind_log_context, logger

ANONYMOUS = "anonymous"
_TELL_EVERY_SECONDS = 10.0
"""A refused call is a line of the log at most so often for each reason: who hammers the door must not fill the disk."""
_COME_BACK_SECONDS = 5.0


@dataclass(frozen=True)
class Rule:
    """Who may call an RPC."""

    scope: Scope | None
    """None: everybody, known or not."""
    makes_lesson: bool = False
    """Counts towards the caller's limits."""


_LESSONS = "/lesson.v1.LessonService"
RPC_POLICIES: Mapping[str, Rule] = {
    f"{_LESSONS}/GenerateLesson": Rule(Scope.GENERATE, makes_lesson=True),
    f"{_LESSONS}/StreamLesson": Rule(Scope.GENERATE, makes_lesson=True),
    "/grpc.health.v1.Health/Check": Rule(None),
    "/grpc.health.v1.Health/Watch": Rule(None),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(Scope.ADMIN),
}


@dataclass(frozen=True)
class Limits:
    """Of one caller. 0: no limit."""

    lessons_per_minute: float = 0.0
    daily_cost_usd: float = 0.0
    lessons_at_once: int = 0

    def of(self, key: Key) -> Limits:
        """These, but for what the key says itself."""
        own = {name: getattr(key, name) for name in ("lessons_per_minute", "daily_cost_usd", "lessons_at_once")}
        return Limits(**{name: getattr(self, name) if value is None else value for name, value in own.items()})


class _Account:
    """What one caller has used up."""

    def __init__(self, caller: str, limits: Limits, day: DayBudget, at: float) -> None:
        self.caller = caller
        self.limits = limits
        self.day = day
        self.at_once = 0
        self._tokens = max(1.0, limits.lessons_per_minute)
        self._at = at

    def limit_to(self, limits: Limits) -> None:
        self.limits = limits
        self.day.limit_to(limits.daily_cost_usd or None)

    def take(self, at: float) -> float:
        """Takes one of the minute's lessons, 0.0; or the seconds until there is one. A minute's worth may come at once.

        `at` is monotonic seconds.
        """
        each_second = self.limits.lessons_per_minute / 60
        if not each_second:
            return 0.0
        most = max(1.0, self.limits.lessons_per_minute)
        self._tokens = min(most, self._tokens + (at - self._at) * each_second)
        self._at = at
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / each_second
        self._tokens -= 1.0
        return 0.0


_DAY: ContextVar[DayBudget | None] = ContextVar("caller_budget", default=None)


def caller_budget() -> DayBudget | None:
    """The day's budget of whoever's call is being served; None where no door was passed."""
    return _DAY.get()


class GatewayAuthorizer:
    """Knows callers by their keys and holds each to its limits. `above` is the day's budget of all of them.

    Without `keys` a key is not asked for and not looked at: everybody is anonymous. `anonymous` is what those may do.
    """

    def __init__(
        self,
        *,
        keys: LiveKeys | None,
        anonymous: frozenset[Scope],
        limits: Limits,
        above: DayBudget,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._anonymous = anonymous
        self._limits = limits
        self._above = above
        self._now = now
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._told: dict[str, tuple[float, int]] = {}

    @contextmanager
    def authorize(self, call: CallInfo) -> Iterator[None]:
        try:
            account = self._account(call)
        except ServiceError as error:
            self._tell(error.reason, call.method)
            raise
        if account is None:
            yield
            return
        account.at_once += 1
        _DAY.set(account.day)  # each call has a context of its own
        try:
            yield
        finally:
            account.at_once -= 1

    def _account(self, call: CallInfo) -> _Account | None:
        """Whose limits the call counts towards; None: nobody's. Raises ServiceError when it may not come in."""
        rule = RPC_POLICIES.get(call.method)
        if rule is None:
            raise ForbiddenError(f"{call.method} is open to nobody.", reason="RPC_NOT_OPEN")
        if rule.scope is None:
            return None
        key = self._key(call.metadata)
        caller, scopes = (key.id, key.scopes) if key else (ANONYMOUS, tuple(self._anonymous))
        bind_log_context(caller=caller)
        if rule.scope not in scopes:
            raise ForbiddenError(
                f"{call.method} needs the scope {rule.scope!s}; {f'key {caller}' if key else 'who has no key'} "
                f"has {', '.join(scopes) or 'none'}.",
                reason="SCOPE_MISSING",
            )
        return self._charged(caller, self._limits.of(key) if key else self._limits) if rule.makes_lesson else None

    # --- who ----------------------------------------------------------------------------------------------------

    def _key(self, metadata: Mapping[str, str | bytes]) -> Key | None:
        """The caller's key; None: anonymous. Raises UnauthenticatedError."""
        told = metadata.get("authorization")
        if self._keys is None or (told is None and self._anonymous):
            return None
        if told is None:
            raise UnauthenticatedError(
                "This gateway asks for a key: authorization: Bearer nidan_…", reason="KEY_MISSING"
            )
        scheme, _, token = str(told).partition(" ")
        key = self._keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise UnauthenticatedError("The key is not known here.", reason="KEY_UNKNOWN")
        state = key.state(self._now())
        if state != "active":
            raise UnauthenticatedError(f"Key {key.id} is {state}.", reason=f"KEY_{state.upper()}")
        return key

    # --- how often, and for how much ----------------------------------------------------------------------------

    def _charged(self, caller: str, limits: Limits) -> _Account:
        """The caller's account, with room for one more lesson. Raises QuotaError."""
        at = self._clock()
        account = self._accounts.get(caller)
        if account is None:
            day = DayBudget(limits.daily_cost_usd or None, self._now, scope="caller", above=self._above)
            account = self._accounts[caller] = _Account(caller, limits, day, at)
        if account.limits != limits:
            account.limit_to(limits)
        if limits.lessons_at_once and account.at_once >= limits.lessons_at_once:
            raise _over(
                "CALLER_AT_ONCE",
                "GATEWAY_CALLER_LESSONS_AT_ONCE",
                f"{caller} may have {limits.lessons_at_once} lessons made at once",
                _COME_BACK_SECONDS,
            )
        if limits.daily_cost_usd and account.day.spent_today_usd >= limits.daily_cost_usd:
            raise _over(
                "CALLER_DAILY_COST",
                "GATEWAY_CALLER_DAILY_COST_USD",
                f"{caller} has used up ${limits.daily_cost_usd:g} for this UTC day",
                seconds_to_midnight(self._now()),
                retryable=False,
            )
        wait = account.take(at)
        if wait:
            raise _over(
                "CALLER_RATE",
                "GATEWAY_CALLER_LESSONS_PER_MINUTE",
                f"{caller} may ask for {limits.lessons_per_minute:g} lessons a minute",
                wait,
            )
        return account

    # --- telling ------------------------------------------------------------------------------------------------

    def _tell(self, reason: str, method: str) -> None:
        at = self._clock()
        told_at, untold = self._told.get(reason, (-_TELL_EVERY_SECONDS, 0))
        if at - told_at < _TELL_EVERY_SECONDS:
            self._told[reason] = told_at, untold + 1
            return
        self._told[reason] = at, 0
        logger().warning("caller_refused", reason=reason, method=method, more_since_the_last_line=untold)


def _over(reason: str, limit: str, told: str, seconds: float, *, retryable: bool = True) -> QuotaError:
    return QuotaError(
        f"A limit of the caller ({limit}) leaves no room: {told}.",
        reason=reason,
        retryable=retryable,
        retry_after_seconds=seconds,
        violations=[FieldViolation(limit, told)],
    )
