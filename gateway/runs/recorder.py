"""What operators see of a run: log lines, metrics, spans and ledger rows, under the names that they search for.

`log_*` writes a log line; `report_*` also changes a metric.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from gateway.attempts.ledger import Ledger, Row
from gateway.attempts.retirement import Retirement
from gateway.attempts.scheduler import AttemptPermit
from gateway.draft import Draft
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
    unanswered_attempt,
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


def log_enabled(can_do_id: str) -> None:
    logger().info("using_twostage_generation", can_do_id=can_do_id, feature_flag_enabled=True, note="")


def report_disabled(metrics: LessonMetrics, can_do_id: str) -> None:
    note = "USE_TWOSTAGE_GENERATION is off, and no other generator exists: the request is refused"
    logger().warning("using_legacy_single_stage_generation", can_do_id=can_do_id, feature_flag_enabled=False, note=note)
    metrics.lessons.labels("rejected", "generated").inc()


def report_full(metrics: LessonMetrics) -> None:
    """Counts a lesson refused for load. It writes no log line: under load there would be thousands."""
    metrics.lessons.labels("rejected", "generated").inc()


def breaker_reporter(metrics: LessonMetrics, provider: str) -> Callable[[str, bool], None]:
    """The callback that reports every breaker that opens or closes."""

    def report(model: str, is_open: bool) -> None:
        metrics.breaker_open.labels(model).set(is_open)
        logger().warning("breaker_opened" if is_open else "breaker_closed", provider=provider, model=model)

    return report


def report_end_dates(
    metrics: LessonMetrics, retirement: Retirement, chains: Iterable[tuple[Provider, Sequence[str]]], today: date
) -> None:
    """Sets the gauge of every end date, and logs each model that has 60, 30 or 7 days left, once per threshold."""
    for provider, models in chains:
        for model in models:
            ending = retirement.ending(provider, model)
            if ending is not None:
                at = datetime.combine(ending.on, datetime.min.time(), UTC)
                metrics.shutdown_at.labels(model).set(at.timestamp())
        for ending, days in retirement.due_warnings(provider, models, today):
            logger().warning("model_retires", model=ending.model, within_days=days, note=ending.describe(today))


def log_common_end(retirement: Retirement, provider: Provider, models: Sequence[str]) -> None:
    """Warns of a chain whose models all end on one day: a fallback that ends with the first model is none."""
    day = retirement.common_end(provider, models)
    if day is not None:
        note = "add a fallback model that stays longer"
        logger().warning("chain_ends_on_one_day", models=list(models), date=day.isoformat(), note=note)


@dataclass
class OpenAttempt:
    """An attempt under way, with its open ledger row."""

    id: str
    cancelled: Attempt
    """The attempt if no result ever comes."""
    _settle: Callable[[Attempt, bool], Attempt]
    _most_usd: Callable[[float], float | None]
    _began: float = field(default_factory=time.monotonic)
    _settled: bool = False

    def settle(self, attempt: Attempt, *, wasted: bool) -> Attempt:
        """Closes the row and returns the attempt as counted. `wasted`: nothing of its answer is used."""
        self._settled = True
        return self._settle(attempt, wasted)

    def settle_if_open(self) -> None:
        """Settles an attempt that got no result as cancelled, at what it can have cost until now."""
        if not self._settled:
            cost = self._most_usd(time.monotonic() - self._began)
            self.settle(self.cancelled.model_copy(update={"cost_usd": cost}), wasted=True)


class RunRecorder:
    """The record of one run. The lesson and the metrics take every amount of money from its ledger rows."""

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
        """Every settled attempt, in the order in which they began."""
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

    @contextmanager
    def open_attempt(
        self, permit: AttemptPermit, provider: Provider, stage: Stage, section: SectionName | None
    ) -> Iterator[OpenAttempt]:
        """Opens a ledger row and a span around a call. However the block ends, the row is settled once."""
        planned, row_id = permit.attempt, uuid.uuid4().hex
        self._ledger.open(
            Row(row_id, self._lesson_id, stage, section, planned.model, planned.kind, permit.reserved_usd)
        )
        cancelled = unanswered_attempt(
            attempt_id=row_id,
            stage=stage,
            section=section,
            provider=provider.value,
            model=planned.model,
            outcome=AttemptOutcome.CANCELLED,
            reason="cancelled: its answer is no longer needed",
        )

        def settle(attempt: Attempt, wasted: bool) -> Attempt:
            counted = self.settle_attempt(row_id, attempt, wasted=wasted)
            permit.settle(counted)
            return counted

        opened = OpenAttempt(row_id, cancelled, settle, permit.most_usd)
        with self._attempt_span(cancelled, planned.kind):
            try:
                yield opened
            finally:
                opened.settle_if_open()

    def _attempt_span(self, attempt: Attempt, kind: AttemptKind) -> AbstractContextManager[None]:
        """`settle_attempt` notes in it how the attempt ended."""
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

    def settle_attempt(self, row_id: str, attempt: Attempt, *, wasted: bool = False) -> Attempt:
        """Closes a row and counts its attempt once. `wasted`: nothing of its answer is used."""
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

    def report_budget_refusal(self, scope: str) -> None:
        """A budget left no model to ask."""
        self._metrics.budget_refusals.labels(scope).inc()
        logger().warning("cost_limit_reached", scope=scope, cost_usd=_sum(self.attempts))

    def log_start(self) -> None:
        logger().info(
            "twostage_generation_started",
            can_do_id=self._brief.can_do_id,
            topic=self._brief.topic,
            level=self._brief.level.value,
        )

    def report_stage1_end(self, model: str, sections_count: int, failed: bool) -> None:
        """`model` is the last one asked."""
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

    def log_section_attempt_failed(self, attempt: Attempt, items_failed: int, number: int) -> None:
        logger().warning(
            "section_enhancement_failed",
            section=attempt.section.value if attempt.section else "",
            error=f"{attempt.outcome.value}: {attempt.reason}",
            attempt=number,
            model=attempt.model,
            items_failed=items_failed,
        )

    def log_all_sections_fell_back(self, fallback_model: str) -> None:
        logger().warning("stage2_all_sections_failed_retrying_with_fallback", attempt=2, fallback_model=fallback_model)

    def report_section_end(self, section: EnhancedSection, model: str, seconds: float | None) -> None:
        """`seconds` is None for a section that never began."""
        name = section.name.value
        self._metrics.sections.labels(name, section.state.value, model).inc()
        if seconds is not None:
            self._metrics.section_seconds.labels(name).observe(seconds)
        for text in section.texts:
            translated = str(bool(text.translation)).lower() if text.needs_translation else "not_needed"
            self._metrics.items.labels(name, text.reading_provenance.value, translated).inc()

    def report_stage2_end(self, sections: list[EnhancedSection], model: str, seconds: float) -> None:
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

    def log_failure(self, error: ServiceError) -> None:
        event = _FAILURE_EVENTS.get(error.reason, "twostage_generation_failed")
        tracing.failed(error.reason)
        logger().error(event, can_do_id=self._brief.can_do_id, error=error.message, errors=[error.message])

    def report_end(self, outcome: str, sections: Sequence[EnhancedSection], draft: Draft) -> None:
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
            stage1_duration=round(draft.stage1_seconds, 3),
            stage2_duration=round(draft.stage2_seconds, 3),
            sections_enhanced=enhanced,
            partial_success=outcome == "partial",
            cost_usd=round(cost, 6),
            tokens=sum(usage.input_tokens + usage.output_tokens for usage in used),
        )


def _trace(outcome: AttemptOutcome, cost_usd: float | None, wasted: bool) -> None:
    """Notes in the span how its attempt ended. A cancelled call is no error. The reason may quote the model."""
    tracing.note({"nidan.outcome": outcome.value, "nidan.cost_usd": cost_usd, "nidan.wasted": wasted})
    if outcome not in (AttemptOutcome.OK, AttemptOutcome.CANCELLED):
        tracing.failed(outcome.value)


def _sum(attempts: Iterable[Attempt]) -> float:
    return sum(attempt.cost_usd or 0.0 for attempt in attempts)
