"""What operators see of a run: a log line, a count and a span for what happened, by the names they search for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime

from gateway.attempts.ledger import Ledger, Row
from gateway.attempts.policy import Step
from gateway.attempts.retirement import Retirement
from gateway.metrics import LessonMetrics
from lesson.models import (
    COUNTED_SECTIONS,
    Attempt,
    AttemptKind,
    AttemptOutcome,
    Brief,
    EnhancedSection,
    SectionName,
    SectionState,
    Stage,
)
from servicekit import tracing
from servicekit.errors import ServiceError
from servicekit.llm.capabilities import Provider
from servicekit.telemetry import logger

# Failures that have an event of their own; any other is twostage_generation_failed.
_FAILURE_EVENTS = {
    "STAGE1_INVALID_SCHEMA": "twostage_pydantic_validation_failed",
    "STAGE1_INVALID_JSON": "twostage_json_parse_failed",
}


def told_enabled(can_do_id: str) -> None:
    logger().info("using_twostage_generation", can_do_id=can_do_id, feature_flag_enabled=True, note="")


def told_disabled(metrics: LessonMetrics, can_do_id: str) -> None:
    note = "USE_TWOSTAGE_GENERATION is off and there is no other generator; the request is refused"
    logger().warning("using_legacy_single_stage_generation", can_do_id=can_do_id, feature_flag_enabled=False, note=note)
    metrics.lessons.labels("rejected", "generated").inc()


def told_full(metrics: LessonMetrics) -> None:
    """A lesson that there is no room for. No log line: under load there would be thousands."""
    metrics.lessons.labels("rejected", "generated").inc()


def tells_breakers(metrics: LessonMetrics, provider: str) -> Callable[[str, bool], None]:
    """What hears of every breaker that opens or closes."""

    def tell(model: str, is_open: bool) -> None:
        metrics.breaker_open.labels(model).set(is_open)
        logger().warning("breaker_opened" if is_open else "breaker_closed", provider=provider, model=model)

    return tell


def tell_ends(
    metrics: LessonMetrics, retirement: Retirement, chains: Iterable[tuple[Provider, Sequence[str]]], today: date
) -> None:
    """The gauge of every end date, and a log line for each model that has 60, 30 or 7 days left; each is told once."""
    for provider, models in chains:
        for model in models:
            ending = retirement.ending(provider, model)
            if ending is not None:
                at = datetime.combine(ending.on, datetime.min.time(), UTC)
                metrics.shutdown_at.labels(model).set(at.timestamp())
        for ending, days in retirement.soon(provider, models, today):
            logger().warning("model_retires", model=ending.model, within_days=days, note=ending.told(today))


def tell_common_end(retirement: Retirement, provider: Provider, models: Sequence[str]) -> None:
    """A fallback that ends with the first model is none."""
    day = retirement.common_end(provider, models)
    if day is not None:
        note = "add a model that stays to the chain's fallbacks"
        logger().warning("chain_ends_on_one_day", models=list(models), date=day.isoformat(), note=note)


class Journal:
    """The record of one run. What its rows say of money is what the lesson tells and what the metrics count."""

    def __init__(self, metrics: LessonMetrics, ledger: Ledger, brief: Brief, lesson_id: str) -> None:
        self._metrics = metrics
        self._ledger = ledger
        self._brief = brief
        self._lesson_id = lesson_id
        self._started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every settled attempt, in the order in which they were begun."""
        return tuple(row.attempt for row in self._ledger.rows(self._lesson_id) if row.attempt)

    def lesson_span(self) -> AbstractContextManager[None]:
        """The span of the whole run."""
        return tracing.span(
            "lesson",
            {
                "nidan.lesson_id": self._lesson_id,
                "nidan.can_do_id": self._brief.can_do_id,
                "nidan.level": self._brief.level.value,
            },
        )

    def attempt_span(self, attempt: Attempt, kind: AttemptKind) -> AbstractContextManager[None]:
        """The span of an attempt that is about to be made; `settled` tells in it how it ended."""
        section = attempt.section.value if attempt.section else ""
        return tracing.span(
            f"{section or attempt.stage.value} attempt",
            {
                "rpc.system.name": "grpc",
                "gen_ai.request.model": attempt.model,
                "nidan.lesson_id": self._lesson_id,
                "nidan.attempt.id": attempt.id,
                "nidan.attempt.kind": kind.value,
                "nidan.section": section,
            },
            "client",
        )

    def opened(self, step: Step, stage: Stage, section: SectionName | None, reserved_usd: float | None) -> str:
        """A row for a call that is about to be made; gives the attempt's id."""
        row_id = uuid.uuid4().hex
        self._ledger.open(Row(row_id, self._lesson_id, stage, section, step.model, step.kind, reserved_usd))
        return row_id

    def settled(self, row_id: str, attempt: Attempt, *, wasted: bool = False) -> Attempt:
        """One row, one count. `wasted`: nothing of its answer is used."""
        counted = self._ledger.settle(row_id, attempt)
        _trace(counted.outcome, counted.cost_usd, wasted)
        labels = (counted.stage.value, counted.model)
        self._metrics.attempts.labels(*labels, counted.kind.value, counted.outcome.value).inc()
        if counted.cost_usd is None:
            self._metrics.unpriced.labels(counted.model).inc()
            return counted
        self._metrics.cost.labels(*labels).inc(counted.cost_usd)
        if wasted:
            self._metrics.wasted.labels(*labels).inc(counted.cost_usd)
        return counted

    def refused_for_money(self, scope: str) -> None:
        """A budget left no model a turn."""
        self._metrics.budget_refusals.labels(scope).inc()
        logger().warning("cost_limit_reached", scope=scope, cost_usd=_sum(self.attempts))

    def started(self) -> None:
        logger().info(
            "twostage_generation_started",
            can_do_id=self._brief.can_do_id,
            topic=self._brief.topic,
            level=self._brief.level.value,
        )

    def stage1_ended(self, model: str, sections_count: int, failed: bool) -> None:
        """`model` is the one that was asked last."""
        duration = self.elapsed
        self._metrics.stage1.labels("failed" if failed else "ok", model).inc()
        self._metrics.stage1_seconds.labels(model).observe(duration)
        mine = [attempt for attempt in self.attempts if attempt.stage is Stage.STAGE1]
        if not failed:
            logger().info(
                "stage1_completed",
                duration=round(duration, 3),
                sections_count=sections_count,
                model=model,
                attempts=len(mine),
                cost_usd=_sum(mine),
            )

    def section_attempt_failed(self, attempt: Attempt, items_failed: int, number: int) -> None:
        logger().warning(
            "section_enhancement_failed",
            section=attempt.section.value if attempt.section else "",
            error=f"{attempt.outcome.value}: {attempt.reason}",
            attempt=number,
            model=attempt.model,
            items_failed=items_failed,
        )

    def all_sections_fell_back(self, fallback_model: str) -> None:
        logger().warning("stage2_all_sections_failed_retrying_with_fallback", attempt=2, fallback_model=fallback_model)

    def section_ended(self, section: EnhancedSection, model: str, seconds: float | None) -> None:
        """`seconds` is None for a section that was never begun."""
        name = section.name.value
        self._metrics.sections.labels(name, section.state.value, model).inc()
        if seconds is not None:
            self._metrics.section_seconds.labels(name).observe(seconds)
        for text in section.texts:
            translated = str(bool(text.translation)).lower() if text.needs_translation else "not_needed"
            self._metrics.items.labels(name, text.reading_provenance.value, translated).inc()

    def stage2_ended(self, sections: list[EnhancedSection], model: str, seconds: float) -> None:
        """`sections` are those that have items."""
        good = sum(section.state is SectionState.ENHANCED for section in sections)
        if sections and not good:
            logger().warning(
                "stage2_all_attempts_failed_returning_partial",
                can_do_id=self._brief.can_do_id,
                errors=[section.reason for section in sections],
            )
        logger().info(
            "stage2_completed",
            sections_succeeded=good,
            sections_total=len(sections),
            duration=round(seconds, 3),
            attempt=max([0, *(len(attempts) for attempts in self._by_section().values())]),
            model=model,
        )

    def _by_section(self) -> dict[SectionName | None, list[Attempt]]:
        found: dict[SectionName | None, list[Attempt]] = {}
        for attempt in self.attempts:
            if attempt.stage is Stage.STAGE2:
                found.setdefault(attempt.section, []).append(attempt)
        return found

    def failed(self, error: ServiceError) -> None:
        event = _FAILURE_EVENTS.get(error.reason, "twostage_generation_failed")
        tracing.failed(error.reason)
        logger().error(event, can_do_id=self._brief.can_do_id, error=error.message, errors=[error.message])

    def ended(
        self, outcome: str, sections: list[EnhancedSection], stage1_seconds: float, stage2_seconds: float
    ) -> None:
        """`outcome` is complete, partial, failed or cancelled; once a run."""
        cost = _sum(self.attempts)
        tracing.note({"nidan.outcome": outcome, "nidan.cost_usd": cost, "nidan.attempts": len(self.attempts)})
        self._metrics.lessons.labels(outcome, "generated").inc()
        self._metrics.lesson_seconds.labels(outcome).observe(self.elapsed)
        self._metrics.lesson_usd.labels(outcome).observe(cost)
        if outcome not in ("complete", "partial"):
            return
        enhanced = sum(
            section.state is SectionState.ENHANCED and section.name in COUNTED_SECTIONS for section in sections
        )
        self._metrics.sections_enhanced.labels(str(enhanced)).inc()
        used = [attempt.usage for attempt in self.attempts if attempt.usage]
        logger().info(
            "twostage_generation_completed",
            total_duration=round(self.elapsed, 3),
            stage1_duration=round(stage1_seconds, 3),
            stage2_duration=round(stage2_seconds, 3),
            sections_enhanced=enhanced,
            partial_success=outcome == "partial",
            cost_usd=round(cost, 6),
            tokens=sum(usage.input_tokens + usage.output_tokens for usage in used),
        )


def _trace(outcome: AttemptOutcome, cost_usd: float | None, wasted: bool) -> None:
    """How the attempt at work ended. That nobody waits for it any more is no error; its reason may quote the model."""
    tracing.note({"nidan.outcome": outcome.value, "nidan.cost_usd": cost_usd, "nidan.wasted": wasted})
    if outcome not in (AttemptOutcome.OK, AttemptOutcome.CANCELLED):
        tracing.failed(outcome.value)


def _sum(attempts: Iterable[Attempt]) -> float:
    return sum(attempt.cost_usd or 0.0 for attempt in attempts)
