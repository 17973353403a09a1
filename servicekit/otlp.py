"""Spans on their way to a collector. The one module that knows OpenTelemetry; it is imported only when traces are on.

No lesson ever waits here: a span that ends is put into a bounded queue, and a thread sends what is in it. A collector
that is not there costs the spans that do not fit, and one line in the log.
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
"""By name; what is None or empty is left out. Never text of a prompt or an answer that nobody asked to capture, nor a
reason that may quote one."""

_EXPORT_SECONDS = 3.0
"""For one batch, its second try included."""
_FLUSH_SECONDS = 5.0
_SEND_EVERY_MS = 2000
_QUEUE, _BATCH = 2048, 256
_QUEUE_WITH_TEXT, _BATCH_WITH_TEXT = 256, 32
"""A span with prompt and answer may have 75 KB: a queue of them 20 MB, and a batch less than the 4 MB of a message."""
_PROPAGATOR = TraceContextTextMapPropagator()


class Span:
    """A span that has begun."""

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
        """What tells another process to go on under this span (W3C Trace Context)."""
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers, trace.set_span_in_context(self._span))
        return headers

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(_given(attributes))

    def fail(self, error_type: str) -> None:
        """The span ended in an error, of a closed set of them. The first one told stands."""
        if not self._failed:
            self._failed = True
            self._span.set_attribute("error.type", error_type)
            self._span.set_status(trace.StatusCode.ERROR, error_type)

    def end(self, at_ns: int | None = None) -> None:
        """`at_ns` is nanoseconds since 1970; None is now."""
        self._span.end(at_ns)


class Tracer:
    """A service's spans. Raises ValueError when another OTEL_ variable, which the exporter reads itself, is wrong."""

    def __init__(self, service: str, endpoint: str, ratio: float, *, with_text: bool) -> None:
        """`ratio` is the share of traces to sample, where no parent has decided it. `endpoint` is a URL."""
        _tell_nothing_beside_our_log()
        secure = endpoint.startswith("https:")
        self._exporter = OTLPSpanExporter(
            endpoint, insecure=not secure, timeout=_EXPORT_SECONDS, compression=grpc.Compression.Gzip
        )
        queue, batch = (_QUEUE_WITH_TEXT, _BATCH_WITH_TEXT) if with_text else (_QUEUE, _BATCH)
        self._processor = BatchSpanProcessor(_Telling(self._exporter, service), queue, _SEND_EVERY_MS, batch)
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
        """`kind` is server, client or internal; `parent` the span above, or the headers that tell of it."""
        context = (
            trace.set_span_in_context(parent._span)  # noqa: SLF001 - a span of this module's own
            if isinstance(parent, Span)
            else _PROPAGATOR.extract(parent)
        )
        of_kind = trace.SpanKind[kind.upper()]
        return Span(self._tracer.start_span(name, context, of_kind, _given(attributes), start_time=began_ns))

    async def close(self) -> None:
        """Sends what is left, for a few seconds at the most: a collector that is gone must not hold up an end."""
        loop = asyncio.get_running_loop()
        sent = asyncio.Event()
        threading.Thread(
            target=_ended, args=(self._processor, loop, sent.set), name="traces-close", daemon=True
        ).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await sent.wait()
        self._exporter.shutdown()


def _ended(processor: BatchSpanProcessor, loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    processor.shutdown()  # type: ignore[no-untyped-call]
    with contextlib.suppress(RuntimeError):  # the loop did not wait
        loop.call_soon_threadsafe(tell)


class _Telling(SpanExporter):
    """Sends, and tells when that begins to fail and when it is well again; not each time."""

    def __init__(self, exporter: SpanExporter, service: str) -> None:
        self._exporter = exporter
        self._service = service
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the thread
            result, reason = SpanExportResult.FAILURE, repr(error)[:200]
        else:
            reason = "the collector did not take them"
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            logger().warning("traces_not_exported", service=self._service, spans=len(spans), reason=reason)
        elif self._failing and not failing:
            logger().info("traces_exported_again", service=self._service)
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """The tracer ends the exporter itself, whether or not the queue is empty by then."""


def _tell_nothing_beside_our_log() -> None:
    """The library tells of each try in lines that are not JSON; `_Telling` says it once."""
    library = logging.getLogger("opentelemetry")
    library.propagate = False
    if not library.handlers:
        library.addHandler(logging.NullHandler())


def _given(attributes: Attributes) -> dict[str, str | bool | int | float | Sequence[str]]:
    return {name: value for name, value in attributes.items() if value is not None and value not in ("", ())}
