"""Strangers at a port hold no stop, take little memory, and nobody beside them waits: processes and raw frames."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.access.keys import Scope
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from tests.access.callers import Ring
from tests.services.processes import Process, start
from tests.services.raw_http2 import DATA, END_STREAM, connected, frame, headers, message

LESSON = "/lesson.v1.LessonService/GenerateLesson"
WATCH = "/grpc.health.v1.Health/Watch"
MIB = 32.0


@asynccontextmanager
async def gateway(tmp_path: Path, **env: str) -> AsyncIterator[Process]:
    ring = Ring(tmp_path / "keys.toml")
    ring.add("web", Scope.GENERATE)
    ports = {f"GATEWAY_{name}": "0" for name in ("PORT", "HEALTH_PORT", "METRICS_PORT")}
    process = await start("gateway", GATEWAY_KEYS_FILE=str(ring.file), **(ports | env))
    try:
        await process.until_started()
        yield process
    finally:
        if not process.ended:
            await process.end()


async def is_served(process: Process) -> None:
    """Health, metrics and a call are answered, each within a second."""
    began = time.monotonic()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.log[-1]['health_port']}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        reply = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        stub = lesson_service_pb2_grpc.LessonServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    url = f"http://127.0.0.1:{process.log[-1]['metrics_port']}/metrics"
    assert await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read())
    assert time.monotonic() - began < 3.0


@pytest.mark.parametrize("port", ["port", "health_port"])
async def test_a_watcher_that_does_not_read_holds_no_stop(tmp_path: Path, port: str) -> None:
    async with gateway(tmp_path) as process:
        writer = await connected(process.log[-1][port], window=0)
        writer.write(headers(1, WATCH) + frame(DATA, END_STREAM, 1, message(health_pb2.HealthCheckRequest())))
        await writer.drain()
        await asyncio.sleep(0.3)
        began = time.monotonic()
        assert await process.end() == 0
        assert time.monotonic() - began < 5.0
        writer.close()


async def test_an_honest_watcher_is_told_and_ended_by_a_stop(tmp_path: Path) -> None:
    async with gateway(tmp_path) as process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        statuses = aiter(health.Watch(health_pb2.HealthCheckRequest()))
        first = await anext(statuses)
        ending = asyncio.create_task(process.end())
        rest = [reply.status async for reply in statuses]
        assert await ending == 0
    assert (first.status, rest) == (
        health_pb2.HealthCheckResponse.SERVING,
        [health_pb2.HealthCheckResponse.NOT_SERVING],
    )


async def test_calls_of_headers_alone_cost_little(tmp_path: Path) -> None:
    async with gateway(tmp_path) as process:
        before = process.resident_mb
        writers = [await connected(process.port) for _ in range(20)]
        for writer in writers:
            writer.write(b"".join(headers(1 + 2 * number, LESSON) for number in range(600)))
            await writer.drain()
        await asyncio.sleep(0.5)
        await is_served(process)
        assert process.resident_mb - before < MIB
        for writer in writers:
            writer.close()


@pytest.mark.slow
@pytest.mark.parametrize("port", ["port", "health_port", "metrics_port"])
async def test_silent_connections_keep_nobody_out(tmp_path: Path, port: str) -> None:
    async with gateway(tmp_path) as process:
        before = process.resident_mb
        writers = [(await asyncio.open_connection("127.0.0.1", process.log[-1][port]))[1] for _ in range(900)]
        await is_served(process)
        assert process.resident_mb - before < MIB
        for writer in writers:
            writer.close()


async def test_a_strangers_lesson_id_is_in_no_log(tmp_path: Path) -> None:
    async with gateway(tmp_path) as process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        stub = lesson_service_pb2_grpc.LessonServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GenerateLesson(pb.GenerateLessonRequest(), metadata=(("x-lesson-id", "lesson-of-another"),))
        await process.end()
    assert "caller_refused" in str(process.log)
    assert "lesson-of-another" not in str(process.log)


@pytest.mark.parametrize("bind", ["::1", "[::1]"])
async def test_all_ports_listen_on_ipv6(tmp_path: Path, bind: str) -> None:
    async with gateway(tmp_path, BIND=bind) as process:
        for name in ("port", "health_port", "metrics_port"):
            _, writer = await asyncio.open_connection("::1", process.log[-1][name])
            writer.close()
