"""Each error crosses a real connection with its status, reason and advice, and stays small."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from lesson.v1 import lesson_service_pb2 as pb
from servicekit import errors
from servicekit.errors import FieldViolation, RemoteError, ServiceError, read_error, to_status
from servicekit.telemetry import Registry
from tests.servicekit.served import served


async def remote(error: BaseException) -> RemoteError:
    async def fail(_request: Any, _context: Any) -> pb.GenerateLessonResponse:
        raise error

    async with served(fail) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=5)
    return read_error(raised.value)


def tree() -> list[type[ServiceError]]:
    return [ServiceError, *ServiceError.__subclasses__()]


OURS = [kind for kind in tree() if kind.__module__ == "servicekit.errors"]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
async def test_an_error_arrives_as_it_was_raised(kind: type[ServiceError]) -> None:
    raised = kind(
        "what happened",
        retry_after_seconds=1.5,
        violations=[FieldViolation("spec.topic", "is empty")],
        stage="stage2",
        lesson_id="abc",
    )
    received = await remote(raised)
    assert received.status is kind.status
    assert (received.reason, received.retryable, received.fault) == (kind.reason, kind.retryable, kind.fault)
    assert (received.message, received.stage, received.lesson_id) == ("what happened", "stage2", "abc")
    assert received.retry_after_seconds == 1.5
    assert received.violations == (FieldViolation("spec.topic", "is empty"),)


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = errors.__doc__ or ""
    for kind in OURS:
        line = next(line for line in drawn.splitlines() if kind.__name__ in line)
        assert kind.status.name in line
        assert kind.reason in line


def test_details_stay_small_however_much_is_wrong() -> None:
    violations = [FieldViolation(f"spec.field_{number}", "x" * 5000) for number in range(500)]
    status = to_status(errors.InvalidRequestError("y" * 50_000, violations=violations))
    assert status.ByteSize() <= errors.MAX_DETAIL_BYTES


async def test_an_unexpected_error_is_internal_and_reveals_no_secret() -> None:
    received = await remote(RuntimeError("password=hunter2"))
    assert (received.status, received.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in received.message


async def test_an_error_without_our_details_is_read_by_its_status() -> None:
    async def abort(_request: Any, context: Any) -> pb.GenerateLessonResponse:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        raise AssertionError

    async with served(abort) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=5)
    assert read_error(raised.value) == RemoteError(grpc.StatusCode.UNAVAILABLE, "gone", retryable=True)


async def test_a_deadline_that_passes_is_counted_as_cancelled() -> None:
    registry = Registry()

    async def slow(_request: Any, _context: Any) -> pb.GenerateLessonResponse:
        await asyncio.sleep(5)
        raise AssertionError

    async with served(slow, registry=registry) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=0.2)
        await asyncio.sleep(0.1)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    labels = {"grpc_service": "lesson.v1.LessonService", "grpc_method": "GenerateLesson", "grpc_code": "CANCELLED"}
    assert registry.get_sample_value("grpc_server_handled_total", labels) == 1
    assert registry.get_sample_value("nidan_rpcs_in_flight", {"service": "test"}) == 0
