"""Compares the stream reader's CPU time with a floor: `python -m benchmarks.reader [--rounds 5] [--streams 16]`.

The floor does only what no reader can skip: the bare HTTP client, lines split by hand, one jiter parse per event
(ADR 0005). Reader and floor take turns on the same streams in the same run; another process sends them, and the figure
is this process's CPU time. Events arrive all together, as under load, or one by one, as from an unhurried provider.
Exit status 1: the reader costs more than 1.3 times the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Final

import aiohttp
import jiter
import uvloop

from benchmarks import where
from benchmarks.paced_model import Answer, script
from offline_model.bank import SECTION_KEYS, load_bank
from servicekit.llm.calls import CallOutcome, ModelRequest
from servicekit.llm.capabilities import Provider
from servicekit.llm.client import ModelClient

RATIO_BOUND: Final = 1.3
HOST: Final = "127.0.0.1"
TOGETHER, APART = "together", "apart"
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_END: Final = b"0\r\n\r\n"
_APART_SECONDS: Final = 0.002
"""The gap between two events: long enough that each wakes the reader."""
_MODEL: Final = "gpt-6.1-sol"
_AGAIN: Final = {TOGETHER: 5, APART: 1}
"""How often a round repeats its four turns. A turn of events that arrive together takes only a tenth of a second."""


# --- the server, a process of its own -------------------------------------------------------------------------------


class _Streams(asyncio.Protocol):
    """Answers every request with the same events, at the pace named by the first part of its path."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self._events = events
        self._asked = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's class does not derive from asyncio.Transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        head, separator, body = self._asked.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            return
        self._asked = b""
        if head.startswith(f"POST /{TOGETHER}/".encode()):
            self._transport.write(b"".join((_HEAD, *self._events, _END)))
            return
        task = asyncio.get_running_loop().create_task(self._one_by_one())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one_by_one(self) -> None:
        self._transport.write(_HEAD)
        for event in self._events:
            self._transport.write(event)
            await asyncio.sleep(_APART_SECONDS)
        if not self._transport.is_closing():
            self._transport.write(_END)


def _length(head: bytes) -> int:
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return int(headers.get(b"content-length", b"0"))


def _serve(events: Sequence[bytes], pipe: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Streams(events), HOST, 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def _server(events: Sequence[bytes]) -> Iterator[int]:
    """Runs the server in its own process and gives its port."""
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(events, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


# --- the two readers ------------------------------------------------------------------------------------------------

Read = Callable[[], Awaitable[str]]


def floor(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Read:
    """The least work that reads a stream of this API."""

    async def read() -> str:
        parts: list[str] = []
        rest = b""
        async with session.post(f"{url}/chat/completions", json=body) as response:
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b"data:") and line != b"data: [DONE]":
                        choices = jiter.from_json(line[5:])["choices"]
                        parts += [choice["delta"].get("content") or "" for choice in choices]
        return "".join(parts)

    return read


def ours(client: ModelClient) -> Read:
    """The reader of the content service."""

    async def read() -> str:
        request = ModelRequest(
            model=_MODEL,
            system="system",
            user="user",
            attempt_id="attempt",
            max_output_tokens=8000,
            timeout_seconds=180.0,
            first_token_seconds=60.0,
            stall_seconds=20.0,
        )
        async with client.stream(request) as stream:
            parts = [delta async for delta in stream]
        if stream.reply.outcome is not CallOutcome.OK:
            raise RuntimeError(f"{stream.reply.outcome}: {stream.reply.reason}")
        return "".join(parts)

    return read


# --- measuring ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One pace: milliseconds of CPU a stream, round by round."""

    pace: str
    floor_ms: tuple[float, ...]
    ours_ms: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median over rounds; each round has its own floor."""
        return median(ours / floor for ours, floor in zip(self.ours_ms, self.floor_ms, strict=True))


async def measure(port: int, pace: str, text: str, rounds: int, streams: int) -> Measured:
    """Raises RuntimeError if a reader does not return the text that the server sent."""
    url = f"http://{HOST}:{port}/{pace}/v1"
    body = {"model": _MODEL, "messages": [{"role": "user", "content": "user"}], "stream": True}
    client = ModelClient(Provider.OPENAI, url, "benchmark")
    times: dict[str, list[float]] = {"floor": [], "ours": []}
    try:
        async with aiohttp.ClientSession() as session:
            readers = {"floor": floor(session, url, body), "ours": ours(client)}
            for turn in range(rounds + 1):
                # Floor, ours, ours, floor, then the reverse: both share a load that rises or falls.
                first, second = sorted(readers, reverse=bool(turn % 2))
                spent: dict[str, list[float]] = {first: [], second: []}
                for name in (first, second, second, first) * _AGAIN[pace]:
                    spent[name].append(await _cpu_ms(readers[name], text, streams))
                for name, each in spent.items():
                    times[name] += [median(each)] if turn else []  # the first opens connections
    finally:
        await client.close()
    return Measured(pace, tuple(times["floor"]), tuple(times["ours"]))


async def _cpu_ms(read: Read, text: str, streams: int) -> float:
    gc.collect()
    begun = time.process_time()
    texts = await asyncio.gather(*(read() for _ in range(streams)))
    spent = time.process_time() - begun
    if set(texts) != {text}:
        raise RuntimeError("a reader returned another text than the server sent")
    return 1000 * spent / streams


def _chunks(text: str) -> tuple[bytes, ...]:
    """The answer's events, each an HTTP chunk."""
    events = script(Answer(text, "stop", 1000, _MODEL), include_usage=True).events
    return tuple(f"{len(event):x}\r\n".encode() + event + b"\r\n" for event in events)


# --- the command ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 within the bound at both paces."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reader", description="The stream reader and its floor.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default %(default)s")
    parser.add_argument("--streams", type=int, default=16, metavar="N", help="at once (default %(default)s)")
    options = parser.parse_args(arguments)
    text = json.dumps(load_bank().stage1("JF:349", SECTION_KEYS), ensure_ascii=False)
    chunks = _chunks(text)
    before = os.getloadavg()[0]
    with _server(chunks) as port:
        measured = [
            uvloop.run(measure(port, pace, text, options.rounds, options.streams)) for pace in (TOGETHER, APART)
        ]
    print(table(measured, len(chunks), (before, os.getloadavg()[0])))
    above = [one for one in measured if one.ratio > RATIO_BOUND]
    print("\n".join(f"FAILED: {one.pace}: {one.ratio:.2f} is above {RATIO_BOUND}" for one in above) or "passed")
    return 1 if above else 0


def table(measured: Sequence[Measured], events: int, load: tuple[float, float]) -> str:
    """The figures as Markdown. `load` is the one-minute load average before and after."""
    lines = [
        f"- commit: {where.commit()}",
        f"- machine: {where.machine()}; {where.today()}",
        f"- load average (1 min): {load[0]:.2f} before, {load[1]:.2f} after",
        f"- a stream: {events} events; CPU of the reading process, median of {len(measured[0].ours_ms)} rounds",
        "",
        "| events come | floor ms | reader ms | reader us an event | ratio | least to most |",
        "|---|---|---|---|---|---|",
    ]
    for one in measured:
        ratios = sorted(ours / floor for ours, floor in zip(one.ours_ms, one.floor_ms, strict=True))
        cells = (
            one.pace,
            f"{median(one.floor_ms):.1f}",
            f"{median(one.ours_ms):.1f}",
            f"{1000 * median(one.ours_ms) / events:.1f}",
            f"{one.ratio:.2f}",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
