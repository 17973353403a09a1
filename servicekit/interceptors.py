"""The interceptors of every gRPC server, outermost first: request context, trace, metrics, errors, auth, admission.

Handlers are asyncio only and raise `ServiceError`; `ErrorInterceptor` turns it into the call's status.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc

from servicekit.auth import Authorizer, CallInfo
from servicekit.errors import InvalidRequestError, OverloadedError, ServiceError, to_rpc_status
from servicekit.telemetry import RpcMetrics, bind_log_context, logger
from servicekit.tracing import Tracing

REQUEST_ID_KEY = "x-request-id"
LESSON_ID_KEY = "x-lesson-id"
_SAFE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_COME_BACK_SECONDS = 1.0
"""A place is free again when some model call ends."""

_Around = Callable[[str, grpc.aio.ServicerContext[Any, Any]], AbstractAsyncContextManager[None]]


def _wrapped(handler: Any, method: str, around: _Around) -> Any:
    """The handler inside `around`, for the two kinds of RPC that exist here; any other kind passes untouched."""
    if handler is None:
        return None
    if handler.unary_unary is not None:
        inner = handler.unary_unary

        async def unary(request: Any, context: Any) -> Any:
            async with around(method, context):
                return await inner(request, context)

        return grpc.unary_unary_rpc_method_handler(unary, handler.request_deserializer, handler.response_serializer)
    if handler.unary_stream is not None:
        streamed = handler.unary_stream

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async with around(method, context), contextlib.aclosing(streamed(request, context)) as replies:
                async for reply in replies:
                    yield reply

        return grpc.unary_stream_rpc_method_handler(stream, handler.request_deserializer, handler.response_serializer)
    return handler


class _Interceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of ours; health and reflection are left alone."""

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        return handler if details.method.startswith("/grpc.") else _wrapped(handler, details.method, self.around)

    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError


class ContextInterceptor(_Interceptor):
    """Gives every call a request id: the caller's when it is well formed, else a new one; it goes back as a trailer."""

    def __init__(self, service: str) -> None:
        self._service = service

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:  # noqa: ARG002 - one signature for all
        metadata = dict(context.invocation_metadata() or ())
        request_id = _well_formed(metadata.get(REQUEST_ID_KEY)) or uuid.uuid4().hex
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        bind_log_context(
            service=self._service, request_id=request_id, lesson_id=_well_formed(metadata.get(LESSON_ID_KEY))
        )
        yield


def _well_formed(value: str | bytes | None) -> str:
    return value if isinstance(value, str) and _SAFE_ID.fullmatch(value) else ""


@dataclass
class _End:
    """The status that a call ends with, by its name."""

    code: str = "OK"

    @contextlib.contextmanager
    def seen(self, context: Any) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):  # the latter for a stream that is merely no longer read
            self.code = "CANCELLED"
            raise
        except BaseException:
            self.code = _code_name(context)
            raise


class TraceInterceptor(_Interceptor):
    """The span of every call; the log lines of one that is sampled name its trace. Not there when traces are off."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:
        call = self._tracing.served(method, dict(context.invocation_metadata() or ()))
        bind_log_context(trace_id=call.trace_id)
        end = _End()
        try:
            with end.seen(context):
                yield
        finally:
            call.ended(end.code)


class MetricsInterceptor(_Interceptor):
    """Counts every call once, at its end, CANCELLED included."""

    def __init__(self, service: str, metrics: RpcMetrics) -> None:
        self._in_flight = metrics.in_flight.labels(service)
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:
        _, service, name = method.split("/", 2)
        started = time.monotonic()
        self._in_flight.inc()
        end = _End()
        try:
            with end.seen(context):
                yield
        finally:
            self._in_flight.dec()
            self._metrics.handled.labels(service, name, end.code).inc()
            self._metrics.handling.labels(service, name).observe(time.monotonic() - started)


def _code_name(context: Any) -> str:
    code = context.code()
    known = {member.value[0]: member.name for member in grpc.StatusCode}
    return str(known.get(code, getattr(code, "name", "UNKNOWN")))


class ErrorInterceptor(_Interceptor):
    """Turns a ServiceError into its status; anything else is INTERNAL, told in the log and not to the caller."""

    def __init__(self, service: str, metrics: RpcMetrics) -> None:
        self._shed = metrics.shed.labels(service)

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:
        try:
            yield
        except ServiceError as error:
            if error.reason == OverloadedError.reason:
                self._shed.inc()
            await _abort(context, error)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001 - the last place that can turn it into a status
            logger().exception("rpc_failed_unexpectedly", method=method)
            unexpected = ServiceError("Internal error; the service's log has it under this request id.")
            await _abort(context, unexpected, error)


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Asks the door before a request is even read, for every RPC of the port: health and reflection, too."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        return handler if handler is None else self._guarded(handler, details.method)

    def _guarded(self, handler: Any, method: str) -> Any:
        """The same handler behind the door. A single request comes to it as bytes: a stranger's are never parsed."""
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        inner = getattr(handler, kind)
        single = kind.startswith("unary")
        read = _reader(handler.request_deserializer) if single else _as_it_is

        async def answered(request: Any, context: Any) -> Any:
            async with self._entered(method, context):
                return await inner(read(request), context)

        async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._entered(method, context), contextlib.aclosing(inner(read(request), context)) as replies:
                async for reply in replies:
                    yield reply

        return _KINDS[kind](
            streamed if inspect.isasyncgenfunction(inner) else answered,
            None if single else handler.request_deserializer,
            handler.response_serializer,
        )

    @contextlib.asynccontextmanager
    async def _entered(self, method: str, context: Any) -> AsyncIterator[None]:
        call = CallInfo(method, dict(context.invocation_metadata() or ()), _certified_names(context))
        with contextlib.ExitStack() as inside:
            try:
                inside.enter_context(self._authorizer.authorize(call))
            except ServiceError as error:
                if method.startswith("/grpc."):  # these pass by the interceptor that would tell it
                    await _abort(context, error)
                raise
            yield


_KINDS: dict[str, Callable[..., Any]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


def _as_it_is(request: Any) -> Any:
    return request


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[Any], Any]:
    """Reads a request, and raises InvalidRequestError for bytes that are none."""

    def read(raw: Any) -> Any:
        try:
            return deserialize(raw) if deserialize else raw
        except Exception as error:
            raise InvalidRequestError("The request is no message of this RPC.", reason="NOT_UNDERSTOOD") from error

    return read


def _certified_names(context: Any) -> frozenset[str]:
    """Common name and alternative names of the peer's certificate, which the connection has verified."""
    told: dict[str, Sequence[bytes]] = context.auth_context()
    found = [name for kind in ("x509_common_name", "x509_subject_alternative_name") for name in told.get(kind, ())]
    return frozenset(name.decode(errors="replace") for name in found)


class AdmissionInterceptor(_Interceptor):
    """Refuses what is above the limit at once: a call that waits here would wait where no deadline of ours sees it."""

    def __init__(self, limited: Sequence[str], limit: int) -> None:
        self._limited = frozenset(limited)
        self._limit = limit
        self._under_way = 0

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:  # noqa: ARG002 - one signature for all
        if method not in self._limited:
            yield
            return
        if self._under_way >= self._limit:
            raise OverloadedError(
                f"As many calls are under way as this service takes ({self._limit}).",
                retry_after_seconds=_COME_BACK_SECONDS,
            )
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


async def _abort(context: Any, error: ServiceError, cause: BaseException | None = None) -> NoReturn:
    """Ends the call with the error's status; the trailers set so far, the request id among them, go with it."""
    status = to_rpc_status(error)
    trailers = (*(context.trailing_metadata() or ()), *status.trailing_metadata)
    await context.abort(status.code, status.details, trailers)
    raise AssertionError("abort returned") from cause
