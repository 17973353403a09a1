"""The callers of docs/calling.md, run as a reader would run them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.errors import OverloadedError, ServiceError, UnauthenticatedError, to_rpc_status
from servicekit.server import server_options

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PYTHON = (sys.executable, str(FOLDER / "call.py"))
NODE = ("node", str(FOLDER / "call.mjs"))
CALLERS = pytest.mark.parametrize(
    "command", [pytest.param(PYTHON, id="python"), pytest.param(NODE, id="node", marks=pytest.mark.callers)]
)


@dataclass
class Gateway(lesson_service_pb2_grpc.LessonServiceServicer):
    """Raises the errors in turn, then answers."""

    errors: list[ServiceError] = field(default_factory=list)
    answer: str = '{"uiVersion": 2}'
    calls: list[tuple[str, float, dict[str, Any]]] = field(default_factory=list)
    address: str = ""

    def StreamLesson(self, _request: object, _context: object) -> Any:  # noqa: N802
        raise NotImplementedError

    async def GenerateLesson(self, request: pb.GenerateLessonRequest, context: Any) -> pb.GenerateLessonResponse:  # noqa: N802
        self.calls.append((request.spec.can_do_id, context.time_remaining(), dict(context.invocation_metadata())))
        if self.errors:
            await context.abort_with_status(to_rpc_status(self.errors.pop(0)))
        return pb.GenerateLessonResponse(master_json=self.answer)


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[Gateway]:
    server = grpc.aio.server(options=server_options(300))
    lesson_service_pb2_grpc.add_LessonServiceServicer_to_server(gateway, server)
    gateway.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield gateway
    finally:
        await server.stop(0)


async def run(command: tuple[str, ...], gateway: Gateway) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    environment = os.environ | {"NIDAN_PROTOS": str(ROOT / "protos"), "NIDAN_API_KEY": "nidan_key"}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, gateway.address, "JF:349", env=environment, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@CALLERS
async def test_a_caller_waits_as_told_and_gets_its_lesson(command: tuple[str, ...]) -> None:
    busy = OverloadedError("At the limit.", retry_after_seconds=0.2)
    async with serving(Gateway([busy])) as gateway:
        status, out, err = await run(command, gateway)
    assert (status, json.loads(out)) == (0, {"uiVersion": 2}), err
    assert "RESOURCE_EXHAUSTED OVERLOADED: At the limit." in err
    (can_do, seconds, metadata), _second = gateway.calls
    assert can_do == "JF:349"
    assert 300 < seconds <= 320
    assert metadata["authorization"] == "Bearer nidan_key"


@CALLERS
async def test_a_caller_gives_up_at_once_where_a_retry_cannot_help(command: tuple[str, ...]) -> None:
    async with serving(Gateway([UnauthenticatedError("No such key.", reason="KEY_UNKNOWN")])) as gateway:
        status, out, err = await run(command, gateway)
    assert (status, out, len(gateway.calls)) == (1, "", 1)
    assert "UNAUTHENTICATED KEY_UNKNOWN: No such key." in err


@CALLERS
async def test_a_caller_tries_three_times_at_the_most(command: tuple[str, ...]) -> None:
    errors: list[ServiceError] = [OverloadedError("At the limit.", retry_after_seconds=0.05) for _ in range(9)]
    async with serving(Gateway(errors)) as gateway:
        status, _, _ = await run(command, gateway)
    assert (status, len(gateway.calls)) == (1, 3)


@CALLERS
async def test_the_largest_reply_fits_a_callers_channel(command: tuple[str, ...]) -> None:
    """A reply of 4 MB less its frame: no caller needs another limit."""
    answer = json.dumps({"text": "x" * (4 * 1024 * 1024 - 100)})
    async with serving(Gateway(answer=answer)) as gateway:
        status, out, err = await run(command, gateway)
    assert (status, len(out.strip())) == (0, len(answer)), err[:300]


def test_the_page_shows_the_callers_as_they_are() -> None:
    page = (ROOT / "docs" / "calling.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^```(python|js)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert shown == {
        kind: (FOLDER / name).read_text("utf-8") for kind, name in [("python", PYTHON[1]), ("js", NODE[1])]
    }
