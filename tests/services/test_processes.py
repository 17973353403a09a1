"""Three real processes and the offline model: started, killed, started again, ended by SIGTERM, and their memory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from lesson.v1 import lesson_pb2, lesson_service_pb2_grpc
from lesson.v1 import lesson_service_pb2 as pb
from nidan.services.processes import leashed
from servicekit.errors import read_error
from tests.trio import FREE_PORTS

OFFLINE = {"CANDO_AI_STAGE1_PROVIDER": "offline", "CANDO_AI_STAGE2_PROVIDER": "offline", "OFFLINE_MODEL_PORT": "0"}


@dataclass
class Process:
    """A service in a process of its own, and the log lines it has written."""

    module: str
    running: asyncio.subprocess.Process
    port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    async def until_started(self) -> None:
        async with asyncio.timeout(20):
            while not self.port:
                assert await self._read_line(), f"{self.module} ended before it had started"

    async def until_logged(self, event: str) -> None:
        async with asyncio.timeout(20):
            while all(line["event"] != event for line in self.log):
                assert await self._read_line(), f"{self.module} ended before it logged {event}"

    async def _read_line(self) -> bool:
        assert self.running.stdout is not None
        line = await self.running.stdout.readline()
        if not line:
            return False
        self.log.append(json.loads(line))
        self.port = self.log[-1].get("port", self.port)
        return True

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal, reads the log to its end, and gives the exit code."""
        if self.running.returncode is None:
            self.running.send_signal(number)
        async with asyncio.timeout(20):
            while await self._read_line():
                pass
            return await self.running.wait()

    @property
    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.running.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def start(module: str, *wrapper: str, **env: str) -> Process:
    # Of a run that is killed nothing may stay behind.
    running = await asyncio.create_subprocess_exec(
        *leashed(*wrapper, sys.executable, "-m", module),
        env=os.environ | FREE_PORTS | OFFLINE | env,
        stdout=asyncio.subprocess.PIPE,
    )
    process = Process(module, running)
    await process.until_started()
    return process


@asynccontextmanager
async def house() -> AsyncIterator[dict[str, Process]]:
    """The four processes; whatever still runs at the end is ended."""
    made: dict[str, Process] = {"offline_model": await start("offline_model")}
    url = f"http://127.0.0.1:{made['offline_model'].port}/v1"
    try:
        content, enhancer = await asyncio.gather(
            start("content_service", OFFLINE_MODEL_URL=url), start("enhancer_service", OFFLINE_MODEL_URL=url)
        )
        made |= {"content_service": content, "enhancer_service": enhancer}
        made["gateway"] = await start(
            "gateway", CONTENT_ADDRESS=f"127.0.0.1:{content.port}", ENHANCER_ADDRESS=f"127.0.0.1:{enhancer.port}"
        )
        yield made
    finally:
        for process in reversed(made.values()):
            await process.end()


@asynccontextmanager
async def stub(gateway: Process) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield lesson_service_pb2_grpc.LessonServiceStub(channel)


REQUEST = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))


async def test_three_processes_make_a_lesson_one_is_killed_and_started_again() -> None:
    async with house() as made, stub(made["gateway"]) as lessons:
        whole = await lessons.GenerateLesson(REQUEST, timeout=20)
        assert whole.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE

        content = made["content_service"]
        port = content.port
        assert await content.end(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await lessons.GenerateLesson(REQUEST, timeout=20)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert read_error(failed.value).retryable

        url = f"http://127.0.0.1:{made['offline_model'].port}/v1"
        made["content_service"] = await start("content_service", OFFLINE_MODEL_URL=url, CONTENT_PORT=str(port))
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


async def test_resident_memory_after_a_lesson_is_within_bounds() -> None:
    async with house() as made, stub(made["gateway"]) as lessons:
        await lessons.GenerateLesson(REQUEST, timeout=20)
        resident = {name: process.resident_mb for name, process in made.items()}
    print(resident)
    assert resident["offline_model"] <= 150
    assert resident["content_service"] <= 150
    assert resident["gateway"] <= 150
    assert resident["enhancer_service"] <= 200


async def test_request_and_lesson_id_stand_in_the_logs_of_all_three() -> None:
    async with house() as made, stub(made["gateway"]) as lessons:
        response = await lessons.GenerateLesson(REQUEST, timeout=20, metadata=(("x-request-id", "req-7"),))
        gateway = made["gateway"]
        for process in made.values():
            assert await process.end() == 0
    attempts = {attempt.id for attempt in response.lesson.attempts}
    calls = [
        line
        for name in ("content_service", "enhancer_service")
        for line in made[name].log
        if line["event"] == "model_call_ended"
    ]
    assert {line["attempt_id"] for line in calls} == attempts
    for line in calls:
        assert (line["request_id"], line["lesson_id"]) == ("req-7", response.lesson.lesson_id)
        assert (line["outcome"], line["model"]) == ("ok", "nidan-offline")
    events = {line["event"]: line for line in gateway.log}
    for name in (
        "using_twostage_generation",
        "twostage_generation_started",
        "stage1_completed",
        "stage2_completed",
        "twostage_generation_completed",
    ):
        assert events[name]["request_id"] == "req-7"
        assert events[name]["service"] == "gateway"
    done = events["twostage_generation_completed"]
    assert done["lesson_id"] == response.lesson.lesson_id
    assert (done["sections_enhanced"], done["partial_success"], done["cost_usd"]) == (5, False, 0)
    assert done["tokens"] > 0
    assert events["stage1_completed"]["sections_count"] == 7


@pytest.mark.parametrize("module", ["offline_model", "content_service", "enhancer_service", "gateway"])
async def test_sigterm_ends_a_service_with_0(module: str) -> None:
    process = await start(module)
    assert await process.end() == 0


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


async def test_a_service_that_stops_lets_a_lesson_under_way_finish() -> None:
    async with house() as made, stub(made["gateway"]) as lessons:
        call = asyncio.ensure_future(lessons.GenerateLesson(REQUEST, timeout=20))
        await made["gateway"].until_logged("twostage_generation_started")
        assert await made["gateway"].end() == 0
        response = await call
    assert response.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE
