"""A model server that writes the bytes it is told to, whether they are HTTP or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from servicekit.llm.calls import ModelRequest, Reply
from servicekit.llm.capabilities import Provider
from servicekit.llm.client import ModelClient

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REQUEST = ModelRequest("gpt-4.1", "system", "user", "attempt-1", 1000, 3.0, stall_seconds=2.0)
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}
TEXT = '{"word": "食べ物"}'


def whole(body: bytes, headers: bytes = b"", status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    """A response with its length."""
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n" % (status, kind, len(body))
    return head + headers + b"\r\n" + body


def stream(body: bytes, headers: bytes = b"") -> bytes:
    """A response that ends with its connection."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + headers + b"\r\n" + body


def choice(content: Any, finish: str | None = None, key: str = "delta") -> dict[str, Any]:
    return {"choices": [{"index": 0, key: {"content": content}, "finish_reason": finish}]}


def completion(**changed: Any) -> bytes:
    """The body of a good answer, with changed fields."""
    return json.dumps(choice(TEXT, "stop", "message") | {"usage": USAGE} | changed, ensure_ascii=False).encode()


def events(*payloads: Any, between: bytes = b"\n\n") -> bytes:
    lines = [p if isinstance(p, bytes) else b"data: " + json.dumps(p, ensure_ascii=False).encode() for p in payloads]
    return b"".join(line + between for line in lines)


def good_events(between: bytes = b"\n\n") -> bytes:
    """The same answer, streamed."""
    half = len(TEXT) // 2
    end = {"choices": [], "usage": USAGE}
    return events(choice(TEXT[:half]), choice(TEXT[half:]), choice("", "stop"), end, b"data: [DONE]", between=between)


@asynccontextmanager
async def serving(script: Script | bytes) -> AsyncIterator[str]:
    """The base URL of a server that plays the script for each connection, and then closes it."""

    playing: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        playing[task] = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            if isinstance(script, bytes):
                writer.write(script)
                await writer.drain()
            else:
                await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    for task, writer in playing.items():
        task.cancel()
        writer.transport.abort()
    await asyncio.gather(*playing, return_exceptions=True)
    await asyncio.sleep(0)


@asynccontextmanager
async def client(script: Script | bytes) -> AsyncIterator[ModelClient]:
    async with serving(script) as url:
        made = ModelClient(Provider.OPENAI, url, "sk-canary-1234")
        try:
            yield made
        finally:
            await made.close()


async def ask(script: Script | bytes, *, streamed: bool, request: ModelRequest = REQUEST) -> Reply:
    async with client(script) as made:
        if not streamed:
            return await made.complete(request)
        async with made.stream(request) as reading:
            deltas = [text async for text in reading]
    assert "".join(deltas) == reading.reply.text
    return reading.reply
