"""A model server that answers from the offline bank at a stated pace: `python -m benchmarks.paced_model --scale 20`.

It speaks OpenAI's chat completions, streamed and whole, for any model name. A call takes `ttft + tokens / rate`
seconds, all divided by --scale; nothing else changes with the scale. GET /calls lists what each call really took.

Calibration. An earlier system published one run of its plan, 13 calls one after another:

    Stage 1, 1 call                       85.47 s
    reading, 1 call                        5.49 s
    dialogue, 8 calls of one turn         22.65 s
    grammar, 3 calls of one point          9.12 s

It published no token counts, so we assume that its calls wrote the bank's text for JF:349 (`EARLIER`; estimated as
offline_model.tokens does): a Stage 1 of its six sections 2,991 tokens, title and text of the reading 384, eight turns
362 together, the six grammar examples two a call 224 together. From these follow, at scale 1,

    Stage 2   t + 384 / r = 5.49 and 8 t + 362 / r = 22.65:   ttft t = 2.48 s, rate r = 127.4 tokens a second
    grammar   3 t + 224 / r = 9.12 with the same t:           r = 132.4 (with 127.4 it would be 9.19 s)
    Stage 1   ttft 2.48 s, taken from Stage 2 because one figure cannot separate it from the rate; 36.0 tokens a second

Any other plan takes what its own calls and tokens come to: nidan's Stage 1 writes a frame too, 3,492 tokens, 99.4 s.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import gc
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import uvloop
from aiohttp import web

from offline_model import tokens
from offline_model.answer import answer
from offline_model.bank import Bank, load_bank
from offline_model.errors import ApiError
from offline_model.request import ChatRequest, Stage1Data, read_data, read_request
from offline_model.server import CHUNK_CHARACTERS, MAX_BODY_BYTES

HOST = "127.0.0.1"
DEFAULT_SCALE = 20.0
STAGE1 = "stage1"
_DRAIN_SECONDS = 2.0


# --- the pace ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A part of the earlier system's plan: its calls, their tokens together, and its published seconds."""

    calls: int
    tokens: int
    seconds: float


EARLIER = {
    STAGE1: Part(1, 2991, 85.47),
    "reading": Part(1, 384, 5.49),
    "dialogue": Part(8, 362, 22.65),
    "grammar": Part(3, 224, 9.12),
}


@dataclass(frozen=True)
class Pace:
    """How fast a kind of call is answered at scale 1."""

    ttft_seconds: float
    """From the request to the first token."""
    tokens_per_second: float

    def seconds(self, tokens: float, calls: int = 1) -> float:
        """Seconds at scale 1 for `calls` calls, one after another, that write `tokens` tokens together."""
        return calls * self.ttft_seconds + tokens / self.tokens_per_second


def pace_with_ttft(part: Part, ttft_seconds: float) -> Pace:
    """The rate that makes the part take its published seconds, given the time to first token."""
    return Pace(ttft_seconds, part.tokens / (part.seconds - part.calls * ttft_seconds))


def pace_of_both(one: Part, other: Part) -> Pace:
    """The one pace at which both parts take their published seconds: two equations, two unknowns."""
    determinant = one.calls * other.tokens - other.calls * one.tokens
    ttft = (one.seconds * other.tokens - other.seconds * one.tokens) / determinant
    return Pace(ttft, determinant / (one.calls * other.seconds - other.calls * one.seconds))


STAGE2_PACE = pace_of_both(EARLIER["reading"], EARLIER["dialogue"])
STAGE1_PACE = pace_with_ttft(EARLIER[STAGE1], STAGE2_PACE.ttft_seconds)
GRAMMAR_PACE = pace_with_ttft(EARLIER["grammar"], STAGE2_PACE.ttft_seconds)


def pace_of(kind: str) -> Pace:
    """`kind` is stage1, or the section that Stage 2 was asked for."""
    return {STAGE1: STAGE1_PACE, "grammar": GRAMMAR_PACE}.get(kind, STAGE2_PACE)


# --- an answer, encoded once ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """The answer to one call."""

    content: str
    finish_reason: str
    prompt_tokens: int
    model: str

    @property
    def tokens(self) -> int:
        return tokens.count(self.content)

    @property
    def usage(self) -> dict[str, int]:
        together = self.prompt_tokens + self.tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens, "total_tokens": together}


@dataclass(frozen=True)
class Script:
    """A streamed answer as bytes: event i is due once `tokens[i]` tokens are written."""

    events: tuple[bytes, ...]
    tokens: tuple[float, ...]
    """Tokens, ascending."""


def whole(given: Answer) -> bytes:
    """The body of an unstreamed answer."""
    message = {"role": "assistant", "content": given.content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": given.finish_reason}
    return _json(_head(given, "chat.completion") | {"choices": [choice], "usage": given.usage})


@lru_cache(maxsize=64)
def script(given: Answer, include_usage: bool) -> Script:
    """Role, pieces of the content, finish reason, usage if asked for, [DONE]. Cached: every lesson asks the same."""
    head = _head(given, "chat.completion.chunk") | ({"usage": None} if include_usage else {})
    text = given.content
    pieces = [text[start : start + CHUNK_CHARACTERS] for start in range(0, len(text), CHUNK_CHARACTERS)]
    written = list(itertools.accumulate(map(_tokens, pieces)))
    choices = [_choice({"role": "assistant", "content": ""})]
    choices += [_choice({"content": piece}) for piece in pieces]
    choices += [_choice({}, given.finish_reason)]
    events = [_event(head | {"choices": [choice]}) for choice in choices]
    tail = [_event(head | {"choices": [], "usage": given.usage})] if include_usage else []
    tail.append(b"data: [DONE]\n\n")
    last = written[-1] if written else 0.0
    return Script((*events, *tail), (0.0, *written, *[last] * (1 + len(tail))))


def _tokens(piece: str) -> float:
    # The estimate rounds up, and four times a piece is a whole number of tokens.
    return tokens.count(piece * 4) / 4


def _head(given: Answer, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-paced", "object": kind, "created": 0, "model": given.model}


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


# --- the server -------------------------------------------------------------------------------------------------


@dataclass
class Call:
    """One call as it went. Times are time.monotonic(), which all processes of a machine share."""

    kind: str
    """stage1, or the section that Stage 2 was asked for."""
    model: str
    streamed: bool
    asked: float
    """When its request reached us, its body not yet read."""
    planned_seconds: float = 0.0
    """What the pace says it takes, at the scale served."""
    ended: float | None = None
    """When the last chunk had been written; None: not yet, or the caller went away."""
    tokens: int = 0
    chunks: int = 0
    writes: int = 0


class PacedModel:
    """Answers from the bank at the stated pace. `calls` lists the calls in order of arrival."""

    def __init__(self, bank: Bank, scale: float) -> None:
        self._bank = bank
        self._scale = scale
        self.calls: list[Call] = []

    def app(self) -> web.Application:
        """POST /v1/chat/completions, GET /calls and GET /healthz."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors_as_json])
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/calls", self.list_calls)
        app.router.add_get("/healthz", _health)
        return app

    async def list_calls(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked_at = time.monotonic()
        asked = read_request(await request.read())
        given, kind = self._answer(asked)
        call = Call(kind, asked.model, bool(asked.stream), asked_at, tokens=given.tokens)
        call.planned_seconds = pace_of(kind).seconds(given.tokens) / self._scale
        self.calls.append(call)
        send = self._stream if asked.stream else self._whole
        return await send(request, given, call, asked.include_usage)

    def _answer(self, asked: ChatRequest) -> tuple[Answer, str]:
        data = read_data(asked)
        content = answer(self._bank, data, asked.properties).text
        kept = content if asked.token_limit is None else tokens.cut(content, asked.token_limit)
        finish = "stop" if kept == content else "length"
        kind = STAGE1 if isinstance(data, Stage1Data) else _section(asked)
        return Answer(kept, finish, tokens.count(asked.prompt), asked.model), kind

    async def _whole(self, request: web.Request, given: Answer, call: Call, _usage: bool) -> web.StreamResponse:
        body = whole(given)
        await asyncio.sleep(call.asked + call.planned_seconds - time.monotonic())
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body)
        call.ended, call.chunks, call.writes = time.monotonic(), 1, 1
        return response

    async def _stream(self, request: web.Request, given: Answer, call: Call, usage: bool) -> web.StreamResponse:
        ready = script(given, usage)
        pace = pace_of(call.kind)
        due = [call.asked + pace.seconds(written) / self._scale for written in ready.tokens]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        call.chunks = len(ready.events)
        await _write_when_due(response, ready.events, due, call)
        await response.write_eof()
        return response


async def _write_when_due(
    response: web.StreamResponse, events: Sequence[bytes], due: Sequence[float], call: Call
) -> None:
    """Sends all events due at a wake-up in one write: timers have millisecond steps, and a real network gathers too."""
    sent = 0
    while sent < len(events):
        await asyncio.sleep(max(0.0, due[sent] - time.monotonic()))
        upto = max(sent + 1, bisect.bisect_right(due, time.monotonic()))
        await response.write(b"".join(events[sent:upto]))
        call.writes += 1
        sent = upto
    call.ended = time.monotonic()


def _section(asked: ChatRequest) -> str:
    """The section named in Stage 2's data block, for the record and the pace; it never changes the answer."""
    block = asked.messages[-1].content.partition("<data>\n")[2].partition("\n</data>")[0]
    return str(json.loads(block).get("section", "")) if block else ""


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body, status=error.status)


async def serve(port: int, scale: float) -> None:
    """Serves on loopback until SIGTERM or SIGINT and prints its port as one JSON line. Raises OSError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    model = PacedModel(load_bank(), scale)
    gc.collect()
    gc.freeze()  # collecting the whole bank would pause every stream for 50 ms
    runner = web.AppRunner(model.app(), access_log=None, shutdown_timeout=_DRAIN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        started = {"event": "paced_model_started", "port": runner.addresses[0][1], "scale": scale}
        sys.stdout.write(json.dumps(started) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after a signal. PACED_MODEL_PORT and PACED_MODEL_SCALE replace the options under a supervisor."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paced_model", description="A paced model server.")
    parser.add_argument("--port", type=int, default=os.environ.get("PACED_MODEL_PORT", "0"), help="0 for a free port")
    parser.add_argument(
        "--scale",
        type=positive,
        default=os.environ.get("PACED_MODEL_SCALE", f"{DEFAULT_SCALE:g}"),
        help="divides all times (default %(default)s)",
    )
    options = parser.parse_args(arguments)
    uvloop.run(serve(options.port, options.scale))
    return 0


def positive(text: str) -> float:
    """An argparse type: a finite number above 0. argparse also applies it to a default from the environment."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
