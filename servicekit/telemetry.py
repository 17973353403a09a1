"""The metrics catalogue and the JSON log lines: everything an operator can see of a service.

Every metric that exists is a line of this module; label values come from configuration or closed sets, and their zero
children are published at start, so that rates and alerts work from the first failure.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from structlog.contextvars import bind_contextvars
from structlog.tracebacks import ExceptionDictTransformer

_LAG_INTERVAL_SECONDS = 0.5
# Edges at the objectives (180 s, 240 s, $0.05): a quantile against a target needs an edge exactly there.
_LESSON_SECONDS = (1, 5, 10, 30, 60, 90, 120, 150, 180, 240, 300, 600)
_CALL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 90, 120, 180, 300)
_LESSON_USD = (0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5)
# OpenTelemetry's own buckets, extended: its last edge, 81.92 s, is in the middle of a reasoning call.
_GEN_AI_SECONDS = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
    120,
    180,
    300,
    600,
)
_GEN_AI_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_RPC_SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 180, 240, 300)
RUN_OUTCOMES = ("complete", "partial", "failed", "cancelled")
"""How a run ends."""
LESSON_OUTCOMES = (*RUN_OUTCOMES, "rejected")
"""How a request for a lesson ends; `rejected`: no run began, for load or because the flag is off."""


Registry = CollectorRegistry
"""A fresh one a process: metrics are never global."""
# When a series was made interests nobody, and would double what is told of every counter and histogram.
disable_created_metrics()  # type: ignore[no-untyped-call]


class RpcMetrics:
    """What every gRPC server here tells, and what the system says of its process."""

    def __init__(self, registry: Registry) -> None:
        ProcessCollector(registry=registry)
        method = ("grpc_service", "grpc_method")
        self.handled = Counter(
            "grpc_server_handled", "RPCs that ended, by status code", (*method, "grpc_code"), registry=registry
        )
        self.handling = Histogram(
            "grpc_server_handling_seconds", "Time an RPC took", method, buckets=_RPC_SECONDS, registry=registry
        )
        self.in_flight = Gauge("nidan_rpcs_in_flight", "RPCs being served", ("service",), registry=registry)
        self.limit = Gauge("nidan_rpc_limit", "RPCs that the service takes at once", ("service",), registry=registry)
        self.shed = Counter("nidan_shed", "Requests refused for load", ("service",), registry=registry)
        self.loop_lag = Gauge(
            "nidan_event_loop_lag_seconds", "How late the event loop came to a timer", registry=registry
        )

    def publish_zeros(self, methods: Iterable[tuple[str, str]], codes: Iterable[str]) -> None:
        """Makes the children of every method, (service, name), exist before its first call."""
        for method, code in product(tuple(methods), tuple(codes)):
            self.handled.labels(*method, code)
            self.handling.labels(*method)


class ModelMetrics:
    """What a stage tells of its model calls, under OpenTelemetry's names."""

    def __init__(self, registry: Registry) -> None:
        labels = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
        self.duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "Time a model call took",
            (*labels, "error_type"),
            buckets=_GEN_AI_SECONDS,
            registry=registry,
        )
        self.tokens = Histogram(
            "gen_ai_client_token_usage",
            "Billable tokens of a model call",
            (*labels, "gen_ai_token_type"),
            buckets=_GEN_AI_TOKENS,
            registry=registry,
        )
        self._pool_in_use = Gauge("nidan_model_pool_in_use", "Model calls under way", registry=registry)

    def watch_pool(self, in_use: Callable[[], int]) -> None:
        """`in_use` is asked at each scrape."""
        self._pool_in_use.set_function(in_use)

    def observe(self, provider: str, model: str, seconds: float, error: str, tokens: tuple[int, int] | None) -> None:
        """One ended call: its time, its error class ("" when fine), and input and output tokens when told."""
        labels = ("chat", provider, model)
        self.duration.labels(*labels, error).observe(seconds)
        for kind, count in zip(("input", "output"), tokens or (), strict=False):
            self.tokens.labels(*labels, kind).observe(count)


class LessonMetrics:
    """What the gateway tells of lessons, stages, sections, attempts and money."""

    def __init__(self, registry: Registry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        self.lessons = counter(
            "nidan_lessons",
            "Lessons asked for, by how they ended; rejected: for load, or the flag is off",
            "outcome",
            "source",
        )
        self.lesson_seconds = histogram(
            "nidan_lesson_duration_seconds", "Time a generated lesson took, once a run", _LESSON_SECONDS, "outcome"
        )
        self.lesson_usd = histogram(
            "nidan_lesson_cost_usd",
            "US dollars that a generated lesson cost, once a run",
            _LESSON_USD,
            "outcome",
        )
        self.sections_enhanced = counter(
            "nidan_lesson_sections_enhanced", "Lessons by how many of five sections were enhanced", "count"
        )
        self.stage1 = counter(
            "nidan_stage1",
            "Stage 1 by how it finally ended; the model is the one asked last",
            "outcome",
            "model",
        )
        self.stage1_seconds = histogram(
            "nidan_stage1_duration_seconds",
            "From the run's start to the end of Stage 1",
            _CALL_SECONDS,
            "model",
        )
        self.sections = counter(
            "nidan_section_enhancements",
            "Sections by the state in which they ended",
            "section",
            "state",
            "model",
        )
        self.section_seconds = histogram(
            "nidan_section_duration_seconds", "Time the enhancement of a section took", _CALL_SECONDS, "section"
        )
        self.items = counter(
            "nidan_items",
            "Items by who stands behind the reading, and whether they are translated",
            "section",
            "reading_provenance",
            "translated",
        )
        self.attempts = counter(
            "nidan_model_attempts",
            "Model calls by kind and outcome",
            "stage",
            "model",
            "kind",
            "outcome",
        )
        self.cost = counter("nidan_model_cost_usd", "US dollars for model calls, at list price", "stage", "model")
        self.wasted = counter("nidan_wasted_cost_usd", "US dollars for answers that nobody got", "stage", "model")
        self.unpriced = counter("nidan_unpriced_attempts", "Model calls whose price is not known", "model")
        self.breaker_open = gauge("nidan_breaker_open", "1 while calls to the model are held back", "model")
        self.budget_refusals = counter(
            "nidan_budget_refusals",
            "Times that a cost limit, a lesson's or the day's, left no model a turn",
            "scope",
        )
        self.shutdown_at = gauge(
            "nidan_model_shutdown_timestamp_seconds",
            "When the provider ends the model (Unix time)",
            "model",
        )
        self.lessons_in_flight = gauge("nidan_lessons_in_flight", "Lessons being made")
        self.enabled = gauge("nidan_twostage_enabled", "1 when USE_TWOSTAGE_GENERATION is on")

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
        """Makes the children of closed label sets exist before their first event."""
        self._publish_lessons(stage1_models)
        for section in sections:
            self.section_seconds.labels(section)
            # Without a model the analyser alone is counted, under no name.
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


@dataclass(frozen=True)
class Told:
    """A metric of the catalogue, as docs/metrics.md tells it."""

    name: str
    """As queries name it: a counter with its _total."""
    kind: str
    text: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    """Upper edges of a histogram, +Inf left out; empty for any other kind."""
    by: str
    """Which services tell it."""


def catalogue() -> tuple[Told, ...]:
    """Every metric that exists, in the order of this module."""
    parts = (
        (LessonMetrics(Registry()), "gateway"),
        (ModelMetrics(Registry()), "content, enhancer"),
        (RpcMetrics(Registry()), "all"),
    )
    found = [_told(metric, by) for part, by in parts for metric in vars(part).values()]
    system = [
        Told(family.name + "_total" * (family.type == "counter"), family.type, family.documentation, (), (), "all")
        for family in ProcessCollector(registry=None).collect()
    ]
    return (*found, *system)


def _told(metric: Counter | Gauge | Histogram, by: str) -> Told:
    (family,) = metric.describe()
    name = family.name + "_total" * (family.type == "counter")
    # The library has no public word for either.
    labels = tuple(metric._labelnames)  # noqa: SLF001
    edges = tuple(metric._upper_bounds[:-1]) if isinstance(metric, Histogram) else ()  # noqa: SLF001
    return Told(name, family.type, family.documentation, labels, edges, by)


@contextmanager
def metrics_served(registry: Registry, bind: str, port: int) -> Iterator[int]:
    """Serves /metrics from a thread inside the block; gives the port it got. Raises OSError when the port is taken."""
    server, _thread = start_http_server(port, bind, registry)

    def close() -> None:
        server.shutdown()
        server.server_close()

    try:
        yield int(server.server_port)
    finally:
        # It notices within half a second; nobody, the event loop least of all, waits for that.
        threading.Thread(target=close, name="metrics-close").start()


async def watch_loop_lag(gauge: Gauge) -> None:
    """Tells for ever how late the event loop comes to a timer: where waiting that no handler sees becomes visible."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(_LAG_INTERVAL_SECONDS)
        gauge.set(max(0.0, time.monotonic() - before - _LAG_INTERVAL_SECONDS))


# --- logs -----------------------------------------------------------------------------------------------------


def configure_logging(service: str, level: str) -> None:
    """One JSON object a line on standard output: event, level, timestamp, service, and what the call has bound."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without the locals of each frame: among them are keys, and what learners wrote.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    bind_contextvars(service=service)


def logger() -> Any:
    """A structlog logger; call it as `logger().info("event_name", field=value)`."""
    return structlog.get_logger()


def bind_log_context(**values: str) -> None:
    """Adds fields to every line that this task, and what it starts, writes from now on."""
    bind_contextvars(**{name: value for name, value in values.items() if value})


def log_context() -> dict[str, Any]:
    """The fields bound so far."""
    return structlog.contextvars.get_contextvars()
