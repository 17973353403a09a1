"""Sends spans to a collector. Only this module knows OpenTelemetry, and it is imported only when traces are on.

A lesson never waits for it: an ended span goes into a bounded queue, and a thread sends the queue. Without a collector
the spans that do not fit are lost, and the log has one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from servicekit.telemetry import logger

Attributes = Mapping[str, str | bool | int | float | Sequence[str] | None]
"""Values by name; None and empty values are left out. They hold no text of a prompt or an answer unless the settings
ask for it, and no reason that may quote one."""

_EXPORT_SECONDS = 3.0
"""The time for one batch, its retry included."""
_FLUSH_SECONDS = 5.0
_SEND_EVERY_MS = 2000
_QUEUE, _BATCH = 2048, 256
_QUEUE_WITH_TEXT, _BATCH_WITH_TEXT = 256, 32
"""A span with prompt and answer has up to 75 KB: a queue has up to 20 MB, and a batch is under a message's 4 MB."""
_PROPAGATOR = TraceContextTextMapPropagator()


class Span:
    """A span under way."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._failed = False

    @property
    def sampled(self) -> bool:
        return self._span.is_recording()

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that make another process continue under this span (W3C Trace Context)."""
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers, trace.set_span_in_context(self._span))
        return headers

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(_given(attributes))

    def fail(self, error_type: str) -> None:
        """Marks the span as failed. `error_type` is of a closed set; the first one stays."""
        if not self._failed:
            self._failed = True
            self._span.set_attribute("error.type", error_type)
            self._span.set_status(trace.StatusCode.ERROR, error_type)

    def end(self, at_ns: int | None = None) -> None:
        """`at_ns` is nanoseconds since 1970; None is now."""
        self._span.end(at_ns)


class Tracer:
    """Makes the spans of a service. Raises ValueError when an OTEL_ variable that the exporter reads is wrong."""

    def __init__(self, service: str, endpoint: str, ratio: float, *, with_text: bool) -> None:
        """`ratio` is the share of traces to sample when no parent has decided. `endpoint` is a URL."""
        _silence_library_log()
        secure = endpoint.startswith("https:")
        self._exporter = OTLPSpanExporter(
            endpoint, insecure=not secure, timeout=_EXPORT_SECONDS, compression=grpc.Compression.Gzip
        )
        queue, batch = (_QUEUE_WITH_TEXT, _BATCH_WITH_TEXT) if with_text else (_QUEUE, _BATCH)
        self._processor = BatchSpanProcessor(_LoggingExporter(self._exporter, service), queue, _SEND_EVERY_MS, batch)
        provider = TracerProvider(
            ParentBased(TraceIdRatioBased(ratio)),
            Resource.create({"service.name": service, "service.namespace": "nidan"}),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("nidan")

    def begin(
        self,
        name: str,
        kind: str,
        attributes: Attributes,
        parent: Span | Mapping[str, str],
        began_ns: int | None = None,
    ) -> Span:
        """Begins a span. `kind` is server, client or internal; `parent` is a span, or the headers that describe one."""
        context = (
            trace.set_span_in_context(parent._span)  # noqa: SLF001 - a span of this module's own
            if isinstance(parent, Span)
            else _PROPAGATOR.extract(parent)
        )
        of_kind = trace.SpanKind[kind.upper()]
        return Span(self._tracer.start_span(name, context, of_kind, _given(attributes), start_time=began_ns))

    async def close(self) -> None:
        """Sends the queue for at most five seconds: a missing collector must not delay the end of the service."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()
        threading.Thread(
            target=_shut_down, args=(self._processor, loop, sent.set), name="traces-close", daemon=True
        ).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await sent.wait()
        self._exporter.shutdown()


def _shut_down(processor: BatchSpanProcessor, loop: asyncio.AbstractEventLoop, on_done: Callable[[], None]) -> None:
    processor.shutdown()  # type: ignore[no-untyped-call]
    with contextlib.suppress(RuntimeError):  # the loop did not wait
        loop.call_soon_threadsafe(on_done)


class _LoggingExporter(SpanExporter):
    """Exports spans and logs the first failure and the recovery, not every failure."""

    def __init__(self, exporter: SpanExporter, service: str) -> None:
        self._exporter = exporter
        self._service = service
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - no error may end the export thread
            result, reason = SpanExportResult.FAILURE, repr(error)[:200]
        else:
            reason = "the collector refused the spans"
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            logger().warning("traces_not_exported", service=self._service, spans=len(spans), reason=reason)
        elif self._failing and not failing:
            logger().info("traces_exported_again", service=self._service)
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Does nothing: `Tracer.close` shuts the exporter down, even with spans left in the queue."""


def _silence_library_log() -> None:
    """The library logs every try in lines that are not JSON. `_LoggingExporter` logs failures instead."""
    library = logging.getLogger("opentelemetry")
    library.propagate = False
    if not library.handlers:
        library.addHandler(logging.NullHandler())


def _given(attributes: Attributes) -> dict[str, str | bool | int | float | Sequence[str]]:
    return {name: value for name, value in attributes.items() if value is not None and value not in ("", ())}
