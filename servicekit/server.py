"""Runs a gRPC service: health, interceptors, metrics, a clean end on SIGTERM.

Server options follow what was measured: see docs/adr/0004. Interceptors, outermost first: request context, trace,
metrics, errors, the door (docs/adr/0012), admission. Handlers are asyncio only and raise `ServiceError`; nothing else
leaves them as a status.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import grpc
import uvloop
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servicekit.auth import Door, Knock
from servicekit.errors import InvalidRequestError, OverloadedError, ServiceError, to_rpc_status
from servicekit.settings import ServiceSettings, SettingsError, is_loopback, load, refuse
from servicekit.telemetry import (
    Registry,
    RpcMetrics,
    bind_log_context,
    configure_logging,
    logger,
    metrics_served,
    watch_loop_lag,
)
from servicekit.tls import CertificateFiles, server_credentials
from servicekit.tracing import Tracing

S = TypeVar("S", bound=ServiceSettings)

REQUEST_ID_KEY = "x-request-id"
LESSON_ID_KEY = "x-lesson-id"
_SAFE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_COME_BACK_SECONDS = 1.0
"""A place is free again when some model call ends."""
CONNECTION_AGE_MS = 300_000
"""Connections are recycled, so that clients see new replicas."""


def server_options(longest_call_seconds: float, max_request_bytes: int = MAX_MESSAGE_BYTES) -> list[tuple[str, Any]]:
    """Options of every server. The grace of a connection's age must exceed the longest call, or that call is cut."""
    return [
        ("grpc.so_reuseport", 0),  # else two processes may silently share a port
        ("grpc.server.max_pending_requests", 20_000),  # undocumented; a burst test holds them to what they do
        ("grpc.server.max_pending_requests_hard_limit", 40_000),
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", int((longest_call_seconds + 30) * 1000)),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ]


def channel_options() -> list[tuple[str, Any]]:
    """Options of a long-lived channel. No retryPolicy: a retried call of ours is money, so its owner decides."""
    return [
        ("grpc.keepalive_time_ms", 40_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A service that is started again is found within a second, not after a backoff of minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),  # a proxy is for the way to the providers, not between services
        ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
    ]


@dataclass
class Service:
    """What makes one service: the composition root fills it in, `run` does the rest."""

    name: str
    bind: str
    port: int
    health_port: int
    metrics_port: int
    grpc_names: Sequence[str]
    """Full names of its services, for health and reflection."""
    register: Callable[[grpc.aio.Server], None]
    registry: Registry
    longest_call_seconds: float
    calls_limit: int
    """Calls that it takes at once: what `limited` is held to, and what autoscaling measures its load against."""
    limited: Sequence[str] = ()
    """Full method names (/package.Service/Method) of the RPCs refused above the limit."""
    door: Door | None = None
    """Who may call, health and reflection on the main port included; None: everybody who can connect."""
    tls: CertificateFiles | None = None
    """The main port's certificate; None: plaintext. The health port is plaintext always, with nothing but health."""
    max_request_bytes: int = MAX_MESSAGE_BYTES
    tracing: Tracing | None = None
    reflection: bool = False
    shutdown_delay_seconds: float = 0.0
    close: Sequence[Callable[[], Awaitable[None]]] = field(default_factory=tuple)
    """Called in order once the last RPC has ended."""


@dataclass(frozen=True)
class Ports:
    """What the service really listens on."""

    grpc: int
    health: int
    metrics: int


def start(name: str, settings_kind: type[S], build: Callable[[S], Awaitable[Service]]) -> None:
    """A composition root's whole main: reads the settings, builds the service, serves until SIGTERM.

    A wrong setting or a taken port ends the process before any port is open, with 2 and one line that says what to set.
    """

    async def serve() -> None:
        settings = load(settings_kind)
        configure_logging(name, settings.log_level)
        service = await build(settings)
        # What start-up made stays for ever: the collector need not walk through it, which took up to 70 ms of the loop.
        gc.collect()
        gc.freeze()
        await run(service)

    try:
        uvloop.run(serve())
    except (SettingsError, OSError) as error:
        refuse(name, error)


async def run(service: Service) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns. Raises OSError when a port is taken."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(service) as ports:
        logger().info("server_started", port=ports.grpc, health_port=ports.health, metrics_port=ports.metrics)
        await stop.wait()
        logger().info("server_stopping")
    logger().info("server_stopped")


@contextlib.asynccontextmanager
async def serving(service: Service) -> AsyncIterator[Ports]:
    """Serves inside the block; leaving it is the clean end: NOT_SERVING, drain, close."""
    metrics = RpcMetrics(service.registry)
    metrics.in_flight.labels(service.name)
    metrics.limit.labels(service.name).set(service.calls_limit)
    metrics.shed.labels(service.name)
    metrics.publish_zeros(_methods(service.grpc_names), grpc.StatusCode.__members__)
    checks = health.aio.HealthServicer()
    server = grpc.aio.server(
        interceptors=(
            _ContextInterceptor(service.name),
            *([_TraceInterceptor(service.tracing)] if service.tracing else []),
            _MetricsInterceptor(service.name, metrics),
            _ErrorInterceptor(service.name, metrics),
            *([_DoorInterceptor(service.door)] if service.door else []),
            _AdmissionInterceptor(service.limited, service.calls_limit),
        ),
        options=server_options(service.longest_call_seconds, service.max_request_bytes),
    )
    service.register(server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if service.reflection:
        reflection.enable_server_reflection([*service.grpc_names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    probe = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(checks, probe)
    credentials = server_credentials(service.tls) if service.tls else None
    if credentials is None and not is_loopback(service.bind):
        logger().warning("plaintext_port", bind=service.bind, note="who can reach the network can read what is said")
    with metrics_served(service.registry, service.bind, service.metrics_port) as metrics_port:
        ports = Ports(
            _bound(server, service.bind, service.port, credentials),
            _bound(probe, service.bind, service.health_port),
            metrics_port,
        )
        await server.start()
        await probe.start()
        lag = asyncio.create_task(watch_loop_lag(metrics.loop_lag))
        for name in ("", *service.grpc_names):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        try:
            yield ports
        finally:
            await checks.enter_graceful_shutdown()
            await asyncio.sleep(service.shutdown_delay_seconds)
            await server.stop(service.longest_call_seconds)
            await probe.stop(0)
            lag.cancel()
            for close in service.close:
                await close()
            if service.tracing:
                await service.tracing.close()


def _methods(services: Sequence[str]) -> list[tuple[str, str]]:
    """Full name of the service and name of the method, for each that the services have."""
    pool = descriptor_pool.Default()
    return [(name, method) for name in services for method in pool.FindServiceByName(name).methods_by_name]


def _bound(server: grpc.aio.Server, bind: str, port: int, tls: grpc.ServerCredentials | None = None) -> int:
    """grpc answers 0, or raises RuntimeError, when it could not have the port; both are an OSError here."""
    address = f"{bind}:{port}"
    try:
        bound = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {bind}:{port}; is another process using it?") from error
    if bound == 0:
        raise OSError(f"cannot listen on {bind}:{port}; is another process using it?")
    return int(bound)


# --- interceptors ---------------------------------------------------------------------------------------------

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


class _ContextInterceptor(_Interceptor):
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


class _TraceInterceptor(_Interceptor):
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


class _MetricsInterceptor(_Interceptor):
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


class _ErrorInterceptor(_Interceptor):
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


class _DoorInterceptor(grpc.aio.ServerInterceptor):
    """Asks the door before a request is even read, for every RPC of the port: health and reflection, too."""

    def __init__(self, door: Door) -> None:
        self._door = door

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
        knock = Knock(method, dict(context.invocation_metadata() or ()), _certified_names(context))
        with contextlib.ExitStack() as inside:
            try:
                inside.enter_context(self._door.enter(knock))
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


class _AdmissionInterceptor(_Interceptor):
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
