"""Faults that users of model servers report in public: odd transport, odd errors, odd but whole answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from benchmarks.faults.server import Call, Fault, Good, Line, answer_with, completion, counted

_LOST: Final = "\ufffd"


async def tls_bytes(line: Line, _call: Call, _good: Good) -> None:
    """An alert of TLS on a plain port."""
    await line.raw(bytes.fromhex("15030300020246"))
    line.cut()


async def header_of(line: Line, call: Call, good: Good, *, size: int) -> None:
    line.add_header("X-Trace", "t" * size)
    await answer_with(line, call, good.text)


async def error_of(line: Line, call: Call, _good: Good, *, status: int, body: Any) -> None:
    await line.whole(json.dumps(body).encode(), status)
    call.answered = False  # an error is not billed, whatever its status


async def usage_of(line: Line, call: Call, good: Good, *, changed: dict[str, Any]) -> None:
    await answer_with(line, call, good.text, usage=counted(call, good.text) | changed)


async def stopped_by(line: Line, call: Call, good: Good, *, word: str) -> None:
    await answer_with(line, call, good.text, word)


async def in_parts(line: Line, call: Call, good: Good) -> None:
    """Content as a list: a thought, and the text."""
    parts = [{"type": "thinking", "thinking": "Let me see {"}, {"type": "text", "text": good.text}]
    if not call.streamed:
        body = json.loads(completion(call, ""))
        body["choices"][0]["message"]["content"] = parts
        body["usage"] = counted(call, good.text)
        await line.whole(json.dumps(body, ensure_ascii=False).encode())
        return
    await line.begin()
    await line.event({"role": "assistant", "content": parts})
    await line.finish(good.text)


async def open_after_the_end(line: Line, call: Call, good: Good) -> None:
    """All is said, and the connection stays open."""
    if not call.streamed:
        await line.begin("application/json")
        await line.chunk(completion(call, good.text))
        line.cut()
        return
    await line.begin()
    await line.pieces(good.text)
    await line.event({}, "stop")
    await line.chunk(b"data: " + json.dumps({"choices": [], "usage": counted(call, good.text)}).encode() + b"\n\n")
    await line.silence()


async def lost_character(line: Line, call: Call, good: Good) -> None:
    """U+FFFD in a text of the reading, or in a translation."""
    value = json.loads(good.text)
    if "reading" in value:
        value["reading"]["title"] = f"{value['reading']['title']}{_LOST}"
    for item in value.get("items", ()):
        if "translation" in item:
            item["translation"] = f"{item['translation']}{_LOST}"
    await answer_with(line, call, json.dumps(value, ensure_ascii=False))


async def events_between(line: Line, call: Call, good: Good, *, between: bytes) -> None:
    """A stream whose events are parted by these bytes."""
    await line.begin()
    half = len(good.text) // 2
    for payload in (
        {"choices": [{"index": 0, "delta": {"content": good.text[:half]}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"content": good.text[half:]}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": counted(call, good.text)},
    ):
        await line.chunk(b"data: " + json.dumps(payload, ensure_ascii=False).encode() + between)
    await line.chunk(b"data: [DONE]" + between)
    await line.end()


REPORTED: Final[Mapping[str, Fault]] = {
    "TLS bytes": tls_bytes,
    "endless header": partial(header_of, size=200_000),
    "long header": partial(header_of, size=9000),
    "usage zero": partial(usage_of, changed={"prompt_tokens": 0, "completion_tokens": 0}),
    "usage in lists": partial(usage_of, changed={"prompt_tokens_details": [{}], "completion_tokens_details": [{}]}),
    "error as text": partial(error_of, status=400, body={"error": "'max_tokens' is too large"}),
    "error in a list": partial(
        error_of, status=400, body=[{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID"}}]
    ),
    "402": partial(error_of, status=402, body={"error": {"message": "Insufficient balance"}}),
    "429 with status 200": partial(error_of, status=200, body={"error": {"message": "Slow down", "code": 429}}),
    "another word for stop": partial(stopped_by, word="eos_token"),
    "content in parts": in_parts,
    "open after the end": open_after_the_end,
    "lost character": lost_character,
    "CR line ends": partial(events_between, between=b"\r\r"),
    "empty events": partial(events_between, between=b"\n\ndata:\n\ndata: null\n\n"),
}
