"""One trace a lesson, across the services and the model calls.

Without OTEL_EXPORTER_OTLP_ENDPOINT traces are off: each function here reads one context variable, and OpenTelemetry is
not imported. The active span belongs to a task and to the tasks that it starts, as the bound log fields do. Names
follow OpenTelemetry's conventions for RPC and GenAI; our own begin with `nidan.`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from servicekit.settings import ServiceSettings, SettingsError
from servicekit.telemetry import log_context

if TYPE_CHECKING:
    from servicekit.otlp import Attributes, Span, Tracer

MOST_CHARACTERS = 8000
"""The length of each captured text, in characters."""
_HEADERS = ("traceparent", "tracestate")
# Statuses that are the server's fault. Source: OpenTelemetry's conventions for gRPC servers.
_SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


@dataclass(frozen=True)
class Tracing:
    """The tracing of a service, when it is on."""

    tracer: Tracer
    captures_text: bool
    """Whether the spans of model calls hold prompts and answers."""

    def served(self, method: str, metadata: Mapping[str, str | bytes]) -> ServedCall:
        """Begins the span of a call to /package.Service/Method, under the caller's span if the metadata hold one.

        It becomes the active span of this task, which serves this call alone.
        """
        name = method.removeprefix("/")
        fields = log_context()
        attributes: Attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": name,
            "nidan.request_id": fields.get("request_id"),
            "nidan.lesson_id": fields.get("lesson_id"),
        }
        parent = {key: value for key in _HEADERS if isinstance(value := metadata.get(key), str)}
        call = ServedCall(self.tracer.begin(name, "server", attributes, parent))
        _active.set(_ActiveSpan(self, call.span))
        return call

    async def close(self) -> None:
        """Sends the spans left in the queue, for at most five seconds."""
        await self.tracer.close()


@dataclass(frozen=True)
class ServedCall:
    """A call that the server is serving."""

    span: Span

    @property
    def trace_id(self) -> str:
        """Empty when the trace is not sampled and so never reaches the collector."""
        return self.span.trace_id if self.span.sampled else ""

    def finish(self, code: str) -> None:
        """Ends the span. `code` is the name of the call's status."""
        self.span.note({"rpc.response.status_code": code})
        if code in _SERVER_ERRORS:
            self.span.fail(code)
        self.span.end()


@dataclass(frozen=True)
class _ActiveSpan:
    tracing: Tracing
    span: Span


_active: ContextVar[_ActiveSpan | None] = ContextVar("active_span", default=None)


def tracing(service: str, settings: ServiceSettings, *, captures_text: bool = False) -> Tracing | None:
    """The tracing of a service, None when it is off. Raises SettingsError when a setting is wrong."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    from servicekit.otlp import Tracer  # noqa: PLC0415 - costs 0.25 s and 6 MB, only with traces on

    try:
        endpoint, ratio = settings.otel_exporter_otlp_endpoint, settings.otel_traces_sampler_arg
        return Tracing(Tracer(service, endpoint, ratio, with_text=captures_text), captures_text)
    except ValueError as error:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_ENDPOINT: cannot send traces: {error}") from error


@contextmanager
def span(name: str, attributes: Attributes, kind: str = "internal") -> Iterator[None]:
    """A span around a block, under the active one. `kind` is client for a call to another process.

    An exception fails the span under its class's name, unless `failed` gave a better one. Cancellation is no failure.
    """
    above = _active.get()
    if above is None:
        yield
        return
    begun = above.tracing.tracer.begin(name, kind, attributes, above.span)
    _active.set(_ActiveSpan(above.tracing, begun))
    try:
        yield
    except Exception as error:
        begun.fail(type(error).__name__)
        raise
    finally:
        _active.set(above)
        begun.end()


def note(attributes: Attributes) -> None:
    """Adds attributes to the active span."""
    here = _active.get()
    if here is not None:
        here.span.note(attributes)


def failed(error_type: str) -> None:
    """Marks the active span as failed. `error_type` is of a closed set."""
    here = _active.get()
    if here is not None:
        here.span.fail(error_type)


def headers() -> dict[str, str]:
    """Headers for a call to another service, so that its span is under the active one."""
    here = _active.get()
    return here.span.headers if here is not None else {}


def sampled() -> bool:
    """Whether the active span will reach the collector."""
    here = _active.get()
    return here is not None and here.span.sampled


def captures_text() -> bool:
    """Whether the settings ask for prompts and answers in spans."""
    here = _active.get()
    return here is not None and here.tracing.captures_text


def add_ended_call(name: str, seconds: float, attributes: Attributes, error_type: str = "") -> None:
    """Adds a span under the active one for a call to another process that took `seconds` and has just ended."""
    here = _active.get()
    if here is None:
        return
    now = time.time_ns()
    call = here.tracing.tracer.begin(name, "client", attributes, here.span, now - int(seconds * 1e9))
    if error_type:
        call.fail(error_type)
    call.end(now)
