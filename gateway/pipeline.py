"""From a request to a lesson's events: finds the Can-do, starts the run, follows its log. Both RPCs use it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

from gateway.access.quotas import CallerLease
from gateway.attempts.breaker import Breakers
from gateway.attempts.budget import DayBudget, seconds_to_midnight
from gateway.attempts.ledger import MemoryLedger
from gateway.attempts.retirement import Retirement
from gateway.catalogue.entries import Catalogue
from gateway.catalogue.local_file import LiveCatalogue
from gateway.events import LessonSpec, LoggedEvent
from gateway.metrics import LessonMetrics
from gateway.runs import recorder
from gateway.runs.context import RunConfig, RunContext, SharedResources
from gateway.runs.errors import FeatureDisabledError, UnknownCanDoError, until_tomorrow
from gateway.runs.run import Run
from gateway.runs.stage_clients import Upstream
from lesson.models import Brief
from servicekit.errors import FieldViolation, InvalidRequestError, OverloadedError, QuotaError, ServiceError
from servicekit.llm.capabilities import Provider
from servicekit.telemetry import bind_log_context
from servicekit.tracing import note

_RETRY_SECONDS = 5.0


class Pipeline:
    """Makes lessons. `now` gives the time for dates, prices and models' end dates; `clock` gives monotonic seconds."""

    def __init__(
        self,
        *,
        config: RunConfig,
        upstream: Upstream,
        catalogue: LiveCatalogue,
        metrics: LessonMetrics,
        ledger: MemoryLedger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        day: DayBudget | None = None,
    ) -> None:
        """`day` is the daily budget of all lessons. None makes a new one with the configured limit."""
        self._config = config
        self._catalogue = catalogue
        self._metrics = metrics
        self._ledger = ledger
        self._now = now
        self._shared = SharedResources(
            upstream,
            asyncio.Semaphore(config.stage1_calls_limit),
            asyncio.Semaphore(config.stage2_calls_limit),
            {
                provider: Breakers(clock, recorder.breaker_reporter(metrics, provider.value))
                for provider in (config.stage1_provider, config.stage2_provider)
            },
            Retirement(),
            day or DayBudget(config.day_limit_usd, now),
        )
        self._running: set[asyncio.Task[None]] = set()
        for provider, models in self._chains:
            recorder.log_common_end(self._shared.retirement, provider, models)
        self._report_end_dates()

    @property
    def _chains(self) -> tuple[tuple[Provider, tuple[str, ...]], ...]:
        config = self._config
        return (config.stage1_provider, config.stage1_models), (config.stage2_provider, config.stage2_models)

    def _report_end_dates(self) -> None:
        recorder.report_end_dates(self._metrics, self._shared.retirement, self._chains, self._now().date())

    async def brief(self, spec: LessonSpec) -> Brief:
        """What the lesson teaches. Raises UnknownCanDoError or InvalidRequestError; never guesses a topic."""
        catalogue = await self._catalogue.current()
        entry = catalogue.find(spec.can_do_id) if spec.can_do_id else None
        if entry is not None:
            return Brief(
                can_do_id=entry.ids[0],
                topic=spec.topic or entry.topic,
                level=spec.level or entry.level,
                learner_language=spec.learner_language,
                can_do_text=spec.can_do_text or entry.text_in(spec.learner_language),
                can_do_text_ja=entry.text_ja,
                activity=entry.activity,
            )
        if not spec.topic or spec.level is None:
            raise _incomplete(spec, catalogue)
        return Brief(
            can_do_id=spec.can_do_id,
            topic=spec.topic,
            level=spec.level,
            learner_language=spec.learner_language,
            can_do_text=spec.can_do_text,
            can_do_text_ja="",
            activity="",
        )

    async def run(self, spec: LessonSpec, caller: CallerLease) -> AsyncGenerator[LoggedEvent, None]:
        """Yields the events of one lesson; the last is Completed.

        `caller` pays for the lesson, within the daily budget of all callers, and keeps its place until the lesson ends.
        Raises ServiceError when there can be no lesson. With ON_DISCONNECT=cancel, closing the iterator cancels every
        call of the run.
        """
        brief = await self._admit(spec)
        context = RunContext(
            config=self._config,
            shared=replace(self._shared, day=caller.budget),
            metrics=self._metrics,
            ledger=self._ledger,
            spec=spec,
            brief=brief,
            now=self._now,
        )
        run = Run(context)
        bind_log_context(lesson_id=run.lesson_id)
        note({"nidan.lesson_id": run.lesson_id})
        task = self._start(run, caller)
        try:
            async with aclosing(run.events.watch()) as events:
                async for sequence, event in events:
                    yield LoggedEvent(run.lesson_id, sequence, event)
            await task
        except QuotaError as error:
            until_tomorrow(error, seconds_to_midnight(self._now()))
            raise
        finally:
            if self._config.on_disconnect == "cancel":
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _admit(self, spec: LessonSpec) -> Brief:
        """The brief of a request that may start a run. Raises ServiceError for any other request."""
        if not self._config.enabled:
            recorder.report_disabled(self._metrics, spec.can_do_id)
            raise FeatureDisabledError("Two-stage generation is switched off here (USE_TWOSTAGE_GENERATION).")
        recorder.log_enabled(spec.can_do_id)
        self._report_end_dates()
        brief = await self.brief(spec)
        if spec.model and spec.model not in self._config.stage1_models:
            chain = ", ".join(self._config.stage1_models)
            violation = FieldViolation("spec.model", f"not in the configured chain ({chain})")
            raise InvalidRequestError(f"Model {spec.model!r} is not served here.", violations=[violation])
        if len(self._running) >= self._config.lessons_limit:
            recorder.report_full(self._metrics)
            raise OverloadedError(
                "This gateway is at its limit of concurrent lessons.", retry_after_seconds=_RETRY_SECONDS
            )
        return brief

    def _start(self, run: Run, caller: CallerLease) -> asyncio.Task[None]:
        task = asyncio.create_task(run.work())
        caller.share()
        task.add_done_callback(lambda _done: caller.end())
        self._running.add(task)
        self._metrics.lessons_in_flight.set(len(self._running))
        task.add_done_callback(lambda done: self._on_done(done, run.lesson_id))
        return task

    def _on_done(self, task: asyncio.Task[None], lesson_id: str) -> None:
        self._running.discard(task)
        self._metrics.lessons_in_flight.set(len(self._running))
        self._ledger.forget(lesson_id)
        if not task.cancelled():
            task.exception()  # the watcher raises it; retrieving it keeps asyncio from logging it


def _incomplete(spec: LessonSpec, catalogue: Catalogue) -> ServiceError:
    if spec.can_do_id:
        return UnknownCanDoError(catalogue.unknown(spec.can_do_id).message)
    violations = [] if spec.topic else [FieldViolation("spec.topic", "give a topic, or a can_do_id")]
    violations += [] if spec.level else [FieldViolation("spec.level", "give a level, or a can_do_id")]
    return InvalidRequestError("A lesson needs a can_do_id, or topic and level.", violations=violations)
