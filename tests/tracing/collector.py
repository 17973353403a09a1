"""A real OTLP collector for tests that keeps the spans it receives."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

KINDS = {trace_pb2.Span.SPAN_KIND_SERVER: "server", trace_pb2.Span.SPAN_KIND_CLIENT: "client"}


@dataclass(frozen=True)
class Seen:
    """A received span."""

    service: str
    name: str
    kind: str
    trace_id: str
    id: str
    parent_id: str
    attributes: dict[str, Any]
    error: str
    """The error of its status; empty for none."""
    began_ns: int
    ended_ns: int


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """`refuse` makes it answer with an error that the exporter does not retry."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.spans: list[Seen] = []
        self.exports = 0
        self.raw = b""
        """All received spans, in order."""
        self.refuse = False
        self.ready = asyncio.Event()
        """The collector answers only after this event."""
        self.ready.set()
        self.waiting = 0

    async def Export(  # noqa: N802 - the protocol's name
        self, request: pb.ExportTraceServiceRequest, context: Any
    ) -> pb.ExportTraceServiceResponse:
        self.exports += 1
        if self.refuse:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not today")
        self.waiting += 1
        await self.ready.wait()
        self.waiting -= 1
        self.raw += request.SerializeToString()
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            self.spans.extend(_seen(service, span) for scope in resource.scope_spans for span in scope.spans)
        return pb.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Seen]:
        """The spans of a name, in the order of their start."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.began_ns)

    def only(self, name: str) -> Seen:
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} of {name}"
        return found[0]

    def parent(self, span: Seen) -> Seen | None:
        return next((other for other in self.spans if other.id == span.parent_id), None)

    def path(self, span: Seen) -> str:
        """Names from the root down to the span; RPCs without their package."""
        above = self.parent(span)
        name = span.name.removeprefix("lesson.v1.")
        return f"{self.path(above)} > {name}" if above else name

    def paths(self) -> Counter[str]:
        return Counter(self.path(span) for span in self.spans)


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Runs inside the block, on a free port."""
    taken = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(taken, server)  # type: ignore[no-untyped-call]
    taken.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield taken
    finally:
        await server.stop(0)


def _seen(service: str, span: trace_pb2.Span) -> Seen:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Seen(
        service=service,
        name=span.name,
        kind=KINDS.get(span.kind, "internal"),
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_values(span.attributes),
        error=span.status.message if failed else "",
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
    )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(entry) for entry in value.array_value.values]
    return getattr(value, kind or "string_value")
