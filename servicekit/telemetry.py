"""Metrics and JSON log lines: everything an operator can see of a service.

Holds the metrics of RPCs and of model calls; a service adds its own through `MetricFactory`. Label values come from the
configuration or from closed sets. Their children are published at zero at start, so that rates and alerts work from the
first failure.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
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


class MetricFactory:
    """Makes metrics in one registry, so that the packages that own them need not know the metrics library."""

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


@dataclass(frozen=True)
class MetricInfo:
    """A metric of the catalogue, as docs/metrics.md lists it."""

    name: str
    """As queries name it: a counter with its _total."""
    kind: str
    text: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...]
    """Upper edges of a histogram, without +Inf; empty for any other kind."""
    services: str
    """The services that export it."""


def describe_metrics(part: object, services: str) -> tuple[MetricInfo, ...]:
    """Every metric that is an attribute of `part`, in the order of definition."""
    metrics = [value for value in vars(part).values() if isinstance(value, Counter | Gauge | Histogram)]
    return tuple(_info(metric, services) for metric in metrics)


def process_metrics() -> tuple[MetricInfo, ...]:
    """What the system reports about the process of every service."""
    return tuple(
        MetricInfo(
            family.name + "_total" * (family.type == "counter"), family.type, family.documentation, (), (), "all"
        )
        for family in ProcessCollector(registry=None).collect()
    )


def _info(metric: Counter | Gauge | Histogram, services: str) -> MetricInfo:
    (family,) = metric.describe()
    name = family.name + "_total" * (family.type == "counter")
    # The library has no public name for either.
    labels = tuple(metric._labelnames)  # noqa: SLF001
    edges = tuple(metric._upper_bounds[:-1]) if isinstance(metric, Histogram) else ()  # noqa: SLF001
    return MetricInfo(name, family.type, family.documentation, labels, edges, services)


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
