"""Decides for each call to the gateway who the caller is and whether it may call this RPC.

A key (`authorization: Bearer nidan_…`) identifies the caller; a caller without one is `anonymous`. Every RPC of the
port has a row in RPC_POLICIES. An RPC without a row is refused, so a new RPC stays closed until someone adds its row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from gateway.access.keys import Key, LiveKeys, Scope
from gateway.access.quotas import CallerLease, CallerQuota, CallerQuotas, Limits
from gateway.attempts.budget import DayBudget
from servicekit.auth import CallInfo
from servicekit.errors import ForbiddenError, ServiceError, UnauthenticatedError
from servicekit.telemetry import bind_log_context, logger

ANONYMOUS = "anonymous"
_LOG_INTERVAL_SECONDS = 10.0
"""The least time between two log lines of one reason, so that a flood of calls cannot fill the disk."""


@dataclass(frozen=True)
class RpcPolicy:
    """Who may call an RPC."""

    scope: Scope | None
    """The scope that the caller needs. None lets everyone call, with or without a key."""
    makes_lesson: bool = False
    """Whether a call counts against the caller's limits."""


_LESSONS = "/lesson.v1.LessonService"
RPC_POLICIES: Mapping[str, RpcPolicy] = {
    f"{_LESSONS}/GenerateLesson": RpcPolicy(Scope.GENERATE, makes_lesson=True),
    f"{_LESSONS}/StreamLesson": RpcPolicy(Scope.GENERATE, makes_lesson=True),
    "/grpc.health.v1.Health/Check": RpcPolicy(None),
    "/grpc.health.v1.Health/Watch": RpcPolicy(None),
    "/grpc.health.v1.Health/List": RpcPolicy(None),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": RpcPolicy(Scope.ADMIN),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": RpcPolicy(Scope.ADMIN),
}

_LEASE: ContextVar[CallerLease] = ContextVar("caller_lease")


def caller_lease() -> CallerLease:
    """The place in its quota of the caller that this task serves. Raises LookupError: the call makes no lesson."""
    return _LEASE.get()


class GatewayAuthorizer:
    """Identifies callers by their keys and holds each to its limits. `above` is the daily budget of all callers.

    Without `keys` the gateway neither asks for a key nor reads one: every caller is anonymous. `anonymous` holds
    the scopes of callers without a key.
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
        self._quotas = CallerQuotas(above, now, clock)
        self._now = now
        self._refusals = _RefusalLog(clock)

    @contextmanager
    def authorize(self, call: CallInfo) -> Iterator[None]:
        try:
            quota = self._admit(call)
        except ServiceError as error:
            self._refusals.report(error.reason, call.method)
            raise
        if quota is None:
            yield
            return
        lease = CallerLease(quota)
        _LEASE.set(lease)  # each call has a context of its own
        try:
            yield
        finally:
            lease.end()

    def _admit(self, call: CallInfo) -> CallerQuota | None:
        """The quota that the call counts against, None for a call that makes no lesson. Raises ServiceError."""
        policy = RPC_POLICIES.get(call.method)
        if policy is None:
            raise ForbiddenError(f"This gateway lets no caller use {call.method}.", reason="RPC_NOT_OPEN")
        if policy.scope is None:
            return None
        key = self._key(call.metadata)
        caller, scopes = (key.id, key.scopes) if key else (ANONYMOUS, tuple(self._anonymous))
        bind_log_context(caller=caller)
        if policy.scope not in scopes:
            raise ForbiddenError(
                f"{call.method} needs the scope {policy.scope!s}; "
                f"{f'key {caller}' if key else 'a caller without a key'} has {', '.join(scopes) or 'none'}.",
                reason="SCOPE_MISSING",
            )
        if not policy.makes_lesson:
            return None
        return self._quotas.acquire(caller, self._limits.for_key(key) if key else self._limits)

    def _key(self, metadata: Mapping[str, str | bytes]) -> Key | None:
        """The caller's key, None for an anonymous caller. Raises UnauthenticatedError."""
        header = metadata.get("authorization")
        if self._keys is None or (header is None and self._anonymous):
            return None
        if header is None:
            raise UnauthenticatedError(
                "This gateway needs a key: send it as authorization: Bearer nidan_…", reason="KEY_MISSING"
            )
        scheme, _, token = str(header).partition(" ")
        key = self._keys.find(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise UnauthenticatedError(
                "This gateway does not know the key. Send one of its keys as authorization: Bearer nidan_…",
                reason="KEY_UNKNOWN",
            )
        state = key.state(self._now())
        if state != "active":
            raise UnauthenticatedError(
                f"Key {key.id} is {state}. Ask the gateway's operator for a new one.", reason=f"KEY_{state.upper()}"
            )
        return key


class _RefusalLog:
    """Logs refused calls: one line per reason and interval, with the number of calls left out since the last line."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}
        """Reason: time of the last line, calls left out since."""

    def report(self, reason: str, method: str) -> None:
        at = self._clock()
        logged_at, left_out = self._last.get(reason, (-_LOG_INTERVAL_SECONDS, 0))
        if at - logged_at < _LOG_INTERVAL_SECONDS:
            self._last[reason] = logged_at, left_out + 1
            return
        self._last[reason] = at, 0
        logger().warning("caller_refused", reason=reason, method=method, more_since_the_last_line=left_out)
