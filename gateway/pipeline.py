"""The flow: request, Can-do, Stage 1, items, Stage 2, merge, lesson. One path serves both RPCs: a stream of events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from gateway import journal, merge
from gateway.catalogue import Catalogue
from gateway.events import Accepted, Completed, Event, LessonSpec, SectionEnhanced, SectionReady
from gateway.failures import FeatureDisabledError, UnknownCanDoError, stage1_failure
from gateway.journal import Journal
from gateway.render import master_json
from gateway.upstream import ContentCall, ContentResult, EnhanceCall, EnhanceResult, Upstream
from lesson.items import cut
from lesson.models import (
    AttemptOutcome,
    Brief,
    Content,
    EnhancedSection,
    EnhancementMode,
    Lesson,
    Outcome,
    SectionName,
    Versions,
)
from servicekit.errors import FieldViolation, InvalidRequestError, ServiceError
from servicekit.llm.capabilities import Provider
from servicekit.telemetry import LessonMetrics, bind_log_context

_DESCRIBE_SECONDS = 5.0


@dataclass(frozen=True)
class Flow:
    """How lessons are made here: fixed for the life of the process."""

    stage1_models: tuple[str, ...]
    stage2_models: tuple[str, ...]
    deadline_seconds: float
    reserve_seconds: float
    margin_seconds: float
    mode: EnhancementMode
    enabled: bool = True


class Pipeline:
    """Makes lessons. `now` is wall time in Unix seconds, for the lesson's own record."""

    def __init__(
        self,
        flow: Flow,
        upstream: Upstream,
        catalogue: Catalogue,
        metrics: LessonMetrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._flow = flow
        self._upstream = upstream
        self._catalogue = catalogue
        self._metrics = metrics
        self._now = now

    def brief(self, spec: LessonSpec) -> Brief:
        """What the request is to teach. Raises UnknownCanDoError or InvalidRequestError; never guesses a topic."""
        entry = self._catalogue.find(spec.can_do_id) if spec.can_do_id else None
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
            raise self._not_enough(spec)
        return Brief(
            can_do_id=spec.can_do_id,
            topic=spec.topic,
            level=spec.level,
            learner_language=spec.learner_language,
            can_do_text=spec.can_do_text,
            can_do_text_ja="",
            activity="",
        )

    def _not_enough(self, spec: LessonSpec) -> ServiceError:
        if spec.can_do_id:
            known = ", ".join(self._catalogue.ids[:10])
            return UnknownCanDoError(
                f"No Can-do {spec.can_do_id!r} in the catalogue. Give topic and level beside it, or one of: {known}."
            )
        violations = [] if spec.topic else [FieldViolation("spec.topic", "give a topic, or a can_do_id")]
        violations += [] if spec.level else [FieldViolation("spec.level", "give a level, or a can_do_id")]
        return InvalidRequestError("A lesson needs a can_do_id, or topic and level.", violations=violations)

    async def run(self, spec: LessonSpec) -> AsyncGenerator[tuple[str, Event], None]:
        """The events of one lesson, each with the lesson's id; the last is Completed.

        Raises ServiceError when there can be no lesson. Closing the iterator ends every call the run has open.
        """
        if not self._flow.enabled:
            journal.told_disabled(self._metrics, spec.can_do_id)
            raise FeatureDisabledError("Two-stage generation is switched off here (USE_TWOSTAGE_GENERATION).")
        journal.told_enabled(spec.can_do_id)
        brief = self.brief(spec)
        if spec.model and spec.model not in self._flow.stage1_models:
            chain = ", ".join(self._flow.stage1_models)
            violation = FieldViolation("spec.model", f"not in the configured chain ({chain})")
            raise InvalidRequestError(f"Model {spec.model!r} is not served here.", violations=[violation])
        run = _Run(self._flow, self._upstream, Journal(self._metrics, brief), spec, brief, self._now())
        bind_log_context(lesson_id=run.lesson_id)
        with self._metrics.lessons_in_flight.track_inprogress():
            async with aclosing(run.events()) as events:
                async for event in events:
                    yield run.lesson_id, event


@dataclass
class _Run:
    """One lesson being made."""

    flow: Flow
    upstream: Upstream
    journal: Journal
    spec: LessonSpec
    brief: Brief
    created_at: float
    lesson_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    notes: list[str] = field(default_factory=list)
    content: Content = field(default_factory=Content)
    sections: dict[SectionName, EnhancedSection] = field(default_factory=dict)
    stage1_seconds: float = 0.0
    stage2_seconds: float = 0.0

    @property
    def _deadline(self) -> float:
        """Seconds from the start by which the run ends; a caller may only lower it."""
        return min(self.flow.deadline_seconds, self.spec.timeout_seconds or self.flow.deadline_seconds)

    def _remaining(self, reserve_seconds: float) -> float:
        """Seconds that a call may take now, if so much is kept for what follows."""
        return max(1.0, self._deadline - reserve_seconds - self.journal.elapsed)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Stage 1, then its sections side by side, then the lesson."""
        ended = "cancelled"
        try:
            self.journal.started()
            yield Accepted(self.brief, self.flow.stage1_models, self.flow.stage2_models)
            versions = asyncio.create_task(self.upstream.describe(_DESCRIBE_SECONDS))
            try:
                for stage in (self._stage1(), self._stage2()):
                    async with aclosing(stage) as events:
                        async for event in events:
                            yield event
                lesson = self._lesson(await versions)
            finally:
                versions.cancel()
            ended = lesson.outcome.value
            yield Completed(lesson, master_json(lesson))
        except ServiceError as error:
            ended = "failed"
            self.journal.failed(error)
            raise
        finally:
            self.journal.ended(ended, list(self.sections.values()), self.stage1_seconds, self.stage2_seconds)

    async def _stage1(self) -> AsyncGenerator[Event, None]:
        call = ContentCall(
            brief=self.brief,
            model=self.spec.model or self.flow.stage1_models[0],
            attempt_id=uuid.uuid4().hex,
            timeout_seconds=self._remaining(self.flow.reserve_seconds),
        )
        async with aclosing(self.upstream.generate(call)) as events:
            async for event in events:
                if isinstance(event, ContentResult):
                    self._stage1_ended(event)
                else:
                    yield SectionReady(event.name, event.revision, event.value)

    def _stage1_ended(self, result: ContentResult) -> None:
        self.content, self.stage1_seconds = result.content, self.journal.elapsed
        self.journal.attempt(result.attempt)
        self.notes.extend(result.notes)
        missing = tuple(name for name in SectionName if self.content.section(name) is None)
        for name in missing:
            reason = next((fault for fault in result.faults if fault.startswith(name.value)), result.attempt.reason)
            self.sections[name] = merge.missing_section(name, reason)
        # What the lesson could still become: all that was written, enhanced.
        at_best = [self.sections.get(name) or merge.enhanced_section(name, (), ()) for name in SectionName]
        failed = merge.outcome_of(at_best) is Outcome.FAILED
        self.journal.stage1_ended(result.attempt, len(self.content.written), failed)
        if failed:
            raise stage1_failure(result.attempt, missing, self.lesson_id)

    async def _stage2(self) -> AsyncGenerator[Event, None]:
        started = self.journal.elapsed
        tasks = [asyncio.create_task(self._enhance(name)) for name in self.content.written]
        try:
            for done in asyncio.as_completed(tasks):
                section = await done
                self.sections[section.name] = section
                yield SectionEnhanced(section)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.stage2_seconds = self.journal.elapsed - started
        asked = [section for section in self.sections.values() if section.items]
        self.journal.stage2_ended(asked, self._stage2_model, self.stage2_seconds)

    @property
    def _stage2_model(self) -> str:
        """Empty: the analyser alone."""
        return next(iter(self.flow.stage2_models), "")

    async def _enhance(self, name: SectionName) -> EnhancedSection:
        started = self.journal.elapsed
        value = self.content.section(name)
        items = cut(name, value) if value else ()
        if items:
            result = await self.upstream.enhance(
                EnhanceCall(
                    section=name,
                    brief=self.brief,
                    frame=self.content.frame,
                    items=items,
                    model=self._stage2_model,
                    attempt_id=uuid.uuid4().hex,
                    timeout_seconds=self._remaining(self.flow.margin_seconds),
                    mode=self.flow.mode,
                )
            )
        else:
            result = EnhanceResult((), None)
        if result.attempt:
            self.journal.attempt(result.attempt)
        texts = [item.text for item in result.items]
        section = merge.enhanced_section(name, items, texts, reason=_why(result))
        self.journal.section_ended(section, self._stage2_model, self.journal.elapsed - started)
        return section

    def _lesson(self, versions: Versions) -> Lesson:
        sections = tuple(self.sections[name] for name in SectionName)
        return Lesson(
            lesson_id=self.lesson_id,
            brief=self.brief,
            learner_level=self.spec.learner_level,
            outcome=merge.outcome_of(sections),
            sample=any(attempt.provider == Provider.OFFLINE.value for attempt in self.journal.attempts),
            created_at=self.created_at,
            content=self.content,
            sections=sections,
            attempts=tuple(self.journal.attempts),
            versions=versions,
            notes=tuple(self.notes),
            duration_seconds=self.journal.elapsed,
            stage1_seconds=self.stage1_seconds,
            stage2_seconds=self.stage2_seconds,
        )


def _why(result: EnhanceResult) -> str:
    """Why the enhancer fell short, for people; empty when the model answered well."""
    if result.failure:
        return result.failure
    if result.attempt and result.attempt.outcome is not AttemptOutcome.OK:
        return f"{result.attempt.model}: {result.attempt.outcome.value}: {result.attempt.reason}"
    return "" if result.attempt else "no model was asked"
