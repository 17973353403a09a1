"""What the parts of one run share: configuration, resources, deadline, budgets, the draft, and where they report."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from gateway.attempts.breaker import Breakers
from gateway.attempts.budget import Budget, DayBudget
from gateway.attempts.ledger import Ledger
from gateway.attempts.policy import Remedy, remedy_for
from gateway.attempts.retirement import Retirement
from gateway.attempts.scheduler import AttemptScheduler, RetryAfter
from gateway.draft import Draft
from gateway.events import Event, LessonSpec
from gateway.metrics import LessonMetrics
from gateway.runs.recorder import RunRecorder
from gateway.runs.stage_clients import Upstream
from gateway.runs.watchers import EventLog
from lesson.models import Attempt, AttemptOutcome, Brief, EnhancementMode, Issue
from servicekit.llm.capabilities import Provider

MIN_ATTEMPT_SECONDS: Final = 1.0
"""No attempt begins with less time left."""


@dataclass(frozen=True)
class RunConfig:
    """How this process makes lessons."""

    stage1_provider: Provider
    stage1_models: tuple[str, ...]
    stage2_provider: Provider
    stage2_models: tuple[str, ...]
    deadline_seconds: float
    reserve_seconds: float
    """Kept from Stage 1 for the sections written last."""
    margin_seconds: float
    """A run ends this long before its deadline, with what it has."""
    cost_limit_usd: float
    """The most that one lesson may cost."""
    kept_for_stage2_usd: float
    """The part of it that Stage 1 must leave: every section once, with the cheapest model."""
    day_limit_usd: float | None
    """The most that all lessons of a UTC day may cost in this process; None: no limit."""
    restart_seconds: float
    """How long a run waits for an unreachable stage. Trying it meanwhile would only use up attempts."""
    mode: EnhancementMode
    stage1_max_output_tokens: int
    lessons_limit: int
    """Concurrent lessons. More are refused before a running one is degraded."""
    stage1_calls_limit: int
    stage2_calls_limit: int
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    enabled: bool = True


@dataclass(frozen=True)
class SharedResources:
    """What all runs share: the stages, the limits on concurrent calls to them, and the state of the models."""

    upstream: Upstream
    stage1_calls: asyncio.Semaphore
    stage2_calls: asyncio.Semaphore
    breakers: Mapping[Provider, Breakers]
    """By provider: a model that both stages use has one breaker."""
    retirement: Retirement
    day: DayBudget


class RunContext:
    """The shared state of one run. Its parts read it; only `draft`, `events` and the budgets change."""

    def __init__(
        self,
        *,
        config: RunConfig,
        shared: SharedResources,
        metrics: LessonMetrics,
        ledger: Ledger,
        spec: LessonSpec,
        brief: Brief,
        now: Callable[[], datetime],
    ) -> None:
        self.lesson_id = str(uuid.uuid4())
        self.config = config
        self.shared = shared
        self.spec = spec
        self.brief = brief
        self.now = now
        self.draft = Draft(self.lesson_id, brief, spec.learner_level, now())
        self.events = EventLog[Event]()
        self.recorder = RunRecorder(metrics, ledger, brief, self.lesson_id)
        self.budget = Budget("lesson", config.cost_limit_usd, shared.day)
        self.stage1_budget = Budget("lesson", config.cost_limit_usd - config.kept_for_stage2_usd, self.budget)
        self._retry_after: dict[Provider, RetryAfter] = {}
        today, retirement = now().date(), shared.retirement
        first = spec.model or config.stage1_models[0]
        self.stage1_chain = tuple(dict.fromkeys((first, *config.stage1_models)))
        """The caller's model first, then the rest of the chain."""
        self.stage1_models, ended1 = retirement.split_retired(config.stage1_provider, self.stage1_chain, today)
        self.stage2_models, ended2 = retirement.split_retired(config.stage2_provider, config.stage2_models, today)
        self.stage1_retired = tuple(ending.describe(today) for ending in ended1)
        """A description of every model of the chain that has ended."""
        self.stage2_retired = tuple(ending.describe(today) for ending in ended2)

    def seconds_left(self, reserve_seconds: float) -> float:
        """Seconds to the deadline, less a reserve. A caller can lower the deadline; the reserve shrinks in step."""
        deadline = self.config.deadline_seconds
        share = min(1.0, (self.spec.timeout_seconds or deadline) / deadline)
        return max(0.0, share * (deadline - reserve_seconds) - self.recorder.elapsed)

    @property
    def stage1_seconds_left(self) -> float:
        return self.seconds_left(self.config.reserve_seconds)

    @property
    def stage2_seconds_left(self) -> float:
        return self.seconds_left(self.config.margin_seconds)

    def scheduler(
        self, provider: Provider, models: Sequence[str], budget: Budget, price: Callable[[str, float], float | None]
    ) -> AttemptScheduler:
        """The attempts at one thing. `price` returns the most that one can cost after so many seconds; None: the model
        has no price."""
        deadline = self.config.deadline_seconds
        retry_after = self._retry_after.setdefault(provider, RetryAfter(lambda: self.recorder.elapsed))
        return AttemptScheduler(
            models,
            self.shared.breakers[provider],
            retry_after,
            budget,
            lambda model: price(model, math.inf),
            most_usd=price,
            hurried=(self.spec.timeout_seconds or deadline) < deadline,
        )

    def report_refusal(self, scheduler: AttemptScheduler) -> str | None:
        """Reports the scope of the budget that left the scheduler no model, if one did, and returns it."""
        if scheduler.refused_by is not None:
            self.recorder.report_budget_refusal(scheduler.refused_by)
        return scheduler.refused_by

    async def stage_returns(self, attempt: Attempt) -> bool:
        """False when the attempt's stage was unreachable and does not come back in time."""
        if attempt.outcome is not AttemptOutcome.UPSTREAM:
            return True
        return await self.shared.upstream.ready(attempt.stage, self.config.restart_seconds)


def next_reasons(attempt: Attempt, faults: tuple[Issue, ...], before: tuple[Issue, ...]) -> tuple[Issue, ...]:
    """What the next request asks the model to mend: the faults of its answer. A failed connection adds nothing."""
    return faults if remedy_for(attempt.outcome) is Remedy.REASK else before
