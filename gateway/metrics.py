"""The gateway's metrics: lessons, stages, sections, attempts and money. docs/metrics.md lists them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final

from servicekit.telemetry import MetricFactory, Registry

# A quantile against a target needs an edge exactly at the target: 180 s, 240 s, $0.05.
_LESSON_SECONDS: Final = (1, 5, 10, 30, 60, 90, 120, 150, 180, 240, 300, 600)
_CALL_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 90, 120, 180, 300)
_LESSON_USD: Final = (0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5)
RUN_OUTCOMES: Final = ("complete", "partial", "failed", "cancelled")
"""How a run ends."""
LESSON_OUTCOMES: Final = (*RUN_OUTCOMES, "rejected")
"""How a request for a lesson ends; `rejected`: no run began, because of load or because the flag is off."""


class LessonMetrics:
    """Every metric that the gateway counts about lessons."""

    def __init__(self, registry: Registry) -> None:
        make = MetricFactory(registry)
        self._define_lessons(make)
        self._define_stages(make)
        self._define_attempts(make)
        self.lessons_in_flight = make.gauge("nidan_lessons_in_flight", "Lessons being generated")
        self.enabled = make.gauge("nidan_twostage_enabled", "1 when USE_TWOSTAGE_GENERATION is on")

    def _define_lessons(self, make: MetricFactory) -> None:
        self.lessons = make.counter(
            "nidan_lessons",
            "Requested lessons by outcome; rejected means refused for load, or the flag is off",
            "outcome",
            "source",
        )
        self.lesson_seconds = make.histogram(
            "nidan_lesson_duration_seconds", "Duration of a generated lesson, once per run", _LESSON_SECONDS, "outcome"
        )
        self.lesson_usd = make.histogram(
            "nidan_lesson_cost_usd", "Cost of a generated lesson in US dollars, once per run", _LESSON_USD, "outcome"
        )
        self.sections_enhanced = make.counter(
            "nidan_lesson_sections_enhanced", "Lessons by how many of five sections were enhanced", "count"
        )

    def _define_stages(self, make: MetricFactory) -> None:
        self.stage1 = make.counter(
            "nidan_stage1", "Stage 1 by final outcome; the model is the last one asked", "outcome", "model"
        )
        self.stage1_seconds = make.histogram(
            "nidan_stage1_duration_seconds",
            "Time from the start of the run to the end of Stage 1",
            _CALL_SECONDS,
            "model",
        )
        self.sections = make.counter(
            "nidan_section_enhancements", "Sections by final state", "section", "state", "model"
        )
        self.section_seconds = make.histogram(
            "nidan_section_duration_seconds", "Duration of the enhancement of a section", _CALL_SECONDS, "section"
        )
        self.items = make.counter(
            "nidan_items",
            "Items by the source of their reading, and whether they are translated",
            "section",
            "reading_provenance",
            "translated",
        )

    def _define_attempts(self, make: MetricFactory) -> None:
        self.attempts = make.counter(
            "nidan_model_attempts", "Model calls by kind and outcome", "stage", "model", "kind", "outcome"
        )
        self.cost = make.counter(
            "nidan_model_cost_usd", "Cost of model calls in US dollars, at list price", "stage", "model"
        )
        self.wasted = make.counter(
            "nidan_wasted_cost_usd", "Cost in US dollars of answers that were not used", "stage", "model"
        )
        self.unpriced = make.counter("nidan_unpriced_attempts", "Model calls of unknown price", "model")
        self.breaker_open = make.gauge("nidan_breaker_open", "1 while calls to the model are held back", "model")
        self.budget_refusals = make.counter(
            "nidan_budget_refusals",
            "Times that the cost limit of a lesson, a caller or the day left no model to ask",
            "scope",
        )
        self.shutdown_at = make.gauge(
            "nidan_model_shutdown_timestamp_seconds", "When the provider shuts the model down (Unix time)", "model"
        )

    def publish_zeros(
        self,
        *,
        stage1_models: Sequence[str],
        stage2_models: Sequence[str],
        kinds: Sequence[str],
        outcomes: Sequence[str],
        sections: Sequence[str],
        states: Sequence[str],
    ) -> None:
        """Creates the children of closed label sets before their first event."""
        self._publish_lessons(stage1_models)
        for section in sections:
            self.section_seconds.labels(section)
            # Sections that only the analyser annotates are counted under an empty model name.
            for state, model in product(states, stage2_models or ("",)):
                self.sections.labels(section, state, model)
        for stage, models in (("stage1", stage1_models), ("stage2", stage2_models)):
            for model, kind, outcome in product(models, kinds, outcomes):
                self.attempts.labels(stage, model, kind, outcome)
            for model in models:
                self.cost.labels(stage, model)
                self.wasted.labels(stage, model)
                self.unpriced.labels(model)
                self.breaker_open.labels(model)
        for scope in ("lesson", "day", "caller"):
            self.budget_refusals.labels(scope)

    def _publish_lessons(self, stage1_models: Sequence[str]) -> None:
        for outcome in LESSON_OUTCOMES:
            self.lessons.labels(outcome, "generated")
        for outcome in RUN_OUTCOMES:
            self.lesson_seconds.labels(outcome)
            self.lesson_usd.labels(outcome)
        for count in range(6):
            self.sections_enhanced.labels(str(count))
        for model in stage1_models:
            self.stage1_seconds.labels(model)
            for outcome in ("ok", "failed"):
                self.stage1.labels(outcome, model)
