"""Each fault of the matrix is what it says, byte for byte, before any lesson meets it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from benchmarks.faults.cells import wanted
from benchmarks.faults.kinds import REFUSED, stage1_fault, stage2_fault
from benchmarks.faults.server import CHAT, HOST, Call, Fault, FaultServer
from lesson.models import SectionName
from offline_model.bank import SECTION_KEYS
from tests.model_server import bank
from tests.offline.asking import chat, stage1, stage2

WHOLE = bank().stage1("JF:349", SECTION_KEYS)
TEXTS = ("食[た]べ物[もの]は、魚[さかな]が好[す]きです。", "朝[あさ]は、いつもご飯[はん]と卵[たまご]を食[た]べます。")
ITEMS = [{"id": str(n), "text": text, "want": True, "translate": True} for n, text in enumerate(TEXTS, start=1)]


@dataclass
class Said:
    """What came over the wire."""

    raw: bytes
    ended: str
    """closed, reset, or silent: the connection still stands."""

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    @property
    def body(self) -> bytes:
        """The body; of a chunked one, the chunks that came."""
        body = self.raw.partition(b"\r\n\r\n")[2]
        if "chunked" not in self.head:
            return body
        parts: list[bytes] = []
        while match := re.match(rb"([0-9a-f]+)\r\n", body):
            size = int(match[1], 16)
            parts.append(body[match.end() : match.end() + size])
            body = body[match.end() + size + 2 :]
        return b"".join(parts)

    @property
    def whole(self) -> bool:
        """Whether the response is complete as HTTP."""
        if "chunked" in self.head:
            return self.raw.endswith(b"\r\n0\r\n\r\n")
        length = re.search(r"Content-Length: (\d+)", self.head)
        return bool(length) and int(length[1]) == len(self.body) if length else False

    @property
    def events(self) -> list[Any]:
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def text(self) -> str:
        """What the model said."""
        if "event-stream" not in self.head and not self.body.startswith(b"data:"):
            return str(json.loads(self.body)["choices"][0]["message"]["content"])
        deltas = [choice["delta"] for event in self.events for choice in event.get("choices", [])]
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def finish(self) -> str | None:
        if b"data: " not in self.body:
            return str(json.loads(self.body)["choices"][0]["finish_reason"])
        finishes = [choice["finish_reason"] for event in self.events for choice in event.get("choices", [])]
        return next((finish for finish in finishes if finish), None)

    @property
    def value(self) -> Any:
        return json.loads(self.text)


def stage1_body() -> dict[str, Any]:
    return chat(stage1(), stream=True, stream_options={"include_usage": True})


def stage2_body(mode: str = "review") -> dict[str, Any]:
    items = (
        ITEMS if mode == "review" else [item | {"text": re.sub(r"\[.*?\]", "", str(item["text"]))} for item in ITEMS]
    )
    return chat(stage2(mode, items) | {"section": "dialogue"})


async def ask(fault: Fault | None, body: dict[str, Any], seconds: float = 0.5) -> tuple[Said, tuple[Call, ...]]:
    """One call, read until the connection ends or nothing has come for a while."""
    server = FaultServer(bank(), lambda _call: ("", fault) if fault else None, keep_alive=False)
    async with server.serving():
        said = await _exchange(server, body, seconds)
    assert not server.errors
    return said, server.take()


async def _exchange(server: FaultServer, body: dict[str, Any], seconds: float) -> Said:
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    raw, ended = b"", "closed"
    try:
        async with asyncio.timeout(10):
            while piece := await asyncio.wait_for(reader.read(1 << 20), seconds):
                raw += piece
                if raw.count(b": still here") > 3 or raw.count(b"  \n") > 3:
                    ended = "silent"
                    break
    except TimeoutError:
        ended = "silent"
    except ConnectionResetError:
        ended = "reset"
    writer.close()
    return Said(raw, ended)


def test_every_fault_of_the_file_exists_and_every_line_is_read() -> None:
    cells = wanted()
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        if cell.fault == REFUSED:
            continue
        fault = stage1_fault(cell.fault, cell.position, WHOLE) if cell.stage == "stage1" else stage2_fault(cell.fault)
        assert callable(fault)
    positions = {cell.position for cell in cells if cell.fault == "cut inside"}
    assert positions == {name.value for name in SectionName}


async def test_without_a_fault_the_answer_is_good_and_its_usage_true() -> None:
    streamed, calls = await ask(None, stage1_body())
    assert streamed.value == WHOLE
    assert (streamed.finish, streamed.whole, streamed.ended) == ("stop", True, "closed")
    assert streamed.events[-1]["usage"]["completion_tokens"] > 1000
    assert calls[0].answered
    assert (calls[0].key, calls[0].number, calls[0].streamed) == ("stage1", 1, True)
    whole, calls = await ask(None, stage2_body())
    assert [entry["id"] for entry in whole.value["items"]] == ["1", "2"]
    assert (whole.finish, whole.whole, calls[0].key) == ("stop", True, "dialogue")


async def test_a_closed_port_refuses_and_an_opened_one_serves_again() -> None:
    server = FaultServer(bank(), lambda _call: None, keep_alive=False)
    async with server.serving():
        server.close_port()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, server.port)
        server.open_port()
        assert (await _exchange(server, stage1_body(), 0.5)).value == WHOLE


SILENT: dict[str, Callable[[Said], bool]] = {
    "no response": lambda said: said.raw == b"",
    "slow first token": lambda said: said.status == 200 and (said.body == b"" or said.text == ""),
    "comments for ever": lambda said: said.status == 200 and re.sub(rb": still here|\s", b"", said.body) == b"",
    "stall": lambda said: len(said.body) > 100 and not said.whole,
}


@pytest.mark.parametrize("name", SILENT)
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
async def test_what_says_nothing_keeps_its_connection(name: str, stage: str) -> None:
    fault = stage1_fault(name, "grammar", WHOLE) if stage == "stage1" else stage2_fault(name)
    body = stage1_body() if stage == "stage1" else stage2_body()
    said, calls = await ask(fault, body)
    assert said.ended == "silent"
    assert SILENT[name](said)
    assert calls[0].answered == (name != "no response")


@pytest.mark.parametrize(
    ("name", "ended"), [("cut at the start", "closed"), ("reset at the start", "reset"), ("cut before", "closed")]
)
async def test_what_ends_at_the_start_says_nothing(name: str, ended: str) -> None:
    said, calls = await ask(stage2_fault(name), stage2_body())
    assert (said.raw, said.ended) == (b"", ended)
    assert not calls[0].answered


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("cut before", '"grammar'[:1]),
        ("cut after", json.dumps(WHOLE["grammar"], ensure_ascii=False)),
        ("cut inside", ""),
        ("no end", ""),
        ("reset", ""),
        ("stall", ""),
    ],
)
async def test_a_stream_ends_at_its_place_in_the_section(name: str, end: str) -> None:
    said, _ = await ask(stage1_fault(name, "grammar", WHOLE), stage1_body())
    good = json.dumps(WHOLE, ensure_ascii=False)
    start, after = good.index('"grammar": '), good.index('"culture": ')
    assert good.startswith(said.text)
    assert said.text.endswith(end)
    if name == "cut before":
        assert len(said.text) == start + 1
    else:
        assert start + 20 < len(said.text) < after
    assert said.finish is None
    assert said.whole == (name == "no end")
    assert said.ended == {"reset": "reset", "stall": "silent"}.get(name, "closed")


@pytest.mark.parametrize("name", ["cut inside", "cut after", "reset"])
async def test_a_whole_answer_ends_in_its_body(name: str) -> None:
    said, calls = await ask(stage2_fault(name), stage2_body())
    assert not said.whole
    assert said.ended == ("reset" if name == "reset" else "closed")
    assert calls[0].answered
    assert (said.text != "") if name == "cut after" else said.body.startswith(b'{"id"')


async def test_a_section_that_is_not_asked_for_is_no_place_for_a_fault() -> None:
    said, _ = await ask(stage1_fault("cut inside", "grammar", WHOLE), chat(stage1(["culture"]), stream=True))
    assert set(said.value) == {"culture"}
    assert said.finish == "stop"


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("400", 400, "invalid_value"),
        ("401", 401, "invalid_api_key"),
        ("404", 404, "model_not_found"),
        ("408", 408, None),
        ("429 without", 429, "rate_limited"),
        ("429 seconds", 429, None),
        ("429 date", 429, None),
        ("429 ms", 429, None),
        ("429 an hour", 429, None),
        ("quota", 429, "insufficient_quota"),
        ("500", 500, None),
        ("503 then fine", 503, None),
    ],
)
async def test_errors_are_told_as_the_provider_tells_them(name: str, status: int, code: str | None) -> None:
    said, calls = await ask(stage2_fault(name), stage2_body())
    again, _ = await ask(stage2_fault(name), stage2_body())
    assert (said.status, said.whole) == (status, True)
    error = json.loads(said.body)["error"]
    assert error["code"] == code
    assert not calls[0].answered
    if name in ("500", "429 without", "408"):
        assert error["message"] != json.loads(again.body)["error"]["message"]
    headers = dict(line.split(": ", 1) for line in said.head.split("\r\n")[1:])
    form = {name: headers[name] for name in ("Retry-After", "retry-after-ms") if name in headers}
    match name:
        case "429 seconds":
            assert form == {"Retry-After": "1"}
        case "429 ms":
            assert form == {"Retry-After": "1", "retry-after-ms": "700"}
        case "429 an hour":
            assert form == {"Retry-After": "3600"}
        case "429 date":
            assert parsedate_to_datetime(form["Retry-After"]).timestamp() == calls[0].not_before
        case _:
            assert form == {}


async def test_a_503_is_fine_the_second_time() -> None:
    server = FaultServer(bank(), lambda _call: ("", stage1_fault("503 then fine", "-", WHOLE)), keep_alive=False)
    async with server.serving():
        first, second = [await _exchange(server, stage1_body(), 0.5) for _ in range(2)]
    assert first.status == 503
    assert second.value == WHOLE


def _raises(call: Callable[[], object]) -> bool:
    try:
        call()
    except ValueError:
        return True
    return False


ANSWERS: dict[str, Callable[[Said], bool]] = {
    "502": lambda said: said.status == 502 and b"<html>" in said.body,
    "html page": lambda said: said.status == 200 and "text/html" in said.head,
    "empty": lambda said: (said.text, said.finish) == ("", "stop"),
    "reasoning ate it": lambda said: (said.text, said.finish) == ("", "length"),
    "length": lambda said: said.finish == "length" and _raises(lambda: said.value),
    "prose": lambda said: said.finish == "stop" and "{" not in said.text,
    "fenced JSON": lambda said: "```json\n{" in said.text,
    "two objects": lambda said: said.text.count('{"') > 1 and _raises(lambda: said.value),
    "duplicate keys": lambda said: len(json.loads(said.text, object_pairs_hook=list)) > len(said.value),
    "huge": lambda said: len(said.body) > 3_000_000 and said.finish == "stop",
    "invalid UTF-8": lambda said: b"\xff" in said.body and said.whole,
    "refusal": lambda said: said.text == "" and b'"refusal"' in said.body,
    "content filter": lambda said: said.finish == "content_filter" and said.text != "",
    "usage absent": lambda said: said.finish == "stop" and b"completion_tokens" not in said.body,
    "usage lies": lambda said: b'"completion_tokens": "many"' in said.body,
    "usage absurd": lambda said: b'"completion_tokens": 1000000000' in said.body,
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
async def test_an_answer_is_wrong_in_its_own_way(name: str, stage: str) -> None:
    if stage == "stage1":
        said, _ = await ask(stage1_fault(name, "grammar" if name == "length" else "-", WHOLE), stage1_body())
    else:
        said, _ = await ask(stage2_fault(name), stage2_body())
    assert ANSWERS[name](said)


async def test_a_wrong_content_type_is_all_that_is_wrong() -> None:
    streamed, _ = await ask(stage1_fault("wrong content type", "-", WHOLE), stage1_body())
    assert "application/json" in streamed.head
    assert streamed.value == WHOLE
    whole, _ = await ask(stage2_fault("wrong content type"), stage2_body())
    assert "text/plain" in whole.head
    assert len(whole.value["items"]) == 2


async def test_an_error_event_comes_after_text() -> None:
    said, calls = await ask(stage1_fault("error event", "-", WHOLE), stage1_body())
    assert '"frame"' in said.text
    assert "error" in said.events[-1]
    assert calls[0].answered


async def test_stage_1_content_is_spoilt_where_the_fault_says() -> None:
    spoilt, _ = await ask(stage1_fault("wrong schema", "lesson_plan", WHOLE), stage1_body())
    assert spoilt.value == WHOLE | {"lessonPlan": 7}
    left_out, _ = await ask(stage1_fault("missing items", "culture", WHOLE), stage1_body())
    assert set(WHOLE) - set(left_out.value) == {"culture"}
    more, _ = await ask(stage1_fault("extra items", "-", WHOLE), stage1_body())
    assert set(more.value) - set(WHOLE) == {"bonus"}


async def test_a_model_that_alters_what_was_confirmed_does_so_when_it_is_asked_again() -> None:
    fault = stage1_fault("altered Japanese", "-", WHOLE)
    server = FaultServer(bank(), lambda _call: ("", fault), keep_alive=False)
    async with server.serving():
        first = await _exchange(server, stage1_body(), 0.5)
        again = await _exchange(server, chat(stage1(["culture"]), stream=True), 0.5)
    assert "culture" not in first.value
    assert again.value["culture"] == WHOLE["culture"]
    assert again.value["reading"]["text"] != WHOLE["reading"]["text"]


STAGE2: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "altered Japanese": ("review", lambda good, said: said["corrections"][0]["word"] == "縄文杉"),
    "altered Japanese, mode model": ("model", lambda good, said: said["items"][0]["furigana"].startswith("犬[いぬ]")),
    "wrong kana": ("review", lambda good, said: said["corrections"] == [{"id": "1", "word": "食", "reading": "にゃ"}]),
    "wrong kana, mode model": ("model", lambda good, said: json.dumps(said, ensure_ascii=False).count("[にゃ]") == 1),
    "wrong kana twice, mode model": (
        "model",
        lambda good, said: max(item["furigana"].count("[にゃ]") for item in said["items"]) == 2,
    ),
    "placeholder": ("review", lambda good, said: said["items"][0]["translation"] == "[translation pending]"),
    "answered twice": ("review", lambda good, said: [item["id"] for item in said["items"]] == ["1", "2", "1"]),
    "wrong schema": ("review", lambda good, said: set(said["items"]) == {"1", "2"}),
    "missing items": ("review", lambda good, said: said["items"] == good["items"][:1]),
    "extra items": ("review", lambda good, said: said["items"][1:] == good["items"]),
}


@pytest.mark.parametrize("name", STAGE2)
async def test_stage_2_items_are_spoilt_as_the_fault_says(name: str) -> None:
    mode, holds = STAGE2[name]
    good, _ = await ask(None, stage2_body(mode))
    said, _ = await ask(stage2_fault(name), stage2_body(mode))
    assert holds(good.value, said.value)
