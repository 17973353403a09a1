"""The flow: request, Can-do, run, events. Both RPCs take this one path; `gateway.runs.run` is what happens inside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import UTC, datetime

from gateway.attempts.breaker import Breakers
from gateway.attempts.budget import DayBudget, seconds_to_midnight
from gateway.attempts.ledger import MemoryLedger
from gateway.attempts.retirement import Retirement
from gateway.catalogue.entries import Catalogue
from gateway.catalogue.local_file import LiveCatalogue
from gateway.events import Event, LessonSpec
from gateway.metrics import LessonMetrics
from gateway.runs import recorder as journal
from gateway.runs.errors import FeatureDisabledError, UnknownCanDoError, until_tomorrow
from gateway.runs.run import Flow, Run, Stages
from gateway.runs.stage_clients import Upstream
from lesson.models import Brief
from servicekit.errors import FieldViolation, InvalidRequestError, OverloadedError, QuotaError, ServiceError
from servicekit.llm.capabilities import Provider
from servicekit.telemetry import bind_log_context
from servicekit.tracing import note

_COME_BACK_SECONDS = 5.0


class Pipeline:
    """Makes lessons. `now` dates the lesson, its list prices and the models' ends; `clock` gives monotonic seconds."""

    def __init__(
        self,
        *,
        flow: Flow,
        upstream: Upstream,
        catalogue: LiveCatalogue,
        metrics: LessonMetrics,
        ledger: MemoryLedger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        day: DayBudget | None = None,
    ) -> None:
        """`day` is the day's budget of all lessons; None: one of the flow's limit."""
        self._flow = flow
        self._catalogue = catalogue
        self._metrics = metrics
        self._ledger = ledger
        self._now = now
        self._stages = Stages(
            upstream,
            asyncio.Semaphore(flow.stage1_calls_limit),
            asyncio.Semaphore(flow.stage2_calls_limit),
            {
                provider: Breakers(clock, journal.tells_breakers(metrics, provider.value))
                for provider in (flow.stage1_provider, flow.stage2_provider)
            },
            Retirement(),
            day or DayBudget(flow.day_limit_usd, now),
        )
        self._running: set[asyncio.Task[None]] = set()
        for provider, models in self._chains:
            journal.tell_common_end(self._stages.retirement, provider, models)
        self._tell_ends()

    @property
    def _chains(self) -> tuple[tuple[Provider, tuple[str, ...]], ...]:
        flow = self._flow
        return (flow.stage1_provider, flow.stage1_models), (flow.stage2_provider, flow.stage2_models)

    def _tell_ends(self) -> None:
        journal.tell_ends(self._metrics, self._stages.retirement, self._chains, self._now().date())

    async def brief(self, spec: LessonSpec) -> Brief:
        """What the request is to teach. Raises UnknownCanDoError or InvalidRequestError; never guesses a topic."""
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
            raise _not_enough(spec, catalogue)
        return Brief(
            can_do_id=spec.can_do_id,
            topic=spec.topic,
            level=spec.level,
            learner_language=spec.learner_language,
            can_do_text=spec.can_do_text,
            can_do_text_ja="",
            activity="",
        )

    async def run(
        self, spec: LessonSpec, callers_day: DayBudget | None = None
    ) -> AsyncGenerator[tuple[str, Event], None]:
        """The events of one lesson, each with the lesson's id; the last is Completed. `callers_day` pays for it, under
        the day's budget of all.

        Raises ServiceError when there can be no lesson. Closing the iterator ends every call the run has open.
        """
        if not self._flow.enabled:
            journal.told_disabled(self._metrics, spec.can_do_id)
            raise FeatureDisabledError("Two-stage generation is switched off here (USE_TWOSTAGE_GENERATION).")
        journal.told_enabled(spec.can_do_id)
        self._tell_ends()
        brief = await self.brief(spec)
        if spec.model and spec.model not in self._flow.stage1_models:
            chain = ", ".join(self._flow.stage1_models)
            violation = FieldViolation("spec.model", f"not in the configured chain ({chain})")
            raise InvalidRequestError(f"Model {spec.model!r} is not served here.", violations=[violation])
        if len(self._running) >= self._flow.lessons_limit:
            journal.told_full(self._metrics)
            raise OverloadedError(
                "As many lessons are being made as this gateway takes.", retry_after_seconds=_COME_BACK_SECONDS
            )
        run = Run(
            flow=self._flow,
            stages=replace(self._stages, day=callers_day) if callers_day else self._stages,
            metrics=self._metrics,
            ledger=self._ledger,
            spec=spec,
            brief=brief,
            now=self._now,
        )
        bind_log_context(lesson_id=run.lesson_id)
        note({"nidan.lesson_id": run.lesson_id})
        task = asyncio.create_task(run.work())
        self._running.add(task)
        self._metrics.lessons_in_flight.set(len(self._running))
        task.add_done_callback(lambda ended: self._ended(ended, run.lesson_id))
        try:
            while (event := await run.told.get()) is not None:
                yield run.lesson_id, event
            await task
        except QuotaError as error:
            until_tomorrow(error, seconds_to_midnight(self._now()))
            raise
        finally:
            if self._flow.on_disconnect == "cancel":
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None], lesson_id: str) -> None:
        self._running.discard(task)
        self._metrics.lessons_in_flight.set(len(self._running))
        self._ledger.forget(lesson_id)
        if not task.cancelled():
            task.exception()  # whoever watches is told; with nobody watching it is no news to asyncio


def _not_enough(spec: LessonSpec, catalogue: Catalogue) -> ServiceError:
    if spec.can_do_id:
        return UnknownCanDoError(catalogue.unknown(spec.can_do_id).message)
    violations = [] if spec.topic else [FieldViolation("spec.topic", "give a topic, or a can_do_id")]
    violations += [] if spec.level else [FieldViolation("spec.level", "give a level, or a can_do_id")]
    return InvalidRequestError("A lesson needs a can_do_id, or topic and level.", violations=violations)
