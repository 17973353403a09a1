"""Three real processes and the offline model: started, killed, started again, ended by SIGTERM, and their memory."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from lesson.v1 import lesson_pb2
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import read_error
from tests.services.processes import REQUEST, House, Process, offline_house, start, stub

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("processes")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[House]:
    async with offline_house() as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def house(shared: House) -> House:
    await shared.make_whole()
    return shared


async def test_resident_memory_after_a_lesson_is_within_bounds(house: House) -> None:
    async with stub(house.processes["gateway"]) as lessons:
        await lessons.GenerateLesson(REQUEST, timeout=20)
        resident = {name: process.resident_mb for name, process in house.processes.items()}
    print(resident)
    assert resident["offline_model"] <= 150
    assert resident["content_service"] <= 150
    assert resident["gateway"] <= 150
    assert resident["enhancer_service"] <= 200


async def test_a_killed_service_fails_lessons_until_it_is_started_again(house: House) -> None:
    async with stub(house.processes["gateway"]) as lessons:
        whole = await lessons.GenerateLesson(REQUEST, timeout=20)
        assert whole.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE

        await house.kill("content_service")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await lessons.GenerateLesson(REQUEST, timeout=20)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert read_error(failed.value).retryable

        await house.start("content_service")
        async with asyncio.timeout(30):
            again = await retried(lessons)
        assert again.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE


async def retried(lessons: Any) -> Any:
    """The client's side of a retryable error: the channel needs a moment to find the new process."""
    while True:
        try:
            return await lessons.GenerateLesson(REQUEST, timeout=20)
        except grpc.aio.AioRpcError as error:
            if not read_error(error).retryable:
                raise
        await asyncio.sleep(0.2)


@dataclass
class Stopped:
    """What the four processes did when SIGTERM came while the gateway made a lesson."""

    response: pb.GenerateLessonResponse
    exit_codes: dict[str, int]
    processes: dict[str, Process]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stopped(shared: House) -> Stopped:
    await shared.make_whole()
    gateway = shared.processes["gateway"]
    async with stub(gateway) as lessons:
        call = asyncio.ensure_future(lessons.GenerateLesson(REQUEST, timeout=20, metadata=(("x-request-id", "req-7"),)))
        await gateway.until_logged("twostage_generation_started", request_id="req-7")
        exit_codes = await shared.end()
        return Stopped(await call, exit_codes, dict(shared.processes))


async def test_a_service_that_stops_lets_a_lesson_under_way_finish(stopped: Stopped) -> None:
    assert stopped.response.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE


async def test_sigterm_ends_each_service_with_0(stopped: Stopped) -> None:
    assert stopped.exit_codes == dict.fromkeys(("gateway", "enhancer_service", "content_service", "offline_model"), 0)


async def test_request_and_lesson_id_stand_in_the_logs_of_all_three(stopped: Stopped) -> None:
    lesson = stopped.response.lesson
    calls = [
        line
        for name in ("content_service", "enhancer_service")
        for line in stopped.processes[name].log
        if line["event"] == "model_call_ended" and line["request_id"] == "req-7"
    ]
    assert {line["attempt_id"] for line in calls} == {attempt.id for attempt in lesson.attempts}
    for line in calls:
        assert line["lesson_id"] == lesson.lesson_id
        assert (line["outcome"], line["model"]) == ("ok", "nidan-offline")
    events = {line["event"]: line for line in stopped.processes["gateway"].log if line.get("request_id") == "req-7"}
    for name in (
        "using_twostage_generation",
        "twostage_generation_started",
        "stage1_completed",
        "stage2_completed",
        "twostage_generation_completed",
    ):
        assert events[name]["service"] == "gateway"
    done = events["twostage_generation_completed"]
    assert done["lesson_id"] == lesson.lesson_id
    assert (done["sections_enhanced"], done["partial_success"], done["cost_usd"]) == (5, False, 0)
    assert done["tokens"] > 0
    assert events["stage1_completed"]["sections_count"] == 7


def only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()[0])


def pid_in_its_own_namespace(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("NSpid")).split()[-1])


@pytest.mark.parametrize("module", ["content_service", "gateway"])
async def test_sigterm_ends_a_service_with_0_also_as_pid_1(module: str) -> None:
    """As in a container: a process that is PID 1 and has no handler would ignore SIGTERM."""
    process = await start(module, "unshare", "--pid", "--fork", "--kill-child")
    child = only_child(process.running.pid)
    assert pid_in_its_own_namespace(child) == 1
    os.kill(child, signal.SIGTERM)
    assert await process.end(0) == 0
