"""Metrics and JSON log lines: what an operator sees of a service.

Holds the metrics of RPCs and of model calls; a service adds its own through `MetricFactory`. Label values come from the
configuration or from closed sets. Their children are published at zero at start, so that rates and alerts work from the
first failure.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterable
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
)
from structlog.contextvars import bind_contextvars
from structlog.tracebacks import ExceptionDictTransformer

from servicekit.safe_json import safe_dumps

_LAG_INTERVAL_SECONDS = 0.5
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

Registry = CollectorRegistry
"""Each process makes a new one: metrics are never global."""
# Without this, every counter and histogram would also export the time at which its series was made.
disable_created_metrics()  # type: ignore[no-untyped-call]


class RpcMetrics:
    """The metrics of every gRPC server, and those of its process."""

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
        """Creates the series of every method, (service, name), before its first call."""
        for method, code in product(tuple(methods), tuple(codes)):
            self.handled.labels(*method, code)
            self.handling.labels(*method)


class ModelMetrics:
    """The metrics of a stage's model calls, under OpenTelemetry's names."""

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
        """Reads the gauge from `in_use` at each scrape."""
        self._pool_in_use.set_function(in_use)

    def observe(self, provider: str, model: str, seconds: float, error: str, tokens: tuple[int, int] | None) -> None:
        """Records an ended call: its time, its error class ("" for none), and its input and output tokens if known."""
        labels = ("chat", provider, model)
        self.duration.labels(*labels, error).observe(seconds)
        for kind, count in zip(("input", "output"), tokens or (), strict=False):
            self.tokens.labels(*labels, kind).observe(count)


class MetricFactory:
    """Makes metrics in one registry, so that their owners need not import the metrics library."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """`name` without its _total; `text` is the help text."""
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        """`buckets` are the upper edges, without +Inf."""
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)


async def watch_loop_lag(gauge: Gauge) -> None:
    """Measures for ever how late the event loop runs a timer. This shows waiting that no handler sees."""
    while True:
        before = time.monotonic()
        await asyncio.sleep(_LAG_INTERVAL_SECONDS)
        gauge.set(max(0.0, time.monotonic() - before - _LAG_INTERVAL_SECONDS))


# --- logs -----------------------------------------------------------------------------------------------------


def configure_logging(service: str, level: str) -> None:
    """Writes one JSON object a line to standard output: event, level, timestamp, service, and the bound fields."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Frames without their locals, which can hold keys and texts of learners.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(safe_dumps),
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
    """Adds fields to every later log line of this task and of the tasks that it starts."""
    bind_contextvars(**{name: value for name, value in values.items() if value})


def log_context() -> dict[str, Any]:
    """The fields bound so far."""
    return structlog.contextvars.get_contextvars()
