"""The server runner: health on both ports, bursts, and a clean stop."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import grpc
import pytest

from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.errors import UpstreamError, read_error
from servicekit.interceptors import MetricsInterceptor
from servicekit.probe import serves
from servicekit.server import server_options, serving
from servicekit.telemetry import Registry, RpcMetrics
from tests.servicekit.served import OK, health, quick, scraped, served, service


async def test_health_is_served_on_the_main_and_on_the_health_port() -> None:
    async with serving(service(quick)) as ports:
        for port in (ports.grpc, ports.health):
            assert await health(port) == "SERVING"
            assert await health(port, "lesson.v1.LessonService") == "SERVING"
        assert await asyncio.to_thread(serves, f"127.0.0.1:{ports.health}")
    assert not await asyncio.to_thread(serves, f"127.0.0.1:{ports.health}", 0.3)


async def test_the_health_port_answers_nothing_but_health() -> None:
    async with (
        serving(service(quick)) as ports,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.health}") as channel,
    ):
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=2)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_under_way_ends_well_while_the_server_stops_and_probes_see_it_stop() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any, _context: Any) -> pb.GenerateLessonResponse:
        begun.set()
        await finish.wait()
        return OK

    seen: list[str] = []
    running = serving(service(slow, shutdown_delay_seconds=0.3))
    ports = await running.__aenter__()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        call = asyncio.ensure_future(stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=10))
        await begun.wait()
        stopping = asyncio.ensure_future(running.__aexit__(None, None, None))
        await asyncio.sleep(0.1)
        seen.append(await health(ports.health))
        finish.set()
        response = await call
        await stopping
    assert seen == ["NOT_SERVING"]
    assert response == OK


async def test_above_its_limit_a_service_sheds_at_once_with_a_retry_time() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow(_request: Any, _context: Any) -> pb.GenerateLessonResponse:
        begun.set()
        await finish.wait()
        return OK

    limits = {"calls_limit": 1, "limited": ("/lesson.v1.LessonService/GenerateLesson",)}
    async with (
        serving(service(slow, **limits)) as ports,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        first = asyncio.ensure_future(stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=10))
        await begun.wait()
        with pytest.raises(grpc.aio.AioRpcError) as shed:
            await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=2)
        # The service still serves RPCs without a limit.
        assert len([event async for event in stub.StreamLesson(pb.StreamLessonRequest(), timeout=2)]) == 1
        metrics = await scraped(ports.metrics)
        finish.set()
        assert await first == OK
        assert await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=2) == OK

    error = read_error(shed.value)
    assert (error.status, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert error.retry_after_seconds == 1.0
    assert 'nidan_rpc_limit{service="test"} 1.0' in metrics
    assert 'nidan_shed_total{service="test"} 1.0' in metrics
    assert 'nidan_rpcs_in_flight{service="test"} 1.0' in metrics


async def test_a_stopping_server_lets_an_aborting_call_send_its_error() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def fails(_request: Any, _context: Any) -> pb.GenerateLessonResponse:
        begun.set()
        await finish.wait()
        raise UpstreamError("gone")

    running = serving(service(fails))
    ports = await running.__aenter__()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        call = asyncio.ensure_future(stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=10))
        await begun.wait()
        stopping = asyncio.ensure_future(running.__aexit__(None, None, None))
        await asyncio.sleep(0.05)
        finish.set()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        await stopping
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_taken_port_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with serving(service(quick, port=port)):
                pass


async def test_a_burst_above_the_default_queue_loses_no_call() -> None:
    """The pending-queue options are undocumented: without them some of 3,000 calls end as bare CANCELLED."""
    async with served(quick) as stub:
        calls = [stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=60) for _ in range(3000)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [result for result in results if result != OK] == []


def test_a_connections_grace_is_above_the_longest_call() -> None:
    options = dict(server_options(180.0))
    assert options["grpc.max_connection_age_grace_ms"] > 180_000
    assert options["grpc.so_reuseport"] == 0


async def test_metrics_are_served_and_a_call_is_counted_by_its_code() -> None:
    running = serving(service(quick))
    async with running as ports, grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=2)
        url = f"http://127.0.0.1:{ports.metrics}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            text = await response.text()
    line = 'grpc_method="GenerateLesson",grpc_service="lesson.v1.LessonService"} 1.0'
    assert f'grpc_server_handled_total{{grpc_code="OK",{line}' in text
    assert 'nidan_rpcs_in_flight{service="test"} 0.0' in text
    assert "nidan_event_loop_lag_seconds" in text


async def test_a_stream_that_its_caller_abandons_counts_as_cancelled() -> None:
    registry = Registry()
    around = MetricsInterceptor("test", RpcMetrics(registry)).around("/lesson.v1.ContentService/GenerateContent", None)
    with pytest.raises(GeneratorExit):
        async with around:
            raise GeneratorExit
    labels = {"grpc_service": "lesson.v1.ContentService", "grpc_method": "GenerateContent", "grpc_code": "CANCELLED"}
    assert registry.get_sample_value("grpc_server_handled_total", labels) == 1
