"""A model server that can misbehave down to its socket. Without a fault it answers correctly from the offline bank.

It speaks HTTP/1.1 by hand over asyncio streams, since a server library refuses to send half an answer, a wrong length
or a reset. One server answers for every model name. Its port closes and reopens within one turn of the event loop.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from offline_model import tokens
from offline_model.answer import answer
from offline_model.bank import Bank
from offline_model.request import Stage2Data, read_data, read_request

HOST = "127.0.0.1"
STAGE1 = "stage1"
COUNTED: Final = "counted"
"""A usage value: count the real prompt and answer."""
_CHUNK = 120
"""Characters of an answer in one event of its stream."""
CHAT = "/v1/chat/completions"
_MODELS = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{"object": "list", "data": []}'
)
"""The list of models, which the services request at start; nothing here depends on it."""
_REASONS = {200: "OK", 429: "Too Many Requests"}


@dataclass
class Call:
    """One call: its request and its fate."""

    key: str
    """stage1, or the section that Stage 2 was asked for."""
    model: str
    number: int
    """Its number among the lesson's calls with this key, from 1, across models."""
    lesson: str
    """The requested topic, which separates the calls of two lessons."""
    attempt_id: str
    streamed: bool
    raw: bytes
    limit: int
    """The most tokens that the answer may have."""
    begun: float
    answered: bool = False
    """Whether status 200 is sent: from then on the provider works, and bills."""
    not_before: float | None = None
    """The end of the wait that Retry-After asks for (time.time())."""
    fault: str = ""


Fault = Callable[["Line", Call, "Good"], Awaitable[None]]
Decide = Callable[[Call], tuple[str, Fault] | None]


@dataclass(frozen=True)
class Good:
    """The right answer to a call."""

    value: dict[str, Any]

    @property
    def text(self) -> str:
        return json.dumps(self.value, ensure_ascii=False)


class Line:
    """Writes to one connection. The fault decides whether the result is valid HTTP."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: Call, *, keep_alive: bool
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._call = call
        self._connection = "keep-alive" if keep_alive else "close"
        self._more: dict[str, str] = {}

    async def whole(
        self, body: bytes, status: int = 200, kind: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        """A complete response."""
        await self.head(status, {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})})
        await self._write(body)

    def add_header(self, name: str, value: str) -> None:
        """A header of every response from now on."""
        self._more[name] = value

    async def raw(self, data: bytes) -> None:
        """Bytes that need not be HTTP."""
        await self._write(data)

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        self._call.answered = status == 200
        all_headers = {"Connection": self._connection, **headers, **self._more}
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in all_headers.items())]
        await self._write("\r\n".join([*lines, "", ""]).encode())

    async def begin(self, kind: str = "text/event-stream; charset=utf-8") -> None:
        """The head of a chunked response."""
        await self.head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})

    async def chunk(self, data: bytes) -> None:
        await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        """The last chunk, which completes the HTTP response."""
        await self._write(b"0\r\n\r\n")

    async def event(self, delta: Mapping[str, Any], finish: str | None = None) -> None:
        """One event of a stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        await self.chunk(_event({"choices": [choice], "usage": None}))

    async def pieces(self, text: str) -> None:
        """The text as events of a stream, one per turn of the loop, as over a network."""
        for start in range(0, len(text), _CHUNK):
            await self.event({"content": text[start : start + _CHUNK]})
            await asyncio.sleep(0)

    async def finish(self, text: str, finish: str = "stop", usage: object = COUNTED) -> None:
        """Finish reason, usage when there is one, [DONE], and the end of the response. `text` is the whole answer."""
        await self.event({}, finish)
        if usage is not None:
            await self.chunk(_event({"choices": [], "usage": counted(self._call, text) if usage == COUNTED else usage}))
        await self.chunk(b"data: [DONE]\n\n")
        await self.end()

    def cut(self) -> None:
        """Closes the connection in order (FIN), even in mid-answer."""
        self._writer.close()

    async def reset(self) -> None:
        """Resets the connection (RST) after the caller had time to read the written bytes."""
        await asyncio.sleep(0.2)
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def silence(self, seconds: float = 3600.0) -> None:
        """Sends nothing for `seconds`, or until the caller disconnects."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._reader.read(1)
                self.cut()

    @property
    def open(self) -> bool:
        return not (self._writer.is_closing() or self._reader.at_eof())

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


async def answer_well(line: Line, call: Call, good: Good) -> None:
    """The correct answer, streamed or whole as requested."""
    await answer_with(line, call, good.text)


async def answer_with(
    line: Line, call: Call, text: str, finish: str = "stop", usage: object = COUNTED, **message: str
) -> None:
    """An answer with this text. `message` adds other fields, such as a refusal."""
    if not call.streamed:
        await line.whole(completion(call, text, finish, usage, **message))
        return
    await line.begin()
    await line.event({"role": "assistant", "content": ""})
    await line.pieces(text)
    if message:
        await line.event(message)
    await line.finish(text, finish, usage)


def counted(call: Call, text: str) -> dict[str, Any]:
    """The usage of an answer with this text."""
    prompt = tokens.count(call.raw.decode())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.count(text),
        "prompt_tokens_details": {"cached_tokens": min(128, prompt)},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def completion(call: Call, text: str, finish: str = "stop", usage: object = COUNTED, **message: str) -> bytes:
    """The body of a whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    used = {} if usage is None else {"usage": counted(call, text) if usage == COUNTED else usage}
    return json.dumps({"id": "chatcmpl-1", "choices": [choice], **used}, ensure_ascii=False).encode()


@dataclass
class FaultServer:
    """Serves the block of `serving`. A lesson's calls are kept until they are taken."""

    bank: Bank
    decide: Decide
    keep_alive: bool = True
    """Whether a connection serves more than one call."""
    in_flight: int = 0
    port: int = 0
    errors: list[BaseException] = field(default_factory=list)
    """What went wrong in this server itself."""
    _calls: dict[str, list[Call]] = field(default_factory=dict)
    _listener: socket.socket | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[FaultServer]:
        self.open_port()
        try:
            yield self
        finally:
            self.close_port()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def open_port(self) -> None:
        """From now on connections are taken."""
        if self._listener is None:
            self._listener = socket.create_server((HOST, self.port), backlog=512)
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def close_port(self) -> None:
        """From now on connections are refused; those that stand go on."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def take(self, lesson: str | None = None) -> tuple[Call, ...]:
        """The calls of the lesson of that topic, or of all, in order; none the second time."""
        lessons = [lesson] if lesson is not None else list(self._calls)
        return tuple(call for name in lessons for call in self._calls.pop(name, ()))

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            connection, _ = listener.accept()
            task = asyncio.create_task(self._connection(connection))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _connection(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while not writer.is_closing() and (asked := await _asked(reader)) is not None:
                if asked.path != CHAT:
                    writer.write(_MODELS)
                    continue
                self.in_flight += 1
                try:
                    await self._call(reader, writer, asked)
                finally:
                    self.in_flight -= 1
                if not self.keep_alive:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller has gone
        finally:
            writer.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, given: _Asked) -> None:
        asked = read_request(given.body)
        data = read_data(asked)
        block = json.loads(asked.messages[-1].content.partition("<data>\n")[2].partition("\n</data>")[0])
        key = str(block["section"]) if isinstance(data, Stage2Data) else STAGE1
        lesson = str(block["brief"]["topic"])
        before = self._calls.setdefault(lesson, [])
        call = Call(
            key=key,
            model=asked.model,
            number=1 + sum(call.key == key for call in before),
            lesson=lesson,
            attempt_id=given.headers.get("x-client-request-id", ""),
            streamed=bool(asked.stream),
            raw=given.body,
            limit=asked.token_limit or 0,
            begun=time.time(),
        )
        before.append(call)
        call.fault, play = self.decide(call) or ("", answer_well)
        good = Good(json.loads(answer(self.bank, data, asked.properties).text))
        await play(Line(reader, writer, call, keep_alive=self.keep_alive), call, good)


@dataclass(frozen=True)
class _Asked:
    """An HTTP request; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


async def _asked(reader: asyncio.StreamReader) -> _Asked | None:
    """The next request; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    return _Asked(first.split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
