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
_RETRY_AFTER_SECONDS = 1.0
"""A slot becomes free when a model call ends."""

_Wrapper = Callable[[str, grpc.aio.ServicerContext[Any, Any]], AbstractAsyncContextManager[None]]


def _wrap(handler: Any, method: str, around: _Wrapper) -> Any:
    """Runs the handler inside `around`. Our RPCs are of two kinds; a handler of any other kind is returned as it is."""
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
    """Wraps the handlers of our services, but not those of health and reflection."""

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        return handler if details.method.startswith("/grpc.") else _wrap(handler, details.method, self.around)

    def around(self, method: str, context: Any) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError


class ContextInterceptor(_Interceptor):
    """Gives every call a request id, the caller's if it is well formed, and returns it as a trailer."""

    def __init__(self, service: str) -> None:
        self._service = service

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:  # noqa: ARG002 - all interceptors share a signature
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
class _CallStatus:
    """The name of the status that a call ends with."""

    code: str = "OK"

    @contextlib.contextmanager
    def observe(self, context: Any) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):  # GeneratorExit: the caller stopped reading a stream
            self.code = "CANCELLED"
            raise
        except BaseException:
            self.code = _code_name(context)
            raise


class TraceInterceptor(_Interceptor):
    """Opens a span for every call and adds the id of a sampled trace to the log lines. Used only with traces on."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:
        call = self._tracing.served(method, dict(context.invocation_metadata() or ()))
        bind_log_context(trace_id=call.trace_id)
        status = _CallStatus()
        try:
            with status.observe(context):
                yield
        finally:
            call.finish(status.code)


class MetricsInterceptor(_Interceptor):
    """Counts every call once, when it ends; a cancelled call counts as CANCELLED."""

    def __init__(self, service: str, metrics: RpcMetrics) -> None:
        self._in_flight = metrics.in_flight.labels(service)
        self._metrics = metrics

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:
        _, service, name = method.split("/", 2)
        started = time.monotonic()
        self._in_flight.inc()
        status = _CallStatus()
        try:
            with status.observe(context):
                yield
        finally:
            self._in_flight.dec()
            self._metrics.handled.labels(service, name, status.code).inc()
            self._metrics.handling.labels(service, name).observe(time.monotonic() - started)


def _code_name(context: Any) -> str:
    code = context.code()
    known = {member.value[0]: member.name for member in grpc.StatusCode}
    return str(known.get(code, getattr(code, "name", "UNKNOWN")))


class ErrorInterceptor(_Interceptor):
    """Turns a ServiceError into its status. Any other exception becomes INTERNAL: the log names it, the caller does not
    see it."""

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
        except Exception as error:  # noqa: BLE001 - nothing above can turn it into a status
            logger().exception("rpc_failed_unexpectedly", method=method)
            unexpected = ServiceError("Internal error. The service's log has the details under this request id.")
            await _abort(context, unexpected, error)


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Authorizes every RPC of the port, health and reflection included, before it parses the request."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        return handler if handler is None else self._guard(handler, details.method)

    def _guard(self, handler: Any, method: str) -> Any:
        """The same handler, authorized first. A single request arrives as bytes and is parsed only after that."""
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        inner = getattr(handler, kind)
        single = kind.startswith("unary")
        read = _reader(handler.request_deserializer) if single else _unchanged

        async def unary(request: Any, context: Any) -> Any:
            async with self._authorized(method, context):
                return await inner(read(request), context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._authorized(method, context), contextlib.aclosing(inner(read(request), context)) as replies:
                async for reply in replies:
                    yield reply

        return _KINDS[kind](
            stream if inspect.isasyncgenfunction(inner) else unary,
            None if single else handler.request_deserializer,
            handler.response_serializer,
        )

    @contextlib.asynccontextmanager
    async def _authorized(self, method: str, context: Any) -> AsyncIterator[None]:
        call = CallInfo(method, dict(context.invocation_metadata() or ()), _certified_names(context))
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._authorizer.authorize(call))
            except ServiceError as error:
                if method.startswith("/grpc."):  # ErrorInterceptor does not wrap health and reflection
                    await _abort(context, error)
                raise
            yield


_KINDS: dict[str, Callable[..., Any]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


def _unchanged(request: Any) -> Any:
    return request


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[Any], Any]:
    """Returns a parser that raises InvalidRequestError for bytes that are not a request."""

    def read(raw: Any) -> Any:
        try:
            return deserialize(raw) if deserialize else raw
        except Exception as error:
            raise InvalidRequestError("The request is not a message of this RPC.", reason="NOT_UNDERSTOOD") from error

    return read


def _certified_names(context: Any) -> frozenset[str]:
    """The common name and alternative names of the peer's certificate, which the TLS handshake has verified."""
    peer: dict[str, Sequence[bytes]] = context.auth_context()
    found = [name for kind in ("x509_common_name", "x509_subject_alternative_name") for name in peer.get(kind, ())]
    return frozenset(name.decode(errors="replace") for name in found)


class AdmissionInterceptor(_Interceptor):
    """Refuses calls above the limit at once. A call that waited here would wait where none of our deadlines applies."""

    def __init__(self, limited: Sequence[str], limit: int) -> None:
        self._limited = frozenset(limited)
        self._limit = limit
        self._active = 0

    @contextlib.asynccontextmanager
    async def around(self, method: str, context: Any) -> AsyncIterator[None]:  # noqa: ARG002 - all interceptors share a signature
        if method not in self._limited:
            yield
            return
        if self._active >= self._limit:
            raise OverloadedError(
                f"This service is full: it serves at most {self._limit} calls at once. Try again soon.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1


async def _abort(context: Any, error: ServiceError, cause: BaseException | None = None) -> NoReturn:
    """Ends the call with the error's status and keeps the trailers set so far, such as the request id."""
    status = to_rpc_status(error)
    trailers = (*(context.trailing_metadata() or ()), *status.trailing_metadata)
    await context.abort(status.code, status.details, trailers)
    raise AssertionError("abort returned") from cause
