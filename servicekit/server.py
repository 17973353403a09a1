"""Runs a gRPC service: ports, health, interceptors, metrics, and a clean stop on SIGTERM.

The server options follow measurements: see docs/adr/0004.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import uvloop
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from servicekit.auth import Authorizer
from servicekit.health import SERVICE_NAME, HealthServicer
from servicekit.interceptors import (
    AdmissionInterceptor,
    CallInterceptor,
    ContextInterceptor,
    ErrorInterceptor,
    MetricsInterceptor,
    TraceInterceptor,
)
from servicekit.metrics_server import metrics_served
from servicekit.native_lines import native_lines_logged
from servicekit.settings import ServiceSettings, SettingsError, is_loopback, load, refuse
from servicekit.telemetry import (
    Registry,
    RpcMetrics,
    configure_logging,
    logger,
    watch_loop_lag,
)
from servicekit.tls import CertificateFiles, server_credentials
from servicekit.tracing import Tracing

S = TypeVar("S", bound=ServiceSettings)

_PROBE_STREAMS = 16
_FILES = 65_536
_DRAIN_BEAT_SECONDS = 0.05
_LAST_REPLIES_SECONDS = 1.0
"""How long replies that are written may take to leave."""

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_STREAMS = 100
"""Calls at once on one connection; a client waits with more."""
CONNECTION_AGE_MS = 300_000
"""Servers close connections at this age, so that clients find new replicas."""


def server_options(
    longest_call_seconds: float, max_request_bytes: int = MAX_MESSAGE_BYTES, max_streams: int = MAX_STREAMS
) -> list[tuple[str, Any]]:
    """The options of every server. The grace after a connection's age must exceed the longest call, or gRPC cuts it."""
    return [
        ("grpc.so_reuseport", 0),  # or two processes may share a port unnoticed
        ("grpc.server.max_pending_requests", 20_000),  # undocumented; tests/access/test_burst.py measures what they do
        ("grpc.server.max_pending_requests_hard_limit", 40_000),
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", int((longest_call_seconds + 30) * 1000)),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_concurrent_streams", max_streams),
        ("grpc.http.overload_protection", 0),
        *_BOUNDS,
    ]


_BOUNDS: list[tuple[str, Any]] = [
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_allowed_incoming_connections", 4_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # callers may ping each 10 s
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.absolute_max_metadata_size", 24 * 1024),
]
"""What every port bounds, against peers that connect and do nothing, or too much."""


def channel_options() -> list[tuple[str, Any]]:
    """The options of a long-lived channel. It has no retryPolicy: each retry costs money, so the caller decides."""
    return [
        ("grpc.keepalive_time_ms", 40_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A channel finds a restarted service within a second, not after a backoff of minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),  # a proxy serves calls to providers, not calls between services
        ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
    ]


@dataclass
class Service:
    """One service, as its composition root describes it and `run` serves it."""

    name: str
    bind: str
    port: int
    health_port: int
    metrics_port: int
    grpc_names: Sequence[str]
    """The full names of its gRPC services, for health and reflection."""
    register: Callable[[grpc.aio.Server], None]
    registry: Registry
    longest_call_seconds: float
    calls_limit: int
    """How many calls of the `limited` RPCs it serves at once. Autoscaling measures the load against it."""
    limited: Sequence[str] = ()
    """The full method names (/package.Service/Method) of the RPCs that are refused above the limit."""
    authorizer: Authorizer | None = None
    """Decides who may call the main port, its health and reflection included. None: every peer that can connect."""
    tls: CertificateFiles | None = None
    """The main port's certificate; None: plaintext. The health port is always plaintext and serves health alone."""
    max_request_bytes: int = MAX_MESSAGE_BYTES
    max_streams: int = MAX_STREAMS
    health_bind: str = ""
    """Where the health port listens; empty: where the main port does."""
    metrics_bind: str = ""
    tracing: Tracing | None = None
    reflection: bool = False
    shutdown_delay_seconds: float = 0.0
    close: Sequence[Callable[[], Awaitable[None]]] = field(default_factory=tuple)
    """Called in this order after the last RPC has ended."""


@dataclass(frozen=True)
class Ports:
    """The ports that the service got."""

    grpc: int
    health: int
    metrics: int


def start(name: str, settings_kind: type[S], build: Callable[[S], Awaitable[Service]]) -> None:
    """The main function of a service: reads the settings, builds the service, serves until SIGTERM.

    With a wrong setting or a taken port the process exits with status 2 before it opens any port. One line says
    what to set.
    """

    async def serve() -> None:
        settings = load(settings_kind)
        configure_logging(name, settings.log_level)
        _raise_file_limit()
        service = await build(settings)
        # Objects from start-up live for ever. A collection that walked through them took up to 70 ms of the event loop.
        gc.collect()
        gc.freeze()
        with native_lines_logged():
            await run(service)

    try:
        uvloop.run(serve())
    except (SettingsError, OSError) as error:
        refuse(name, error)


async def run(service: Service) -> None:
    """Serves until SIGTERM or SIGINT, drains, and returns. Raises OSError when a port is taken."""
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
    """Serves inside the block. Leaving it stops the service: health says NOT_SERVING, calls drain, `close` runs.

    Only calls of our own services hold the drain, up to `longest_call_seconds`. Raises OSError when a port is taken.
    """
    metrics = RpcMetrics(service.registry)
    metrics.in_flight.labels(service.name)
    metrics.limit.labels(service.name).set(service.calls_limit)
    metrics.shed.labels(service.name)
    metrics.publish_zeros(_methods(service.grpc_names), grpc.StatusCode.__members__)
    checks = HealthServicer(service.grpc_names)
    calls = CallInterceptor(service.authorizer, service.longest_call_seconds)
    server = grpc.aio.server(
        interceptors=(
            ContextInterceptor(service.name),
            *([TraceInterceptor(service.tracing)] if service.tracing else []),
            MetricsInterceptor(service.name, metrics),
            ErrorInterceptor(service.name, metrics),
            calls,
            AdmissionInterceptor(service.limited, service.calls_limit),
        ),
        options=server_options(service.longest_call_seconds, service.max_request_bytes, service.max_streams),
    )
    service.register(server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    if service.reflection:
        _reflect([*service.grpc_names, SERVICE_NAME, reflection.SERVICE_NAME], server)
    probe = grpc.aio.server(
        interceptors=(CallInterceptor(None, service.longest_call_seconds),),
        options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", _PROBE_STREAMS), *_BOUNDS],
    )
    health_pb2_grpc.add_HealthServicer_to_server(checks, probe)
    credentials = server_credentials(service.tls) if service.tls else None
    if credentials is None and not is_loopback(service.bind):
        logger().warning("plaintext_port", bind=service.bind, note="calls are readable on this network")
    async with metrics_served(service.registry, service.metrics_bind or service.bind, service.metrics_port) as scraped:
        ports = Ports(
            _bound(server, service.bind, service.port, credentials),
            _bound(probe, service.health_bind or service.bind, service.health_port),
            scraped,
        )
        await server.start()
        await probe.start()
        lag = asyncio.create_task(watch_loop_lag(metrics.loop_lag))
        try:
            yield ports
        finally:
            checks.stop()
            await asyncio.sleep(service.shutdown_delay_seconds)
            await _drained(server, calls, service.longest_call_seconds)
            await probe.stop(0)
            lag.cancel()
            for close in service.close:
                await close()
            if service.tracing:
                await service.tracing.close()


async def _drained(server: grpc.aio.Server, calls: CallInterceptor, seconds: float) -> None:
    """Stops the server as soon as no call of our services runs, whatever others hold open; at the latest in time."""
    stopped = asyncio.ensure_future(server.stop(seconds))
    while calls.active and not stopped.done():
        await asyncio.wait([stopped], timeout=_DRAIN_BEAT_SECONDS)
    await asyncio.wait([stopped], timeout=_LAST_REPLIES_SECONDS)
    await server.stop(0)
    await stopped


def _reflect(names: Sequence[str], server: grpc.aio.Server) -> None:
    """Serves reflection under the names of both its versions, whose messages are the same."""
    servicer = reflection.aio.ReflectionServicer(service_names=names)
    for version in ("v1alpha", "v1"):
        method = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        handlers = {"ServerReflectionInfo": method}
        name = f"grpc.reflection.{version}.ServerReflection"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))


def _methods(services: Sequence[str]) -> list[tuple[str, str]]:
    """Every method of the services, as (full service name, method name)."""
    pool = descriptor_pool.Default()
    return [(name, method) for name in services for method in pool.FindServiceByName(name).methods_by_name]


def _bound(server: grpc.aio.Server, bind: str, port: int, tls: grpc.ServerCredentials | None = None) -> int:
    """Binds the port. gRPC returns 0 or raises RuntimeError for a taken port; this raises OSError for both."""
    host = bind.strip("[]")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    refused = f"cannot listen on {address}: another process uses the port, or BIND is no address of this machine"
    try:
        bound = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(refused) from error
    if bound == 0:
        raise OSError(refused)
    return int(bound)


def _raise_file_limit() -> None:
    """A connection is a file; many systems start a process with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
