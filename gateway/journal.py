"""What operators see of a run: a log line and a count for each thing that happened, by the names they search for."""

from __future__ import annotations

import time

from lesson.models import (
    COUNTED_SECTIONS,
    Attempt,
    Brief,
    EnhancedSection,
    SectionState,
)
from servicekit.errors import ServiceError
from servicekit.telemetry import LessonMetrics, logger

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


class Journal:
    """The record of one run. `attempts` is what the lesson tells of money, and what the metrics count."""

    def __init__(self, metrics: LessonMetrics, brief: Brief) -> None:
        self._metrics = metrics
        self._brief = brief
        self._started = time.monotonic()
        self.attempts: list[Attempt] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started

    def started(self) -> None:
        logger().info(
            "twostage_generation_started",
            can_do_id=self._brief.can_do_id,
            topic=self._brief.topic,
            level=self._brief.level.value,
        )

    def attempt(self, attempt: Attempt) -> None:
        """One row, one count: what the reply says of money is what the metrics say."""
        self.attempts.append(attempt)
        labels = (attempt.stage.value, attempt.model)
        self._metrics.attempts.labels(*labels, attempt.kind.value, attempt.outcome.value).inc()
        if attempt.cost_usd is not None:
            self._metrics.cost.labels(*labels).inc(attempt.cost_usd)
        elif attempt.usage is not None:
            self._metrics.unpriced.labels(attempt.model).inc()

    def stage1_ended(self, attempt: Attempt, sections_count: int, failed: bool) -> None:
        duration = self.elapsed
        self._metrics.stage1.labels("failed" if failed else "ok", attempt.model).inc()
        self._metrics.stage1_seconds.labels(attempt.model).observe(duration)
        if not failed:
            logger().info(
                "stage1_completed",
                duration=round(duration, 3),
                sections_count=sections_count,
                model=attempt.model,
                attempts=1,
                cost_usd=attempt.cost_usd,
            )

    def section_ended(self, section: EnhancedSection, model: str, seconds: float) -> None:
        name = section.name.value
        self._metrics.sections.labels(name, section.state.value, model).inc()
        self._metrics.section_seconds.labels(name).observe(seconds)
        for text in section.texts:
            translated = str(bool(text.translation)).lower() if text.needs_translation else "not_needed"
            self._metrics.items.labels(name, text.reading_provenance.value, translated).inc()
        if section.state is not SectionState.ENHANCED:
            logger().warning(
                "section_enhancement_failed",
                section=name,
                error=section.reason,
                attempt=1,
                model=model,
                items_failed=sum(not text.complete for text in section.texts),
            )

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
            attempt=1,
            model=model,
        )

    def failed(self, error: ServiceError) -> None:
        event = _FAILURE_EVENTS.get(error.reason, "twostage_generation_failed")
        logger().error(event, can_do_id=self._brief.can_do_id, error=error.message, errors=[error.message])

    def ended(
        self, outcome: str, sections: list[EnhancedSection], stage1_seconds: float, stage2_seconds: float
    ) -> None:
        """`outcome` is complete, partial, failed or cancelled; once a run."""
        cost = sum(attempt.cost_usd or 0.0 for attempt in self.attempts)
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
