"""The interceptors of every gRPC server, outermost first: request context, trace, metrics, errors, call, admission.

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
from servicekit.certificates import dns_names
from servicekit.errors import InvalidRequestError, OverloadedError, ServiceError, to_rpc_status
from servicekit.telemetry import RpcMetrics, bind_log_context, logger
from servicekit.tracing import Tracing, note

REQUEST_ID_KEY = "x-request-id"
LESSON_ID_KEY = "x-lesson-id"
_SAFE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_REQUEST_SECONDS = 10.0
"""A request follows the headers of its call within this time."""
_MOST_AWAITING = 600
"""Calls whose headers came and whose request did not; each takes some 30 KB."""
_FLUSH_SECONDS = 10.0
"""How long a call may outlast the longest one of its service, until its last reply is sent."""
_RETRY_AFTER_SECONDS = 1.0
"""A slot becomes free when a model call ends."""

_Wrapper = Callable[[str, grpc.aio.ServicerContext[Any, Any]], AbstractAsyncContextManager[None]]


def _wrap(handler: Any, method: str, around: _Wrapper) -> Any:
    """Runs the handler inside `around`. A handler of a kind that we do not have is returned as it is."""
    if handler is None:
        return None
    if handler.stream_stream is not None and not inspect.isasyncgenfunction(handler.stream_stream):
        served = handler.stream_stream  # as CallInterceptor makes it

        async def both(requests: Any, context: Any) -> None:
            async with around(method, context):
                await served(requests, context)

        return grpc.stream_stream_rpc_method_handler(both, None, handler.response_serializer)
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
        bind_log_context(service=self._service, request_id=request_id)
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


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Makes every handler of the port one that needs no request to begin, health and reflection included.

    So a call is authorized from its headers alone; the wait for its request is bounded, and so is the whole call, the
    sending of its replies included: a caller that sends nothing, or reads nothing, holds nothing for long.
    """

    def __init__(self, authorizer: Authorizer | None, longest_call_seconds: float) -> None:
        self._authorizer = authorizer
        self._longest_call_seconds = longest_call_seconds
        self._awaiting = 0
        self.active = 0
        """Calls of our services that are being served."""

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        return handler if handler is None else self._served(handler, details.method)

    def _served(self, handler: Any, method: str) -> Any:
        kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
        inner, read = getattr(handler, kind), _reader(handler.request_deserializer)

        async def serve(requests: Any, context: Any) -> None:
            async with self._authorized(method, context), self._bounded(method):
                given = read(await self._request(requests)) if kind.startswith("unary") else _all(requests, read)
                if kind.endswith("unary"):
                    await context.write(await inner(given, context))
                    return
                async with contextlib.aclosing(inner(given, context)) as replies:
                    async for reply in replies:
                        await context.write(reply)

        return grpc.stream_stream_rpc_method_handler(serve, None, handler.response_serializer)

    async def _request(self, requests: Any) -> Any:
        """The one request of a call. Raises InvalidRequestError when none comes in time, OverloadedError when too many
        calls wait for theirs."""
        if self._awaiting >= _MOST_AWAITING:
            raise OverloadedError("Too many calls have sent no request yet.", retry_after_seconds=_REQUEST_SECONDS)
        self._awaiting += 1
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                async for request in requests:
                    return request
        except TimeoutError:
            pass
        finally:
            self._awaiting -= 1
        raise InvalidRequestError(f"No request came within {_REQUEST_SECONDS:g} s.", reason="NO_REQUEST")

    @contextlib.asynccontextmanager
    async def _bounded(self, method: str) -> AsyncIterator[None]:
        ours = not method.startswith("/grpc.")
        limit = asyncio.timeout(self._longest_call_seconds + _FLUSH_SECONDS if ours else None)
        self.active += ours
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            # No status: it would wait behind the replies that the caller does not read.
            raise asyncio.CancelledError from error
        finally:
            self.active -= ours

    @contextlib.asynccontextmanager
    async def _authorized(self, method: str, context: Any) -> AsyncIterator[None]:
        metadata = dict(context.invocation_metadata() or ())
        with contextlib.ExitStack() as stack:
            try:
                if self._authorizer is not None:
                    call = CallInfo(method, metadata, _certified_names(context))
                    stack.enter_context(self._authorizer.authorize(call))
            except ServiceError as error:
                if method.startswith("/grpc."):  # ErrorInterceptor does not wrap health and reflection
                    await _abort(context, error)
                raise
            # A stranger's word for a lesson never stands in the log.
            lesson_id = _well_formed(metadata.get(LESSON_ID_KEY))
            bind_log_context(lesson_id=lesson_id)
            if lesson_id:
                note({"nidan.lesson_id": lesson_id})
            yield


_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


async def _all(requests: Any, read: Callable[[Any], Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield read(request)


def _reader(deserialize: Callable[[bytes], Any] | None) -> Callable[[Any], Any]:
    """Returns a parser that raises InvalidRequestError for bytes that are not a request."""

    def read(raw: Any) -> Any:
        try:
            return deserialize(raw) if deserialize else raw
        except Exception as error:
            raise InvalidRequestError("The request is not a message of this RPC.", reason="NOT_UNDERSTOOD") from error

    return read


def _certified_names(context: Any) -> frozenset[str]:
    """The DNS names of the peer's certificate, which the TLS handshake has verified."""
    peer: dict[str, Sequence[bytes]] = context.auth_context()
    return dns_names(next(iter(peer.get("x509_pem_cert", ())), b""))


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
