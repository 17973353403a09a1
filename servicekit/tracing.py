"""One trace a lesson, over the services and the model calls: which spans there are, and under which one is at work.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT says where to send them; then every function here is one look at a context
variable, and OpenTelemetry is not even imported. The span at work belongs to a task and to what that task starts, as
the bound fields of the log do. Names follow OpenTelemetry's conventions for RPC and GenAI; ours begin with `nidan.`.
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
"""Of each text that is captured, where capturing is asked for."""
_HEADERS = ("traceparent", "tracestate")
# What a server is to blame for; the rest is the caller's affair. Source: OpenTelemetry's conventions for gRPC servers.
_SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


@dataclass(frozen=True)
class Tracing:
    """A service's tracing, switched on."""

    tracer: Tracer
    captures_text: bool
    """Whether prompts and answers go with the spans of model calls."""

    def served(self, method: str, metadata: Mapping[str, str | bytes]) -> ServedCall:
        """A call begins: /package.Service/Method, under its caller's span if the metadata tell of one.

        Its span is the one at work in this task from now on: each call has a task of its own.
        """
        name = method.removeprefix("/")
        told = log_context()
        attributes: Attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": name,
            "nidan.request_id": told.get("request_id"),
            "nidan.lesson_id": told.get("lesson_id"),
        }
        parent = {key: value for key in _HEADERS if isinstance(value := metadata.get(key), str)}
        call = ServedCall(self.tracer.begin(name, "server", attributes, parent))
        _at_work.set(_Spot(self, call.span))
        return call

    async def close(self) -> None:
        """Sends what is left, for at most five seconds."""
        await self.tracer.close()


@dataclass(frozen=True)
class ServedCall:
    """A call that is being served."""

    span: Span

    @property
    def trace_id(self) -> str:
        """Empty when the trace is not sampled: nobody would find it."""
        return self.span.trace_id if self.span.sampled else ""

    def ended(self, code: str) -> None:
        """`code` is the name of the status."""
        self.span.note({"rpc.response.status_code": code})
        if code in _SERVER_ERRORS:
            self.span.fail(code)
        self.span.end()


@dataclass(frozen=True)
class _Spot:
    tracing: Tracing
    span: Span


_at_work: ContextVar[_Spot | None] = ContextVar("span_at_work", default=None)


def tracing(service: str, settings: ServiceSettings, *, captures_text: bool = False) -> Tracing | None:
    """A service's tracing, None when it is off. Raises SettingsError when it cannot be switched on."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    from servicekit.otlp import Tracer  # noqa: PLC0415 - a quarter of a second and 6 MB, for those who asked for it

    try:
        endpoint, ratio = settings.otel_exporter_otlp_endpoint, settings.otel_traces_sampler_arg
        return Tracing(Tracer(service, endpoint, ratio, with_text=captures_text), captures_text)
    except ValueError as error:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_ENDPOINT: traces cannot be sent: {error}") from error


@contextmanager
def span(name: str, attributes: Attributes, kind: str = "internal") -> Iterator[None]:
    """A span around a block, under the one at work. `kind` is client for what another process is asked to do.

    An exception is an error of its class, unless `failed` told a better name; being cancelled is none.
    """
    above = _at_work.get()
    if above is None:
        yield
        return
    begun = above.tracing.tracer.begin(name, kind, attributes, above.span)
    _at_work.set(_Spot(above.tracing, begun))
    try:
        yield
    except Exception as error:
        begun.fail(type(error).__name__)
        raise
    finally:
        _at_work.set(above)
        begun.end()


def note(attributes: Attributes) -> None:
    """More attributes of the span at work."""
    here = _at_work.get()
    if here is not None:
        here.span.note(attributes)


def failed(error_type: str) -> None:
    """The span at work ended in an error; `error_type` is of a closed set."""
    here = _at_work.get()
    if here is not None:
        here.span.fail(error_type)


def headers() -> dict[str, str]:
    """What a call to another service carries, so that its span is under the one at work."""
    here = _at_work.get()
    return here.span.headers if here is not None else {}


def sampled() -> bool:
    """Whether what is noted here will be seen by anybody."""
    here = _at_work.get()
    return here is not None and here.span.sampled


def captures_text() -> bool:
    """Whether prompts and answers are to be noted."""
    here = _at_work.get()
    return here is not None and here.tracing.captures_text


def past(name: str, seconds: float, attributes: Attributes, error_type: str = "") -> None:
    """A call to another process that has just ended after so many seconds, as a span under the one at work."""
    here = _at_work.get()
    if here is None:
        return
    now = time.time_ns()
    told = here.tracing.tracer.begin(name, "client", attributes, here.span, now - int(seconds * 1e9))
    if error_type:
        told.fail(error_type)
    told.end(now)
