"""The flow: request, Can-do, Stage 1, items, Stage 2, merge, lesson. One path serves both RPCs: a stream of events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from gateway import merge
from gateway.catalogue import Catalogue
from gateway.render import master_json
from gateway.upstream import ContentCall, ContentResult, EnhanceCall, EnhanceResult, StageVersions, Upstream
from lesson.items import cut
from lesson.models import (
    COUNTED_SECTIONS,
    Attempt,
    AttemptOutcome,
    Brief,
    Content,
    EnhancedSection,
    EnhancementMode,
    Lesson,
    Level,
    Outcome,
    SectionName,
    SectionState,
    SectionValue,
    Versions,
)
from servicekit.errors import (
    Fault,
    FieldViolation,
    InvalidRequestError,
    MisconfiguredError,
    OverloadedError,
    ServiceError,
    UnknownResourceError,
    UnsupportedError,
    UpstreamError,
)
from servicekit.telemetry import LessonMetrics, bind_log_context, logger

_DESCRIBE_SECONDS = 5.0


@dataclass(frozen=True)
class LessonSpec:
    """What lesson is wanted, every field already checked for form. An id, or topic and level, or both."""

    can_do_id: str = ""
    topic: str = ""
    level: Level | None = None
    can_do_text: str = ""
    learner_language: str = "en"
    learner_level: int | None = None
    model: str = ""
    timeout_seconds: float | None = None


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


@dataclass(frozen=True)
class Accepted:
    brief: Brief
    stage1_models: tuple[str, ...]
    stage2_models: tuple[str, ...]


@dataclass(frozen=True)
class SectionReady:
    name: SectionName
    revision: int
    value: SectionValue


@dataclass(frozen=True)
class SectionEnhanced:
    section: EnhancedSection


@dataclass(frozen=True)
class SectionReplaced:
    name: SectionName
    revision: int
    reason: str


@dataclass(frozen=True)
class Completed:
    lesson: Lesson
    master_json: str


Event = Accepted | SectionReady | SectionEnhanced | SectionReplaced | Completed


class FeatureDisabledError(UnsupportedError):
    """USE_TWOSTAGE_GENERATION is off."""

    reason = "TWOSTAGE_DISABLED"
    fault: Fault = "service"


class UnknownCanDoError(UnknownResourceError):
    """No such Can-do here, and no topic and level beside it."""

    reason = "UNKNOWN_CAN_DO"


class StagesUnavailableError(UpstreamError):
    """The stage services do not answer."""

    reason = "STAGES_UNAVAILABLE"


_UNAVAILABLE = (UpstreamError, True)
_OPERATOR = (MisconfiguredError, False)
_BAD_ANSWER = (ServiceError, True)
_STAGE1_ERRORS: Mapping[AttemptOutcome, tuple[type[ServiceError], bool]] = {
    AttemptOutcome.AUTH: _OPERATOR,
    AttemptOutcome.BAD_REQUEST: _OPERATOR,
    AttemptOutcome.UNKNOWN_MODEL: _OPERATOR,
    AttemptOutcome.RETIRED: _OPERATOR,
    AttemptOutcome.QUOTA: (OverloadedError, False),
    AttemptOutcome.BUDGET_TOO_SMALL: (OverloadedError, False),
    AttemptOutcome.RATE_LIMITED: (OverloadedError, True),
    AttemptOutcome.REFUSED: (ServiceError, False),
    AttemptOutcome.CONTENT_FILTER: (ServiceError, False),
    AttemptOutcome.INVALID_JSON: _BAD_ANSWER,
    AttemptOutcome.INVALID_SCHEMA: _BAD_ANSWER,
    AttemptOutcome.EMPTY: _BAD_ANSWER,
    AttemptOutcome.LENGTH: _BAD_ANSWER,
    AttemptOutcome.REASONING_EXHAUSTED: _BAD_ANSWER,
}
"""Error and retryable of a Stage 1 that failed so; anything else is UNAVAILABLE and worth another try."""


def stage1_failure(attempt: Attempt, missing: tuple[SectionName, ...], lesson_id: str) -> ServiceError:
    """The error of a lesson that cannot be: from the attempt that ended Stage 1, and what it left missing."""
    kind, retryable = _STAGE1_ERRORS.get(attempt.outcome, _UNAVAILABLE)
    names = ", ".join(name.json_key for name in missing)
    return kind(
        f"Stage 1 gave no {names}. {attempt.model} ended {attempt.outcome.value}: {attempt.reason}",
        reason=f"STAGE1_{attempt.outcome.name}",
        retryable=retryable,
        fault="upstream" if kind is UpstreamError else "model",
        retry_after_seconds=attempt.retry_after_seconds,
        stage="stage1",
        lesson_id=lesson_id,
    )


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
        self._check_enabled(spec)
        brief = self.brief(spec)
        if spec.model and spec.model not in self._flow.stage1_models:
            chain = ", ".join(self._flow.stage1_models)
            violation = FieldViolation("spec.model", f"not in the configured chain ({chain})")
            raise InvalidRequestError(f"Model {spec.model!r} is not served here.", violations=[violation])
        run = _Run(self._flow, self._upstream, self._metrics, spec, brief, self._now())
        bind_log_context(lesson_id=run.lesson_id)
        with self._metrics.lessons_in_flight.track_inprogress():
            async with aclosing(run.events()) as events:
                async for event in events:
                    yield run.lesson_id, event

    def _check_enabled(self, spec: LessonSpec) -> None:
        if self._flow.enabled:
            logger().info("using_twostage_generation", can_do_id=spec.can_do_id, feature_flag_enabled=True, note="")
            return
        note = "USE_TWOSTAGE_GENERATION is off and there is no other generator; the request is refused"
        logger().warning(
            "using_legacy_single_stage_generation", can_do_id=spec.can_do_id, feature_flag_enabled=False, note=note
        )
        self._metrics.lessons.labels("rejected", "generated").inc()
        raise FeatureDisabledError("Two-stage generation is switched off here (USE_TWOSTAGE_GENERATION).")


@dataclass
class _Run:
    """One lesson being made."""

    flow: Flow
    upstream: Upstream
    metrics: LessonMetrics
    spec: LessonSpec
    brief: Brief
    created_at: float
    lesson_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.monotonic)
    attempts: list[Attempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    content: Content = field(default_factory=Content)
    sections: dict[SectionName, EnhancedSection] = field(default_factory=dict)
    stage1_seconds: float = 0.0
    stage2_seconds: float = 0.0

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def _deadline(self) -> float:
        """Seconds from the start by which the run ends; a caller may only lower it."""
        return min(self.flow.deadline_seconds, self.spec.timeout_seconds or self.flow.deadline_seconds)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Stage 1, then its sections side by side, then the lesson."""
        ended = "cancelled"
        try:
            yield self._accepted()
            versions = await self._versions()
            for stage in (self._stage1(), self._stage2()):
                async with aclosing(stage) as events:
                    async for event in events:
                        yield event
            lesson = self._lesson(versions)
            ended = lesson.outcome.value
            yield Completed(lesson, master_json(lesson))
        except ServiceError as error:
            ended = "failed"
            event_name = _FAILURE_EVENTS.get(error.reason, "twostage_generation_failed")
            logger().error(event_name, can_do_id=self.brief.can_do_id, error=error.message, errors=[error.message])
            raise
        finally:
            self._settle(ended)

    def _accepted(self) -> Accepted:
        logger().info(
            "twostage_generation_started",
            can_do_id=self.brief.can_do_id,
            topic=self.brief.topic,
            level=self.brief.level.value,
        )
        return Accepted(self.brief, self.flow.stage1_models, self.flow.stage2_models)

    async def _versions(self) -> StageVersions:
        try:
            return await self.upstream.describe(min(_DESCRIBE_SECONDS, self._deadline))
        except ConnectionError as error:
            raise StagesUnavailableError(
                f"A stage service does not answer: {error}", stage="stage1", lesson_id=self.lesson_id
            ) from error

    async def _stage1(self) -> AsyncGenerator[Event, None]:
        call = ContentCall(
            brief=self.brief,
            model=self.spec.model or self.flow.stage1_models[0],
            attempt_id=uuid.uuid4().hex,
            timeout_seconds=max(1.0, self._deadline - self.flow.reserve_seconds - self._elapsed),
        )
        async with aclosing(self.upstream.generate(call)) as events:
            async for event in events:
                if isinstance(event, ContentResult):
                    self._stage1_ended(event)
                else:
                    yield SectionReady(event.name, event.revision, event.value)

    def _stage1_ended(self, result: ContentResult) -> None:
        self.content, self.stage1_seconds = result.content, self._elapsed
        self._record(result.attempt)
        self.notes.extend(result.notes)
        missing = tuple(name for name in SectionName if self.content.section(name) is None)
        for name in missing:
            reason = next((fault for fault in result.faults if fault.startswith(name.value)), result.attempt.reason)
            self.sections[name] = merge.missing_section(name, reason)
        failed = merge.outcome_of(self._planned(missing)) is Outcome.FAILED
        model = result.attempt.model
        self.metrics.stage1.labels("failed" if failed else "ok", model).inc()
        self.metrics.stage1_seconds.labels(model).observe(self.stage1_seconds)
        if failed:
            raise stage1_failure(result.attempt, missing, self.lesson_id)
        logger().info(
            "stage1_completed",
            duration=round(self.stage1_seconds, 3),
            sections_count=len(self.content.written),
            model=model,
            attempts=1,
            cost_usd=result.attempt.cost_usd,
        )

    def _planned(self, missing: tuple[SectionName, ...]) -> list[EnhancedSection]:
        """What the lesson could still become: everything that was written, enhanced."""
        return [
            self.sections[name] if name in missing else merge.enhanced_section(name, (), ()) for name in SectionName
        ]

    async def _stage2(self) -> AsyncGenerator[Event, None]:
        started = self._elapsed
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
        self.stage2_seconds = self._elapsed - started
        self._stage2_ended()

    async def _enhance(self, name: SectionName) -> EnhancedSection:
        started = time.monotonic()
        value = self.content.section(name)
        items = cut(name, value) if value else ()
        if not items:
            return self._counted(merge.enhanced_section(name, (), ()), "", started)
        model = self.flow.stage2_models[0] if self.flow.stage2_models else ""
        result = await self.upstream.enhance(
            EnhanceCall(
                section=name,
                brief=self.brief,
                frame=self.content.frame,
                items=items,
                model=model,
                attempt_id=uuid.uuid4().hex,
                timeout_seconds=max(1.0, self._deadline - self.flow.margin_seconds - self._elapsed),
                mode=self.flow.mode,
            )
        )
        if result.attempt:
            self._record(result.attempt)
        section = merge.enhanced_section(name, items, (item.text for item in result.items), reason=_why(result))
        if section.state is not SectionState.ENHANCED:
            self._section_failed(section, model)
        return self._counted(section, model, started)

    def _counted(self, section: EnhancedSection, model: str, started: float) -> EnhancedSection:
        self.metrics.sections.labels(section.name.value, section.state.value, model).inc()
        self.metrics.section_seconds.labels(section.name.value).observe(time.monotonic() - started)
        for text in section.texts:
            translated = str(bool(text.translation)).lower() if text.needs_translation else "not_needed"
            self.metrics.items.labels(section.name.value, text.reading_provenance.value, translated).inc()
        return section

    def _section_failed(self, section: EnhancedSection, model: str) -> None:
        logger().warning(
            "section_enhancement_failed",
            section=section.name.value,
            error=section.reason,
            attempt=1,
            model=model,
            items_failed=sum(not text.complete for text in section.texts),
        )

    def _stage2_ended(self) -> None:
        asked = [section for section in self.sections.values() if section.items]
        good = [section for section in asked if section.state is SectionState.ENHANCED]
        if asked and not good:
            logger().warning(
                "stage2_all_attempts_failed_returning_partial",
                can_do_id=self.brief.can_do_id,
                errors=[section.reason for section in asked],
            )
        logger().info(
            "stage2_completed",
            sections_succeeded=len(good),
            sections_total=len(asked),
            duration=round(self.stage2_seconds, 3),
            attempt=1,
            model=", ".join(self.flow.stage2_models[:1]),
        )

    def _record(self, attempt: Attempt) -> None:
        """One row, one count: what the reply says of money is what the metrics say."""
        self.attempts.append(attempt)
        labels = (attempt.stage.value, attempt.model)
        self.metrics.attempts.labels(*labels, attempt.kind.value, attempt.outcome.value).inc()
        if attempt.cost_usd is not None:
            self.metrics.cost.labels(*labels).inc(attempt.cost_usd)
        elif attempt.usage is not None:
            self.metrics.unpriced.labels(attempt.model).inc()

    def _lesson(self, versions: StageVersions) -> Lesson:
        sections = tuple(self.sections[name] for name in SectionName)
        return Lesson(
            lesson_id=self.lesson_id,
            brief=self.brief,
            learner_level=self.spec.learner_level,
            outcome=merge.outcome_of(sections),
            sample=versions.sample,
            created_at=self.created_at,
            content=self.content,
            sections=sections,
            attempts=tuple(self.attempts),
            versions=Versions(
                prompt_stage1=versions.prompt_stage1,
                prompt_stage2=versions.prompt_stage2,
                lesson_schema=versions.lesson_schema,
                annotator=versions.annotator,
            ),
            notes=tuple(self.notes),
            duration_seconds=self._elapsed,
            stage1_seconds=self.stage1_seconds,
            stage2_seconds=self.stage2_seconds,
        )

    def _settle(self, ended: str) -> None:
        cost = sum(attempt.cost_usd or 0.0 for attempt in self.attempts)
        enhanced = sum(
            section.state is SectionState.ENHANCED and section.name in COUNTED_SECTIONS
            for section in self.sections.values()
        )
        self.metrics.lessons.labels(ended, "generated").inc()
        self.metrics.lesson_seconds.labels(ended).observe(self._elapsed)
        self.metrics.lesson_usd.labels(ended).observe(cost)
        if ended in ("complete", "partial"):
            self.metrics.sections_enhanced.labels(str(enhanced)).inc()
            self._log_completed(ended, enhanced, cost)

    def _log_completed(self, ended: str, enhanced: int, cost: float) -> None:
        used = [attempt.usage for attempt in self.attempts if attempt.usage]
        logger().info(
            "twostage_generation_completed",
            total_duration=round(self._elapsed, 3),
            stage1_duration=round(self.stage1_seconds, 3),
            stage2_duration=round(self.stage2_seconds, 3),
            sections_enhanced=enhanced,
            partial_success=ended == "partial",
            cost_usd=round(cost, 6),
            tokens=sum(usage.input_tokens + usage.output_tokens for usage in used),
        )


_FAILURE_EVENTS = {
    "STAGE1_INVALID_SCHEMA": "twostage_pydantic_validation_failed",
    "STAGE1_INVALID_JSON": "twostage_json_parse_failed",
}


def _why(result: EnhanceResult) -> str:
    if result.failure:
        return result.failure
    if result.attempt and result.attempt.outcome is not AttemptOutcome.OK:
        return f"{result.attempt.model}: {result.attempt.outcome.value}: {result.attempt.reason}"
    return "" if result.attempt else "no model was asked"
