"""Runs a gRPC service: ports, health, interceptors, metrics, and a clean stop on SIGTERM.

The server options follow measurements: see docs/adr/0004.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import uvloop
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from servicekit.auth import Authorizer
from servicekit.interceptors import (
    AdmissionInterceptor,
    AuthInterceptor,
    ContextInterceptor,
    ErrorInterceptor,
    MetricsInterceptor,
    TraceInterceptor,
)
from servicekit.settings import ServiceSettings, SettingsError, is_loopback, load, refuse
from servicekit.telemetry import (
    Registry,
    RpcMetrics,
    configure_logging,
    logger,
    metrics_served,
    watch_loop_lag,
)
from servicekit.tls import CertificateFiles, server_credentials
from servicekit.tracing import Tracing

S = TypeVar("S", bound=ServiceSettings)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
CONNECTION_AGE_MS = 300_000
"""Servers close connections at this age, so that clients find new replicas."""


def server_options(longest_call_seconds: float, max_request_bytes: int = MAX_MESSAGE_BYTES) -> list[tuple[str, Any]]:
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
        ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ]


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
        service = await build(settings)
        # Objects from start-up live for ever. A collection that walked through them took up to 70 ms of the event loop.
        gc.collect()
        gc.freeze()
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

    A caller that watches health on the main port holds the drain up to `longest_call_seconds`; one that also stops
    reading can hold it for ever."""
    metrics = RpcMetrics(service.registry)
    metrics.in_flight.labels(service.name)
    metrics.limit.labels(service.name).set(service.calls_limit)
    metrics.shed.labels(service.name)
    metrics.publish_zeros(_methods(service.grpc_names), grpc.StatusCode.__members__)
    checks = health.aio.HealthServicer()
    server = grpc.aio.server(
        interceptors=(
            ContextInterceptor(service.name),
            *([TraceInterceptor(service.tracing)] if service.tracing else []),
            MetricsInterceptor(service.name, metrics),
            ErrorInterceptor(service.name, metrics),
            *([AuthInterceptor(service.authorizer)] if service.authorizer else []),
            AdmissionInterceptor(service.limited, service.calls_limit),
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
        logger().warning("plaintext_port", bind=service.bind, note="calls are readable on this network")
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
    """Every method of the services, as (full service name, method name)."""
    pool = descriptor_pool.Default()
    return [(name, method) for name in services for method in pool.FindServiceByName(name).methods_by_name]


def _bound(server: grpc.aio.Server, bind: str, port: int, tls: grpc.ServerCredentials | None = None) -> int:
    """Binds the port. gRPC returns 0 or raises RuntimeError for a taken port; this raises OSError for both."""
    address = f"{bind}:{port}"
    try:
        bound = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {bind}:{port}; is another process using it?") from error
    if bound == 0:
        raise OSError(f"cannot listen on {bind}:{port}; is another process using it?")
    return int(bound)
