"""A real HTTP model server for tests: it answers well from the offline bank unless told how to fail, and keeps what it
was asked. One server speaks for every model name."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from offline_model.answer import answer
from offline_model.bank import SECTION_KEYS, Bank, load_bank
from offline_model.request import read_data, read_request

CHUNK = 6
"""Characters a piece of a streamed answer that is to take its time; any other comes in larger ones."""
_LARGE_CHUNK = 96


@dataclass(frozen=True)
class Answer:
    """How one call is answered. With nothing set: well, from the bank."""

    edit: Callable[[dict[str, Any]], object] | None = None
    """Changes the good answer, parsed, before it is sent."""
    text: str | None = None
    """Sent in place of the good answer."""
    finish: str | None = "stop"
    """None: the stream ends without its end."""
    refusal: str | None = None
    usage: dict[str, Any] | None = field(default_factory=lambda: {"prompt_tokens": 1000, "completion_tokens": 500})
    status: int = 200
    error: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as the whole body, whatever it is."""
    delay_seconds: float = 0.0
    cut_after: int | None = None
    """Characters of the answer after which the connection is broken."""
    chunk_delay_seconds: float = 0.0
    stall_after: int | None = None
    """Characters of the answer after which nothing comes any more, but comments."""
    drop_end: int = 0
    """Characters left out at the end of the answer."""
    service_tier: str | None = None
    """The tier that the server says it served at; None: it says nothing."""

    @property
    def tier(self) -> dict[str, str]:
        """The field of the last chunk, or of the whole answer."""
        return {} if self.service_tier is None else {"service_tier": self.service_tier}


GOOD = Answer()


@dataclass(frozen=True)
class Call:
    """What was asked."""

    key: str
    """stage1, or the name of the section that Stage 2 was asked for."""
    body: dict[str, Any]
    data: dict[str, Any]
    headers: CIMultiDict[str]
    authorization: str
    at: float = field(default_factory=time.time)


class ModelServer:
    """`script[key]` holds the answers to give, in order; when it is empty, or absent, the answer is a good one."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.calls: list[Call] = []
        self.script: dict[str, list[Answer]] = {}
        self.always: dict[str, Answer] = {}
        self.in_flight = 0
        self.chunks_written = 0
        self.url = ""
        self.listed: list[dict[str, Any]] = []
        """What GET /v1/models says."""

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.listed})

    def asked(self, key: str) -> list[Call]:
        return [call for call in self.calls if call.key == key]

    def good_stage1_text(self) -> str:
        """The whole Stage 1 answer of JF:349."""
        return json.dumps(self._bank.stage1("JF:349", SECTION_KEYS), ensure_ascii=False)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        call = _call(raw, request)
        self.calls.append(call)
        queue = self.script.get(call.key, [])
        chosen = queue.pop(0) if queue else self.always.get(call.key, GOOD)
        self.in_flight += 1
        try:
            await asyncio.sleep(chosen.delay_seconds)
            return await self._respond(request, call, chosen, raw)
        finally:
            self.in_flight -= 1

    async def _respond(self, request: web.Request, call: Call, chosen: Answer, raw: bytes) -> web.StreamResponse:
        if chosen.status != 200:
            return web.json_response({"error": chosen.error}, status=chosen.status, headers=chosen.headers)
        if chosen.body is not None:
            return web.Response(body=chosen.body, content_type="application/json")
        content = chosen.text if chosen.text is not None else self._good(raw, chosen.edit)
        content = content[: len(content) - chosen.drop_end]
        if call.body.get("stream"):
            return await self._stream(request, content, chosen)
        if chosen.cut_after is not None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        message = {"role": "assistant", "content": content, "refusal": chosen.refusal}
        choice = {"index": 0, "message": message, "finish_reason": chosen.finish}
        return web.json_response({"id": "x", "choices": [choice], "usage": chosen.usage} | chosen.tier)

    def _good(self, raw: bytes, edit: Callable[[dict[str, Any]], object] | None) -> str:
        asked = read_request(raw)
        text = answer(self._bank, read_data(asked), asked.properties).text
        if edit is None:
            return text
        value = json.loads(text)
        edit(value)
        return json.dumps(value, ensure_ascii=False)

    async def _stream(self, request: web.Request, content: str, chosen: Answer) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        paced = chosen.chunk_delay_seconds or chosen.cut_after is not None or chosen.stall_after is not None
        size = CHUNK if paced else _LARGE_CHUNK
        for start in range(0, len(content), size):
            if chosen.cut_after is not None and start >= chosen.cut_after:
                assert request.transport is not None
                request.transport.close()
                return response
            while chosen.stall_after is not None and start >= chosen.stall_after:
                await response.write(b": still here\n\n")
                await asyncio.sleep(0.05)
            await response.write(_event({"content": content[start : start + size]}))
            self.chunks_written += 1
            await asyncio.sleep(chosen.chunk_delay_seconds)
        if chosen.refusal:
            await response.write(_event({"refusal": chosen.refusal}))
        if chosen.finish:
            await response.write(_event({}, chosen.finish))
            if chosen.usage:
                last = {"choices": [], "usage": chosen.usage} | chosen.tier
                await response.write(b"data: " + json.dumps(last).encode() + b"\n\n")
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


ORIGIN = "built-in lesson, not reviewed by a teacher"
"""What this server says of its answers, as the offline model does; other providers' fingerprints mean nothing to us."""
SNAPSHOT = "answering-2026-01-01"
"""The model that answers, as this server names it: not as it was asked for."""


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = {"choices": [choice], "system_fingerprint": ORIGIN, "model": SNAPSHOT}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _call(raw: bytes, request: web.Request) -> Call:
    body = json.loads(raw)
    user = body["messages"][-1]["content"]
    data = json.loads(user.split("<data>\n", 1)[1].split("\n</data>", 1)[0])
    key = "stage1" if "sections" in data else str(data["section"])
    return Call(key, body, data, CIMultiDict(request.headers), request.headers.get("Authorization", ""))


@cache
def bank() -> Bank:
    """One for all tests: it is never written to, and its YAML takes a while to read."""
    return load_bank()


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """A server on a free port, for the block."""
    server = ModelServer(bank())
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/v1/models", server.models)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.2, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
