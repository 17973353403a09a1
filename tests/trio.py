"""The three services, really served on free ports in this process, and a checker that walks every lesson they give."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import aiohttp
import grpc

import content_service.__main__ as content_main
import enhancer_service.__main__ as enhancer_main
import gateway.service as gateway_main
from content_service.settings import ContentSettings
from enhancer_service.japanese.reading import Analyser
from enhancer_service.settings import EnhancerSettings
from gateway.attempts.ledger import MemoryLedger
from gateway.settings import GatewaySettings
from lesson import wire
from lesson.items import extract_items
from lesson.models import JapaneseText, Lesson, ReadingProvenance, SectionState, TranslationProvenance
from lesson.script import has_japanese
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.errors import RemoteError, read_error
from servicekit.server import Ports, serving
from servicekit.settings import load
from tests.model_server import ModelServer

FREE_PORTS = {
    f"{service}_{kind}": "0"
    for service in ("CONTENT", "ENHANCER", "GATEWAY")
    for kind in ("PORT", "HEALTH_PORT", "METRICS_PORT")
}


DAY = datetime(2026, 11, 1, tzinfo=UTC)
"""No model of the default chains has ended then; the tests do not read the calendar."""


@cache
def analyser() -> Analyser:
    """One for all tests: it is immutable, and 89 MB."""
    return Analyser.load()


@dataclass
class Trio:
    """The running trio: the gateway's stub, and every port."""

    stub: lesson_service_pb2_grpc.LessonServiceAsyncStub
    gateway: Ports
    content: Ports
    enhancer: Ports

    async def generate(self, can_do_id: str = "JF:349", **fields: Any) -> tuple[Lesson, dict[str, Any]]:
        """A lesson, checked, and its master JSON. Raises grpc.aio.AioRpcError."""
        spec = pb.LessonSpec(can_do_id=can_do_id, **fields)
        response = await self.stub.GenerateLesson(pb.GenerateLessonRequest(spec=spec), timeout=30)
        lesson = wire.from_message(Lesson, response.lesson)
        check_lesson(lesson)
        master = json.loads(response.master_json)
        check_master(master)
        return lesson, master

    async def refused(self, can_do_id: str = "JF:349", **fields: Any) -> RemoteError:
        """The error of a request that must fail."""
        try:
            await self.generate(can_do_id, **fields)
        except grpc.aio.AioRpcError as error:
            return read_error(error)
        raise AssertionError("the request was served")

    async def metrics(self, ports: Ports | None = None) -> str:
        """What /metrics says; the gateway's unless told otherwise."""
        url = f"http://127.0.0.1:{(ports or self.gateway).metrics}/metrics"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.text()


@asynccontextmanager
async def trio(
    monkeypatch: Any, model: ModelServer, env: dict[str, str] | None = None, now: Callable[[], datetime] = lambda: DAY
) -> AsyncIterator[Trio]:
    """Starts all three from their environment variables, with provider openai at the model server and a clock of `now`.

    At the end nothing may be left of any run: no call, no lesson, no open row.
    """
    ledger = MemoryLedger()
    # Money limits nothing but where a test is about money.
    defaults = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "test-key", "LESSON_COST_LIMIT_USD": "10"}
    for name, value in (FREE_PORTS | defaults | (env or {})).items():
        monkeypatch.setenv(name, value)
    async with (
        serving(await content_main.build(load(ContentSettings))) as content,
        serving(await enhancer_main.build(load(EnhancerSettings), analyser())) as enhancer,
    ):
        addresses = {"CONTENT_ADDRESS": f"127.0.0.1:{content.grpc}", "ENHANCER_ADDRESS": f"127.0.0.1:{enhancer.grpc}"}
        for name, value in (addresses | (env or {})).items():
            monkeypatch.setenv(name, value)
        async with (
            serving(await gateway_main.build(load(GatewaySettings), ledger, now)) as gateway,
            grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc}") as channel,
        ):
            stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
            running = Trio(stub, gateway, content, enhancer)
            yield running
            await until(lambda: not model.in_flight)
            await until(lambda: not ledger.open_rows)
            assert "nidan_lessons_in_flight 0.0" in await running.metrics()
            for stage in (content, enhancer):
                assert "nidan_model_pool_in_use 0.0" in await running.metrics(stage)


def check_lesson(lesson: Lesson) -> None:
    """What holds in every lesson, whatever went wrong: no text changed, no placeholder, the truth about each item."""
    for section in lesson.sections:
        value = lesson.content.section(section.name)
        assert (value is None) == (section.state is SectionState.MISSING)
        items = extract_items(section.name, value) if value else ()
        assert section.items == items
        assert [text.id for text in section.texts] == [item.id for item in items]
        for item, text in zip(items, section.texts, strict=True):
            assert text.kanji == item.text == "".join(segment.text for segment in text.furigana)
            check_text(text)


def check_text(text: JapaneseText) -> None:
    if text.reading_provenance is not ReadingProvenance.NONE:
        assert text.romaji or not has_japanese(text.kanji), text
        assert is_latin(text.romaji), text
    for segment in text.furigana:
        assert segment.ruby is None or is_kana(segment.ruby), text
    assert bool(text.translation) == (text.translation_provenance is TranslationProvenance.MODEL)
    assert "pending" not in (text.translation or "").lower()
    assert bool(text.translation_model) == bool(text.translation)


def is_latin(romaji: str) -> bool:
    return all(unicodedata.name(char).startswith("LATIN") for char in romaji if char.isalpha())


def is_kana(ruby: str) -> bool:
    return bool(ruby) and all("ぁ" <= char <= "ゖ" or "ァ" <= char <= "ー" for char in ruby)


def check_master(master: dict[str, Any]) -> None:
    """Every Text of the master JSON, wherever it stands, joins to its kanji and names its provenance."""
    texts = list(_texts(master))
    assert texts
    for text in texts:
        assert "".join(segment["text"] for segment in text["furigana"]) == text["kanji"]
        assert text["provenance"] in set(ReadingProvenance)


def _texts(node: Any) -> Any:
    if isinstance(node, dict):
        if "furigana" in node:
            yield node
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)


def port_of_its_own() -> int:
    """A free port that the system gives to nobody who asks for any: it is still free when its service is back."""
    for _ in range(100):
        port = random.randrange(20_000, 32_000)  # noqa: S311 - below ip_local_port_range, no secret
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for what must come to pass; fails when it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the other side is a real server and sets no event of ours
            await asyncio.sleep(0.01)
