"""A key goes to its own provider and is told nowhere: services as processes, in front of a server that repeats it.

Everything that leaves the processes is searched: logs (DEBUG), metrics, errors, lessons, command lines.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from content_service.settings import ContentSettings
from enhancer_service.settings import EnhancerSettings
from gateway.settings import GatewaySettings
from lesson.v1 import lesson_pb2, lesson_service_pb2_grpc
from lesson.v1 import lesson_service_pb2 as pb
from nidan.services.plan import Providers, public_plan
from nidan.services.ports import free_ports
from nidan.services.service import CONTENT, ENHANCER, GATEWAY
from nidan.services.supervisor import Trio
from servicekit.settings import SettingsError, load
from tests.model_server import Answer, ModelServer
from tests.nidan.command import environment, services_of

CANARY = "kanari"
"""No word of ours: where it stands, a key came through, or a part of one."""
OPENAI, GEMINI = f"sk-{CANARY}-0pena1/x+y", f"AIza-{CANARY}-gem1n1"
KEYS = {"OPENAI_API_KEY": OPENAI, "GEMINI_API_KEY": GEMINI}
REQUEST = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
SECTIONS = ("frame", "reading", "dialogue", "grammar", "culture", "practice")


def echo(status: int, key: str) -> Answer:
    """An error as OpenAI's whose every part has the key; it stands where a reason's cut at 400 would halve it, too."""
    said = f"Incorrect API key provided: {key} (Authorization: Bearer {key}) "
    message = said + "x" * (400 - len("HTTP 401: ") - len(said) - 12) + key
    return Answer(status=status, error={"message": message, "code": key, "type": key, "param": key})


def echoes(key: str) -> list[Answer]:
    in_the_stream = json.dumps({"error": {"message": f"no: {key}"}}).encode()
    return [
        echo(401, key),
        echo(400, key),
        echo(500, key),
        Answer(body=b"data: " + in_the_stream + b"\n\n"),
        Answer(text="", refusal=f"I will not answer {key}."),
        Answer(text="x", finish=key),
    ]


@dataclass
class House:
    """The three services as `nidan up` runs them."""

    environment: dict[str, str]
    trio: Trio
    logs: Path

    @property
    def told(self) -> str:
        """All that the processes have written."""
        return "".join(path.read_text(encoding="utf-8") for path in self.logs.iterdir())


@asynccontextmanager
async def house(folder: Path, **variables: str) -> AsyncIterator[House]:
    services = (CONTENT, ENHANCER, GATEWAY)
    names = [name for service in services for name in service.ports]
    ports = {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
    told = environment(LOG_LEVEL="debug", LESSON_COST_LIMIT_USD="10", **(ports | KEYS | variables))
    trio = Trio(public_plan(told, Providers.chosen(told, offline=False)), folder, print)
    try:
        trio.start()
        await asyncio.to_thread(trio.wait_until_serving)
        yield House(told, trio, folder)
    finally:
        await asyncio.to_thread(trio.stop)


@asynccontextmanager
async def lessons(gateway: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(gateway) as channel:
        yield lesson_service_pb2_grpc.LessonServiceStub(channel)


async def metrics(running: House) -> str:
    found = []
    async with aiohttp.ClientSession() as session:
        for service in running.trio.plan.services:
            async with session.get(f"http://127.0.0.1:{service.metrics_port}/metrics") as response:
                found.append(await response.text())
    return "".join(found)


def error_told(error: grpc.aio.AioRpcError) -> str:
    """All of an error that reaches a caller: its words, and its details byte for byte."""
    details = [(name, bytes(value) if isinstance(value, bytes) else value) for name, value in error.trailing_metadata()]
    return f"{error!r} {details} {error.initial_metadata()}"


def command_lines(trio: Trio, others: set[int]) -> str:
    """Of the trio's services, which any user of the machine may read. `others` are processes started before it."""
    pids = set(services_of(os.getpid())) - others
    assert len(pids) == len(trio.plan.services)
    return "".join(Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") for pid in pids)


async def commands(variables: dict[str, str], *each: tuple[str, ...]) -> str:
    """What `nidan` commands print."""
    done = [
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "nidan", *arguments],
            env=variables, capture_output=True, text=True, timeout=60, check=False,
        )
        for arguments in each
    ]  # fmt: skip
    assert all(one.stdout for one in done), done
    return "".join(one.stdout + one.stderr for one in done)


async def test_a_key_is_told_nowhere_whatever_its_server_says(model: ModelServer, tmp_path: Path) -> None:
    chains = {
        "CANDO_AI_STAGE1_PROVIDER": "openai",
        "OPENAI_BASE_URL": model.url,
        "CANDO_AI_STAGE1_MODEL": "gpt-5",
        "CANDO_AI_STAGE1_FALLBACK_MODELS": "gpt-4o,gpt-6.1-sol",
        "CANDO_AI_STAGE2_PROVIDER": "gemini",
        "GEMINI_BASE_URL": model.url,
        "CANDO_AI_STAGE2_MODEL": "gemini-a",
        "CANDO_AI_STAGE2_FALLBACK_MODELS": "gemini-b,gemini-c",
    }
    said: dict[str, str] = {}
    others = set(services_of(os.getpid()))
    async with house(tmp_path, **chains) as running, lessons(running.trio.plan.gateway.address) as stub:
        for number, answer in enumerate(echoes(OPENAI)):
            model.always = {"stage1": answer}
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await stub.GenerateLesson(REQUEST, timeout=30)
            said[f"the error of {number}"] = error_told(failed.value)
            assert "[key]" in said[f"the error of {number}"]
        model.always = dict(zip(SECTIONS, echoes(GEMINI), strict=True))
        response = await stub.GenerateLesson(REQUEST, timeout=30)
        assert response.lesson.outcome == lesson_pb2.OUTCOME_PARTIAL
        said["the lesson"] = f"{response!r}{response.master_json}"
        said["the metrics"] = await metrics(running)
        said["the commands"] = await commands(running.environment, ("doctor",), ("models",))
        said["the command lines"] = command_lines(running.trio, others)
    said["the logs"] = running.told

    # Each key came to its own provider and to no other, and back from it.
    assert {call.authorization for call in model.asked("stage1")} == {f"Bearer {OPENAI}"}
    assert {call.authorization for call in model.calls if call.key != "stage1"} == {f"Bearer {GEMINI}"}
    for name in ("the lesson", "the logs"):
        assert said[name].count("[key]") >= len(SECTIONS), name
    assert "model_call_ended" in said["the logs"]
    assert "nidan_lessons_total" in said["the metrics"]
    for name, text in said.items():
        at = text.find(CANARY)
        assert at < 0, f"{name}: …{text[max(0, at - 300) : at + 60]}"


def test_settings_show_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    for kind in (ContentSettings, EnhancerSettings, GatewaySettings):
        settings = load(kind)
        assert CANARY not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("written", [f"{OPENAI}\n", f" {OPENAI}\r\n"])
def test_a_key_from_a_file_is_taken_without_its_line_end(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", written)
    assert load(ContentSettings).openai_api_key.get_secret_value() == OPENAI


@pytest.mark.parametrize("written", [f"{OPENAI}\nX-Header: 1", f"{OPENAI}é", f"{OPENAI}\x07", f"キー{OPENAI}"])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_no_header_can_hold_is_refused_at_start_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    monkeypatch.setenv(name, written)
    with pytest.raises(SettingsError, match=f"{name}: has a character") as refused:
        load(ContentSettings)
    assert CANARY not in str(refused.value)


_FAILS_WITH_A_KEY_AT_HAND = """
import sys
from servicekit.telemetry import configure_logging, logger

def send(headers):
    raise RuntimeError("the transport fails as nobody foresaw")

configure_logging("content_service", "debug")
try:
    send({"authorization": "Bearer " + sys.argv[1]})
except RuntimeError:
    logger().exception("rpc_failed_unexpectedly")
"""


def test_the_log_of_an_unforeseen_error_has_its_frames_and_no_variable_of_theirs() -> None:
    command = [sys.executable, "-c", _FAILS_WITH_A_KEY_AT_HAND, OPENAI]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=True)
    (error,) = json.loads(done.stdout)["exception"]
    assert error["exc_value"] == "the transport fails as nobody foresaw"
    assert [frame["name"] for frame in error["frames"]] == ["<module>", "send"]
    assert CANARY not in done.stdout + done.stderr
