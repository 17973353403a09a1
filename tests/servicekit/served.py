"""A real gRPC server whose GenerateLesson is the test's own, and what tests ask of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.server import Service, serving
from servicekit.telemetry import Registry

OK = pb.GenerateLessonResponse(master_json="{}")
Handler = Callable[[Any, Any], Awaitable[pb.GenerateLessonResponse]]


class Servicer(lesson_service_pb2_grpc.LessonServiceServicer):
    """A servicer whose behaviour the test supplies."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def StreamLesson(self, request: Any, context: Any) -> AsyncIterator[pb.StreamLessonResponse]:  # noqa: N802
        yield pb.StreamLessonResponse()

    async def GenerateLesson(self, request: Any, context: Any) -> pb.GenerateLessonResponse:  # noqa: N802
        return await self._handler(request, context)

    def register(self, server: Any) -> None:
        lesson_service_pb2_grpc.add_LessonServiceServicer_to_server(self, server)


def service(handler: Handler, **changes: Any) -> Service:
    values: dict[str, Any] = {
        "name": "test",
        "bind": "127.0.0.1",
        "port": 0,
        "health_port": 0,
        "metrics_port": 0,
        "grpc_names": ("lesson.v1.LessonService",),
        "register": Servicer(handler).register,
        "registry": Registry(),
        "longest_call_seconds": 5.0,
        "calls_limit": 10,
    }
    return Service(**values | changes)


@asynccontextmanager
async def served(handler: Handler, **changes: Any) -> AsyncIterator[Any]:
    """A stub of a real server whose GenerateLesson is the test's handler."""
    async with (
        serving(service(handler, **changes)) as ports,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        yield lesson_service_pb2_grpc.LessonServiceStub(channel)


async def quick(_request: Any, _context: Any) -> pb.GenerateLessonResponse:
    return OK


async def health(port: int, name: str = "") -> str:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=2)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def scraped(port: int) -> str:
    url = f"http://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()
