"""Whatever bytes a model server sends, a call ends as an outcome with its cause, bounded, and a whole answer counts."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import time
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from servicekit.llm.calls import CallOutcome, Reply
from servicekit.llm.capabilities import Provider
from servicekit.llm.client import ModelClient
from servicekit.llm.event_stream import ErrorEvent, EventStream, StreamTooLargeError
from servicekit.llm.failures import MAX_RETRY_AFTER_SECONDS, retry_after_seconds
from servicekit.llm.finish import finish_reason
from servicekit.llm.prices import TokenUsage
from servicekit.llm.proxies import ProxyError, proxy_for
from servicekit.llm.server_errors import error_in_answer, error_of_body
from tests.servicekit.raw_server import (
    REQUEST,
    TEXT,
    USAGE,
    ask,
    choice,
    client,
    completion,
    events,
    good_events,
    serving,
    stream,
    whole,
)

BOTH = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
LONG = b"X-Policy: " + b"p" * 9000 + b"\r\n"
END = {"choices": [], "usage": USAGE}


def good(reply: Reply) -> bool:
    return (reply.outcome, reply.text) == (CallOutcome.OK, TEXT)


# --- what is no answer ------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "answer",
    [
        bytes.fromhex("15030100020228"),
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"l" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: n\r\n" % n for n in range(9000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nOne Two: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nQQ\r\ndata: {}\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00",
        whole(b"\x1f\x8b\x08 broken", b"Content-Encoding: gzip\r\n"),
        whole(b"{}", b"Content-Encoding: snappy\r\n"),
        b"",
    ],
    ids=lambda answer: repr(answer[:24]),
)
async def test_what_is_no_answer_is_an_outcome_with_its_cause(answer: bytes, streamed: bool) -> None:
    reply = await ask(answer, streamed=streamed)
    assert reply.outcome in (CallOutcome.CONNECTION, CallOutcome.BROKEN_STREAM, CallOutcome.SERVER_ERROR)
    assert reply.reason
    assert reply.reason.isprintable()


@BOTH
async def test_a_long_header_before_a_good_answer_hides_nothing(streamed: bool) -> None:
    assert good(await ask(stream(good_events(), LONG) if streamed else whole(completion(), LONG), streamed=streamed))


@BOTH
@pytest.mark.parametrize(
    ("payload", "outcome"),
    [
        ({"choices": None}, CallOutcome.BROKEN_STREAM),
        ({"choices": {"0": 1}}, CallOutcome.BROKEN_STREAM),
        ({"choices": ["text"]}, CallOutcome.BROKEN_STREAM),
        ({"choices": [{"message": "m", "delta": "m", "finish_reason": "stop"}]}, CallOutcome.EMPTY),
        ({"choices": [{"message": [1], "delta": [1], "finish_reason": "stop"}]}, CallOutcome.EMPTY),
        (
            {"choices": [{"message": {"content": 7}, "delta": {"content": 7}, "finish_reason": "stop"}]},
            CallOutcome.EMPTY,
        ),
        ({"choices": [{"message": {}, "delta": {}, "finish_reason": {"a": "b"}}]}, CallOutcome.BROKEN_STREAM),
    ],
)
async def test_an_odd_object_is_an_outcome(payload: dict[str, Any], outcome: CallOutcome, streamed: bool) -> None:
    body = stream(events(payload)) if streamed else whole(json.dumps(payload).encode())
    assert (await ask(body, streamed=streamed)).outcome is outcome


# --- what is an answer all the same -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        good_events(b"\r\n\r\n"),
        good_events(b"\r\r"),
        b"\xef\xbb\xbf" + good_events(),
        good_events().replace(b"\n\ndata", b"\n\n: alive\nid: 4\nretry: 9\nevent: message\ndata", 3),
        good_events().replace(b"\n\ndata", b"\n\ndata:\n\ndata: null\n\ndata", 3),
        good_events().replace(b"data: {", b"data:{"),
        good_events().replace(b"data: {", b"data: {\ndata: "),
        good_events().replace(b"\n\n", b"\n"),
        events(choice(TEXT), choice("", "stop"), END)[:-2],
        events(choice(TEXT), choice("", "stop") | {"usage": USAGE}),
        events(choice(TEXT), {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]}, END),
        events(choice(TEXT), {"choices": [{"index": 1, "delta": {"content": "x"}}]}, choice("", "stop"), END),
        events(choice([{"type": "thinking", "thinking": "{"}]), choice([{"type": "text", "text": TEXT}], "stop"), END),
    ],
)
@pytest.mark.parametrize("size", [None, 1])
async def test_a_stream_is_read_however_it_is_written(body: bytes, size: int | None) -> None:
    async def play(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = stream(body)
        for start in range(0, len(answer), size or len(answer)):
            writer.write(answer[start : start + (size or len(answer))])
            await writer.drain()

    assert good(await ask(play, streamed=True))


async def test_a_text_that_each_event_repeats_is_read_once() -> None:
    text = json.dumps({"words": [str(number) for number in range(60)]})
    lines = [choice(text[:end]) for end in (40, 90, 200, len(text))]
    reply = await ask(stream(events(*lines, choice("", "stop"), END)), streamed=True)
    assert (reply.outcome, reply.text) == (CallOutcome.OK, text)


@pytest.mark.parametrize(
    ("halves", "text"), [(("\\ud842", "\\udfb7"), "𠮷"), (("\\ud842", "x"), "\ufffdx"), (("a", "\\ud83d"), "a\ufffd")]
)
async def test_a_character_cut_in_two_is_one_and_half_of_one_a_mark(halves: tuple[str, str], text: str) -> None:
    lines = [b'data: {"choices": [{"delta": {"content": "' + half.encode() + b'"}}]}' for half in halves]
    async with client(stream(events(*lines, choice("", "stop")))) as made, made.stream(REQUEST) as reading:
        _ = [delta async for delta in reading]
    assert (reading.reply.outcome, reading.reply.text) == (CallOutcome.OK, text)


@BOTH
async def test_a_server_that_streams_or_not_as_it_likes_is_understood(streamed: bool) -> None:
    assert good(await ask(whole(completion()) if streamed else stream(good_events()), streamed=streamed))


@pytest.mark.parametrize("end", ["cut", "reset", "open"])
@pytest.mark.parametrize("usage", [True, False])
async def test_what_the_connection_does_after_the_end_does_not_count(end: str, usage: bool) -> None:
    body = events(choice(TEXT), choice("", "stop"), *([END] if usage else []))

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"%x\r\n" % len(body) + body + b"\r\n")
        await writer.drain()
        if end == "open":
            await reader.read(1)
        if end == "reset":
            writer.transport.abort()

    began = time.monotonic()
    assert good(await ask(play, streamed=True))
    assert time.monotonic() - began < REQUEST.stall_seconds


async def test_a_whole_answer_counts_though_its_connection_breaks() -> None:
    body = completion()
    assert good(
        await ask(whole(body).replace(b"Length: %d" % len(body), b"Length: %d" % (len(body) + 9)), streamed=False)
    )


@pytest.mark.parametrize(
    ("told", "means"),
    [(w, "stop") for w in ("EOS", "eos_token", "End-Turn", "FINISH_REASON_STOP", "completed", "stop_sequence")]
    + [(w, "length") for w in ("MAX_TOKENS", "max_output_tokens", "model_length")]
    + [(w, "content_filter") for w in ("SAFETY", "RECITATION")]
    + [(w, "") for w in (None, "", "null", False)]
    + [("tool_calls", "tool_calls"), ({"a": 1}, "{'a': 1}"), ("\x1b[1m", "[1m")],
)
def test_the_words_for_an_end(told: object, means: str) -> None:
    assert finish_reason(told) == means


# --- what servers say of errors ---------------------------------------------------------------------------------------

WORDS = "the furnace is cold"
ERRORS: list[tuple[int, Any, CallOutcome]] = [
    (400, {"error": WORDS}, CallOutcome.BAD_REQUEST),
    (422, {"error": WORDS, "error_type": "validation"}, CallOutcome.BAD_REQUEST),
    (422, {"detail": WORDS}, CallOutcome.BAD_REQUEST),
    (422, {"detail": [{"loc": ["body"], "msg": WORDS, "type": "missing"}]}, CallOutcome.BAD_REQUEST),
    (400, [{"error": {"code": 400, "message": WORDS, "status": "INVALID_ARGUMENT"}}], CallOutcome.BAD_REQUEST),
    (400, [{"error": {"message": f"API key not valid: {WORDS}"}}], CallOutcome.AUTH),
    (400, {"error": {"message": WORDS, "details": [{"reason": "API_KEY_INVALID"}]}}, CallOutcome.AUTH),
    (429, {"error": {"message": WORDS, "type": "insufficient_quota"}}, CallOutcome.QUOTA),
    (400, {"error": {"message": WORDS, "code": "billing_not_active"}}, CallOutcome.QUOTA),
    (402, {"message": WORDS}, CallOutcome.QUOTA),
    (429, {"error": [WORDS]}, CallOutcome.RATE_LIMITED),
    (503, f"upstream: {WORDS}".encode(), CallOutcome.SERVER_ERROR),
    (502, f"<html><head><title>502: {WORDS}</title></head><body>x</body></html>".encode(), CallOutcome.SERVER_ERROR),
    (500, {"object": "error", "message": WORDS, "code": 500}, CallOutcome.SERVER_ERROR),
    (500, {"errors": [{"description": WORDS}]}, CallOutcome.SERVER_ERROR),
]


@BOTH
@pytest.mark.parametrize(("status", "body", "outcome"), ERRORS)
async def test_the_servers_words_come_through(status: int, body: Any, outcome: CallOutcome, streamed: bool) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = await ask(whole(raw, status=b"%d Status" % status), streamed=streamed)
    assert reply.outcome is outcome
    assert reply.reason.startswith(f"HTTP {status}: ")
    assert WORDS in reply.reason


@BOTH
@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ({"error": {"message": WORDS, "code": 429}}, CallOutcome.RATE_LIMITED),
        ({"error": {"message": WORDS, "code": "insufficient_quota"}}, CallOutcome.QUOTA),
        ({"error": WORDS}, CallOutcome.SERVER_ERROR),
        ({"object": "error", "message": WORDS, "code": 40303}, CallOutcome.SERVER_ERROR),
        ([{"error": {"message": WORDS, "code": 503}}], CallOutcome.SERVER_ERROR),
        ({"choices": [{"error": {"message": WORDS, "code": 502}, "finish_reason": "error"}]}, CallOutcome.SERVER_ERROR),
    ],
)
async def test_an_error_with_status_200_is_told_as_one(said: Any, outcome: CallOutcome, streamed: bool) -> None:
    raw = stream(events(choice("a"), said)) if streamed else whole(json.dumps(said).encode())
    reply = await ask(raw, streamed=streamed)
    assert (reply.outcome, reply.reason) == (outcome, WORDS)


@pytest.mark.parametrize(
    "line",
    [
        b'event: error\ndata: {"message": "the furnace is cold", "code": 500}',
        b"event: error\ndata: the furnace is cold",
        b'error: {"code": 500, "message": "the furnace is cold"}',
    ],
)
async def test_an_event_that_is_an_error_by_name_ends_the_stream(line: bytes) -> None:
    reply = await ask(stream(events(choice("a"), line, choice("b", "stop"))), streamed=True)
    assert (reply.outcome, reply.reason, reply.text) == (CallOutcome.SERVER_ERROR, WORDS, "a")


@BOTH
@pytest.mark.parametrize("message", ["\\ud83d", "a\\u001b[31mb", "a\\u202eb", "a\\u009bb", "a\\u0000\\nb"])
async def test_what_a_server_says_is_one_clean_line(message: str, streamed: bool) -> None:
    body = b'{"error": {"message": "%s"}}' % message.encode()
    reply = await ask(whole(body, status=b"400 Bad"), streamed=streamed)
    assert reply.reason.isprintable()
    assert reply.reason.encode()


@BOTH
@pytest.mark.parametrize("status", [b"301 Moved", b"307 Temporary", b"308 Permanent"])
async def test_a_redirect_is_told_and_not_followed(status: bytes, streamed: bool) -> None:
    followed: list[bytes] = []

    async def other(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        followed.append(b"call")
        writer.write(whole(completion()))

    async with serving(other) as url:
        location = b"Location: " + url.encode() + b"/chat/completions?key=secret\r\n"
        reply = await ask(whole(b"", location, status=status), streamed=streamed)
    assert (reply.outcome, followed) == (CallOutcome.BAD_REQUEST, [])
    assert "redirects to 127.0.0.1" in reply.reason
    assert "secret" not in reply.reason


async def test_no_cookie_is_kept_and_no_variable_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer of-somebody-else")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-somebody")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login l password somebody\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    heads: list[bytes] = []

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(whole(completion(), b"Set-Cookie: c=somebody; Path=/\r\nConnection: close\r\n"))
        writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        made = ModelClient(Provider.OPENAI, url, "sk-own-key")
        replies = [await made.complete(REQUEST) for _ in range(2)]
        await made.close()
    assert all(map(good, replies))
    assert len(heads) == 2
    for head in heads:
        assert b"somebody" not in head
        assert head.count(b"Bearer sk-own-key") == 1


# --- money and waits --------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 100, "completion_tokens": 0},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": -4, "completion_tokens": -4},
        {"prompt_tokens": 10**9, "completion_tokens": 10**9},
        {"prompt_tokens": "many", "completion_tokens": 3},
        [4, 5],
        "some",
    ],
)
async def test_usage_that_cannot_be_is_replaced_by_an_estimate(usage: Any, streamed: bool) -> None:
    end = {"choices": [], "usage": usage}
    raw = stream(events(choice(TEXT), choice("", "stop"), end)) if streamed else whole(completion(usage=usage))
    reply = await ask(raw, streamed=streamed)
    assert good(reply)
    assert reply.usage is None
    assert reply.cost_usd is not None
    assert reply.cost_usd > 0


async def test_of_a_model_that_may_think_unseen_nothing_is_estimated() -> None:
    reply = await ask(whole(completion(usage=None)), streamed=False, request=replace(REQUEST, model="gpt-5"))
    assert (good(reply), reply.usage, reply.cost_usd) == (True, None, None)


@BOTH
@pytest.mark.parametrize(
    "usage",
    [
        {**USAGE, "prompt_tokens_details": [{}], "completion_tokens_details": "x"},
        {"prompt_tokens": 100.0, "completion_tokens": "10"},
    ],
)
async def test_usage_in_other_types_is_read(usage: Any, streamed: bool) -> None:
    end = {"choices": [], "usage": usage}
    raw = stream(events(choice(TEXT), choice("", "stop"), end)) if streamed else whole(completion(usage=usage))
    assert (await ask(raw, streamed=streamed)).usage == TokenUsage(100, 0, 10, 0)


NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": str(int(NOW.timestamp()) + 30)}, 30),
        ({"retry-after": str((int(NOW.timestamp()) + 30) * 1000)}, 30),
        ({"retry-after-ms": "1e300"}, MAX_RETRY_AFTER_SECONDS),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Tue, 01 Dec 2026 13:00:02 GMT", "date": "Tue, 01 Dec 2026 13:00:00 GMT"}, 2),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_RETRY_AFTER_SECONDS),
        ({"retry-after": "Fri, 99 Dec 2026 23:59:59 GMT"}, None),
        ({"retry-after": "soon"}, None),
    ],
)
def test_a_wait_makes_sense_or_is_none(headers: dict[str, str], seconds: float | None) -> None:
    found = retry_after_seconds(headers, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))
    assert found is None or math.isfinite(found)


# --- bounds -----------------------------------------------------------------------------------------------------------


async def _pour(writer: asyncio.StreamWriter, piece: bytes, times: int) -> None:
    for _ in range(times):
        writer.write(piece)
        await writer.drain()


@BOTH
@pytest.mark.parametrize("kind", ["error", "error in gzip", "answer in gzip", "line", "text"])
async def test_nothing_is_read_without_a_bound(kind: str, streamed: bool) -> None:
    """100 MB, plain or from a bomb: the call ends early, and little of it is ever held."""
    bomb = gzip.compress(b"data: " + bytes(100_000_000), 1)

    async def play(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match kind:
            case "error":
                writer.write(b"HTTP/1.1 500 E\r\nContent-Length: 100000000\r\n\r\n")
                await _pour(writer, b"e" * 100_000, 1000)
            case "error in gzip":
                writer.write(whole(bomb, b"Content-Encoding: gzip\r\n", b"500 E"))
            case "answer in gzip":
                kind_of_body = b"text/event-stream" if streamed else b"application/json"
                writer.write(whole(bomb, b"Content-Encoding: gzip\r\n", kind=kind_of_body))
            case "line":
                writer.write(stream(b"data: "))
                await _pour(writer, b"l" * 100_000, 1000)
            case _:
                writer.write(stream(b""))
                await _pour(writer, events(choice("t" * 100_000)), 1000)
        await writer.drain()

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    reply = await ask(play, streamed=streamed, request=replace(REQUEST, timeout_seconds=20.0))
    grown = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert reply.outcome in (CallOutcome.SERVER_ERROR, CallOutcome.BROKEN_STREAM, CallOutcome.OK)
    assert len(reply.text) <= 600_000
    assert grown < 24_000_000


async def test_a_list_of_models_is_bounded_and_any_list_is_read() -> None:
    async with client(whole(b'[{"id": "a"}, {"id": 3}, null]')) as made:
        assert await made.models(2.0) == {"a": None}
    for body in (b'{"data": "x"}', b"{", b"[" * 100_000, b'{"data": [' + b" " * 9_000_000):
        async with client(whole(body)) as made:
            with pytest.raises(ConnectionError):
                await made.models(5.0)


# --- the parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "data"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
        (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
         [b"first event", b"second event", b" third event"]),
        (b"data\n\ndata\ndata\n\ndata:", [b"\n"]),
        (b"data:test\n\ndata: test\n\n", [b"test", b"test"]),
        (b"event: add\ndata: 7\n\n", [b"7"]),
    ],
)  # fmt: skip
def test_the_standards_own_examples(given: bytes, data: list[bytes]) -> None:
    for newline in (b"\n", b"\r\n", b"\r"):
        body = given.replace(b"\n", newline)
        for size in (1, 2, 1000):
            reader = EventStream(10_000)
            found = [event for at in range(0, len(body), size) for event in reader.feed(body[at : at + size])]
            assert found == data


def test_an_endless_line_costs_time_in_proportion() -> None:
    reader = EventStream(10**9)
    began = time.process_time()
    for _ in range(3000):
        reader.feed(b"x" * 1000)
    with pytest.raises(StreamTooLargeError):
        reader.feed(b"x" * 1_000_000)
    assert time.process_time() - began < 1.0


def test_an_error_event_is_told_apart() -> None:
    (event,) = EventStream(100).feed(b"event: error\ndata: no\n\n")
    assert isinstance(event, ErrorEvent)


@pytest.mark.parametrize(
    "payload", [None, 3, "x", [], [None], {}, {"error": None}, {"choices": [None]}, {"choices": 3}]
)
def test_what_holds_no_error_is_none(payload: object) -> None:
    assert error_in_answer(payload) is None


@pytest.mark.parametrize("body", [b"", b"null", b"3", b"[[[[[[[[[[1]]]]]]]]]]", b"[" * 60_000, bytes(range(256))])
def test_any_body_of_an_error_has_words(body: bytes) -> None:
    assert error_of_body(body, 500).words


def test_a_proxy_is_taken_from_the_usual_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_for("https://models.example/v1") is None
    monkeypatch.setenv("ALL_PROXY", "http://me:secret@proxy.example:3128")
    found = proxy_for("https://models.example/v1")
    assert found is not None
    assert (found.host, found.variable, "secret" in repr(found)) == ("proxy.example:3128", "ALL_PROXY", False)
    assert [proxy_for(f"http://{host}:8000/v1") for host in ("127.0.0.1", "[::1]", "localhost")] == [None] * 3
    monkeypatch.setenv("NO_PROXY", "models.example")
    assert proxy_for("https://models.example/v1") is None
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example:1080")
    with pytest.raises(ProxyError, match="HTTPS_PROXY"):
        proxy_for("https://other.example/v1")


async def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    made = ModelClient(Provider.OPENAI, "http://models.example/v1", "k")
    reply = await made.complete(REQUEST)
    await made.close()
    assert reply.outcome is CallOutcome.CONNECTION
    assert "the proxy 127.0.0.1:9 (HTTP_PROXY)" in reply.reason
    assert "secret" not in reply.reason
