"""The model client against a real HTTP server: what is sent, what each ending is called, and what it cost."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
from aiohttp import web

from lesson.models import AttemptOutcome
from servicekit.llm.calls import CallOutcome, JsonSchema, ModelRequest, Reply
from servicekit.llm.capabilities import OFFLINE_MODEL, Provider, capabilities
from servicekit.llm.client import ModelClient
from servicekit.llm.prices import TokenUsage, cost_usd
from servicekit.llm.schema import outline, strict_schema

DAY = datetime(2026, 11, 1, tzinfo=UTC)
REQUEST = ModelRequest("gpt-4.1", "system", "user", "attempt-1", 100, 2.0)
USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(handler: Handler, seen: list[Reply] | None = None) -> AsyncIterator[ModelClient]:
    async with server(handler) as url:
        observe = (lambda _request, reply: seen.append(reply)) if seen is not None else None
        made = ModelClient(Provider.OPENAI, url, "sk-canary", observe, now=lambda: DAY)
        try:
            yield made
        finally:
            await made.close()


def whole(content: Any = "ok", finish: str | None = "stop", **message: Any) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        choice = {"message": {"content": content, **message}, "finish_reason": finish}
        return web.json_response({"choices": [choice], "usage": USAGE})

    return answer


def events(*lines: bytes, pause: float = 0.0, split: int | None = None) -> Handler:
    """A stream of these lines; `split` sends the bytes in pieces of that size, wherever they fall."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        data = b"".join(line + b"\n\n" for line in lines)
        pieces = (
            [data[at : at + split] for at in range(0, len(data), split)]
            if split
            else [line + b"\n\n" for line in lines]
        )
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(pause)
        await response.write_eof()
        return response

    return answer


def delta(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    content = {"content": text} if text is not None else {}
    choice = {"index": 0, "delta": content | more, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode()


USAGE_EVENT = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode()
DONE = b"data: [DONE]"


async def read(made: ModelClient, request: ModelRequest = REQUEST) -> tuple[list[str], Reply]:
    async with made.stream(request) as stream:
        deltas = [text async for text in stream]
    return deltas, stream.reply


async def test_a_whole_answer_has_its_text_usage_and_price() -> None:
    async with client(whole("{}")) as made:
        reply = await made.complete(REQUEST)
    assert (reply.outcome, reply.text) == (CallOutcome.OK, "{}")
    assert reply.usage == TokenUsage(100, 40, 10, 5)
    # 60 new and 40 cached tokens in at $2.00 and $0.50, 10 out at $8.00 a million.
    assert reply.cost_usd == pytest.approx((60 * 2.0 + 40 * 0.5 + 10 * 8.0) / 1e6)


async def test_a_streamed_answer_is_the_same_text_however_its_bytes_are_cut() -> None:
    lines = (delta("食べ"), delta("物🍣"), b": comment", delta("", "stop"), USAGE_EVENT, DONE)
    for split in (None, 1, 7, 1000):
        async with client(events(*lines, split=split)) as made:
            deltas, reply = await read(made)
        assert deltas == ["食べ", "物🍣"]
        assert (reply.outcome, reply.text) == (CallOutcome.OK, "食べ物🍣")
        assert reply.usage == TokenUsage(100, 40, 10, 5)
        assert reply.first_token_seconds is not None


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("finish", "text", "more", "outcome"),
    [
        ("length", "half", {}, CallOutcome.LENGTH),
        ("length", None, {}, CallOutcome.REASONING_EXHAUSTED),
        ("content_filter", "half", {}, CallOutcome.CONTENT_FILTER),
        ("stop", None, {"refusal": "I cannot."}, CallOutcome.REFUSED),
        ("stop", None, {}, CallOutcome.EMPTY),
        ("stop", "  \n", {}, CallOutcome.EMPTY),
        (None, '{"whole": true}', {}, CallOutcome.BROKEN_STREAM),
        ("tool_calls", "x", {}, CallOutcome.BROKEN_STREAM),
    ],
)
async def test_nothing_is_believed_before_how_it_ended(
    streamed: bool, finish: str | None, text: str | None, more: dict[str, Any], outcome: CallOutcome
) -> None:
    handler = events(delta(text, **more), delta(finish=finish)) if streamed else whole(text, finish, **more)
    async with client(handler) as made:
        reply = (await read(made))[1] if streamed else await made.complete(REQUEST)
    assert reply.outcome is outcome
    assert reply.reason


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (400, {"message": "bad"}, CallOutcome.BAD_REQUEST),
        (400, {"message": "filtered", "code": "content_filter"}, CallOutcome.CONTENT_FILTER),
        (401, {"message": "key"}, CallOutcome.AUTH),
        (403, {"message": "no"}, CallOutcome.AUTH),
        (404, {"message": "?", "code": "model_not_found"}, CallOutcome.UNKNOWN_MODEL),
        (404, {"message": "not here", "code": "lesson_not_in_bank"}, CallOutcome.BAD_REQUEST),
        (408, {"message": "slow"}, CallOutcome.SERVER_ERROR),
        (409, {"message": "conflict"}, CallOutcome.SERVER_ERROR),
        (429, {"message": "wait"}, CallOutcome.RATE_LIMITED),
        (429, {"message": "pay", "code": "insufficient_quota"}, CallOutcome.QUOTA),
        (500, {"message": "oops"}, CallOutcome.SERVER_ERROR),
        (503, {"message": "later", "code": 503}, CallOutcome.SERVER_ERROR),
    ],
)
async def test_a_status_is_told_by_its_class_with_the_servers_words(
    streamed: bool, status: int, error: dict[str, Any], outcome: CallOutcome
) -> None:
    calls = 0

    async def answer(_request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.json_response({"error": error}, status=status, headers={"Retry-After": "2.5"})

    async with client(answer) as made:
        reply = (await read(made))[1] if streamed else await made.complete(REQUEST)
    assert reply.outcome is outcome
    assert str(error["message"]) in reply.reason
    assert reply.retry_after_seconds == 2.5
    # One attempt is one call: the SDK retries nothing.
    assert calls == 1


async def test_an_error_inside_a_stream_ends_it() -> None:
    broken = b'data: {"error": {"message": "overloaded"}}'
    async with client(events(delta("a"), broken, delta("b"))) as made:
        deltas, reply = await read(made)
    assert (deltas, reply.outcome, reply.reason) == (["a"], CallOutcome.SERVER_ERROR, "overloaded")


@pytest.mark.parametrize("line", [b"data: {not json", b"data: [1, 2]", b'data: "text"', b"data: \xff\xfe"])
async def test_an_event_that_is_not_the_apis_ends_the_stream(line: bytes) -> None:
    async with client(events(delta("a"), line, delta("b", "stop"))) as made:
        deltas, reply = await read(made)
    assert (deltas, reply.outcome) == (["a"], CallOutcome.BROKEN_STREAM)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b"null", b'{"choices": "x"}', b'{"choices": [null]}'])
async def test_a_body_that_is_not_the_apis_is_a_failure_and_never_a_crash(body: bytes) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async with client(answer) as made:
        reply = await made.complete(REQUEST)
        _, streamed = await read(made)
    assert reply.outcome is not CallOutcome.OK
    assert streamed.outcome is CallOutcome.BROKEN_STREAM


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many"}, {"prompt_tokens": -1, "completion_tokens": 2}])
async def test_the_cost_of_usage_that_is_absent_or_nonsense_is_estimated(usage: Any) -> None:
    async def answer(_request: web.Request) -> web.Response:
        choice = {"message": {"content": "x"}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": usage})

    async with client(answer) as made:
        reply = await made.complete(REQUEST)
    assert (reply.outcome, reply.usage) == (CallOutcome.OK, None)
    # 4 tokens of prompt at $2.00 and one of answer at $8.00 a million: bytes by three, rounded up.
    assert reply.cost_usd == pytest.approx((4 * 2.0 + 1 * 8.0) / 1e6)


async def test_the_limit_holds_for_a_stream_that_drips_for_ever() -> None:
    async with client(events(*[delta("a")] * 100, pause=0.05)) as made:
        request = ModelRequest("gpt-4.1", "s", "u", "id", 100, 0.4)
        deltas, reply = await read(made, request)
    assert reply.outcome is CallOutcome.TIMEOUT
    assert 0 < len(deltas) < 20
    assert reply.duration_seconds < 2
    assert reply.text == "a" * len(deltas)


async def test_a_slow_reader_is_not_cut_while_the_server_is_in_time() -> None:
    lines = delta("a") + b"\n\n" + delta("b") + b"\n\n" + delta(finish="stop") + b"\n\n" + DONE
    request = ModelRequest("gpt-4.1", "s", "u", "id", 100, 0.3)
    async with client(events(lines)) as made, made.stream(request) as stream:
        async for _ in stream:
            await asyncio.sleep(0.4)
    # All came in one piece and in time; how long the reader took over it is not the server's fault.
    assert (stream.reply.outcome, stream.reply.text) == (CallOutcome.OK, "ab")


def silent_after(*lines: bytes) -> Handler:
    """These lines, and then comments only, for ever."""
    return events(*lines, *[b": still here"] * 100, pause=0.02)


@pytest.mark.parametrize(
    ("said", "limits", "outcome", "reason"),
    [
        ([], {"first_token_seconds": 0.1}, CallOutcome.FIRST_TOKEN_TIMEOUT, "no text within 0.1 s"),
        ([delta("")], {"first_token_seconds": 0.1}, CallOutcome.FIRST_TOKEN_TIMEOUT, "no text within 0.1 s"),
        ([delta("a")], {"stall_seconds": 0.1}, CallOutcome.STALLED, "no more text within 0.1 s"),
        ([delta("a")], {"first_token_seconds": 5, "stall_seconds": 0.1}, CallOutcome.STALLED, "no more text"),
        ([delta("a")], {"first_token_seconds": 0.4}, CallOutcome.TIMEOUT, "no end within 0.6 s"),
        ([delta("a")], {"first_token_seconds": 5, "stall_seconds": 5}, CallOutcome.TIMEOUT, "no end within 0.6 s"),
        ([], {}, CallOutcome.TIMEOUT, "no end within 0.6 s"),
    ],
)
async def test_a_silence_is_told_by_the_limit_that_it_broke(
    said: list[bytes], limits: dict[str, float], outcome: CallOutcome, reason: str
) -> None:
    request = ModelRequest("gpt-4.1", "s", "u", "id", 100, 0.6, **limits)  # type: ignore[arg-type]
    async with client(silent_after(*said)) as made:
        _, reply = await read(made, request)
    assert (reply.outcome, reply.text) == (outcome, "a" if delta("a") in said else "")
    assert reply.reason.startswith(reason)
    assert reply.duration_seconds < 2


@pytest.mark.parametrize(
    ("limits", "outcome"),
    [({"first_token_seconds": 0.1}, CallOutcome.FIRST_TOKEN_TIMEOUT), ({}, CallOutcome.TIMEOUT)],
)
async def test_a_server_that_does_not_answer_at_all_is_too_slow(limits: dict[str, float], outcome: CallOutcome) -> None:
    async def never(_request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        raise AssertionError

    request = ModelRequest("gpt-4.1", "s", "u", "id", 100, 0.3, **limits)  # type: ignore[arg-type]
    async with client(never) as made:
        _, reply = await read(made, request)
    assert reply.outcome is outcome


async def test_a_reader_slower_than_the_limits_of_silence_is_not_cut() -> None:
    lines = [delta("a"), delta("b"), delta("c"), delta(finish="stop"), DONE]
    request = ModelRequest("gpt-4.1", "s", "u", "id", 100, 5.0, first_token_seconds=0.5, stall_seconds=0.5)
    async with client(events(*lines, pause=0.1)) as made, made.stream(request) as stream:
        async for _ in stream:
            await asyncio.sleep(0.7)
    assert (stream.reply.outcome, stream.reply.text) == (CallOutcome.OK, "abc")


async def test_a_silence_is_counted_from_when_the_reader_came_back() -> None:
    request = ModelRequest("gpt-4.1", "s", "u", "id", 100, 5.0, stall_seconds=0.2)
    async with client(silent_after(delta("a"))) as made, made.stream(request) as stream:
        async for _ in stream:
            await asyncio.sleep(0.3)
    assert stream.reply.outcome is CallOutcome.STALLED
    assert 0.45 < stream.reply.duration_seconds < 2


@pytest.mark.parametrize("at", ["a wait", "a yield"])
async def test_a_reader_cancelled_from_outside_stays_cancelled(at: str) -> None:
    seen: list[Reply] = []
    request = ModelRequest("gpt-4.1", "s", "u", "id", 100, 5.0, stall_seconds=1.0)

    async def reading(made: ModelClient) -> None:
        async with made.stream(request) as stream:
            async for _ in stream:
                await asyncio.sleep(5 if at == "a yield" else 0)

    async with client(silent_after(delta("a")), seen) as made:
        task = asyncio.create_task(reading(made))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [reply.outcome for reply in seen] == [CallOutcome.CANCELLED]
    assert task.cancelling() == 1


async def test_a_stream_that_comes_compressed_is_read_too() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Content-Encoding": "gzip"})
        await response.prepare(request)
        lines = (delta("食べ"), delta("物"), delta(finish="stop"), DONE)
        await response.write(gzip.compress(b"".join(line + b"\n\n" for line in lines)))
        await response.write_eof()
        return response

    async with client(answer) as made:
        deltas, reply = await read(made)
    assert (deltas, reply.outcome) == (["食べ", "物"], CallOutcome.OK)


@pytest.mark.parametrize(
    ("after", "pause", "reused"),
    [
        ([], 0.0, True),
        ([], 0.05, True),  # the body's end comes by itself, later
        ([b": bye"], 0.02, True),
        ([b": bye"] * 100, 0.02, False),  # too late
        ([b": " + b"x" * 2000], 0.02, False),  # too much
    ],
)
async def test_a_connection_is_used_again_when_the_end_follows_the_last_event(
    after: list[bytes], pause: float, reused: bool
) -> None:
    ports: list[Any] = []
    lines = events(delta("a"), delta(finish="stop"), DONE, *after, pause=pause)

    async def answer(request: web.Request) -> Any:
        ports.append(request.transport and request.transport.get_extra_info("peername"))
        return await lines(request)

    async with client(answer) as made:
        for _ in range(2):
            _, reply = await read(made)
            assert reply.outcome is CallOutcome.OK
            await asyncio.sleep(0.4)
    assert (len(ports), len(set(ports)) == 1) == (2, reused)


async def test_nobody_waits_for_the_end_of_an_answer_after_its_last_event() -> None:
    ports: list[Any] = []
    answer_is_read = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        ports.append(request.transport and request.transport.get_extra_info("peername"))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"".join(line + b"\n\n" for line in (delta("a"), delta(finish="stop"), DONE)))
        await answer_is_read.wait()
        return response

    async with client(answer) as made:
        _, reply = await read(made)
        answer_is_read.set()
        await asyncio.sleep(0.1)
        await read(made)
    # Who had waited would have waited for too long, and left by closing.
    assert reply.outcome is CallOutcome.OK
    assert len(ports) == 2
    assert len(set(ports)) == 1


async def test_a_client_that_closes_leaves_no_answer_open_whose_end_does_not_come() -> None:
    async with client(events(delta("a"), delta(finish="stop"), DONE, *[b": bye"] * 100, pause=0.02)) as made:
        _, reply = await read(made)
        await asyncio.wait_for(made.close(), 1.0)
        left = [task for task in asyncio.all_tasks() if "_read_out" in repr(task)]
    assert (reply.outcome, left) == (CallOutcome.OK, [])


def told(**more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": "b"}, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]} | more).encode()


async def test_what_comes_beside_a_text_is_not_passed_over() -> None:
    lines = (
        delta("a"),
        told(system_fingerprint="fp-1"),
        told(system_fingerprint="fp-2"),
        told(system_fingerprint=None, usage=USAGE),
        delta("c", refusal="no"),
        delta(["d"]),  # type: ignore[arg-type]
        delta("e", finish="stop"),
        DONE,
    )
    async with client(events(*lines)) as made:
        deltas, reply = await read(made)
    assert deltas == ["a", "b", "b", "b", "c", "e"]
    assert (reply.outcome, reply.reason, reply.finish_reason) == (CallOutcome.REFUSED, "no", "stop")
    assert reply.fingerprint == "fp-2"
    assert reply.usage == TokenUsage(100, 40, 10, 5)


async def test_an_error_beside_a_text_ends_the_stream() -> None:
    async with client(events(delta("a"), told(error={"message": "overloaded"}), delta("c"))) as made:
        deltas, reply = await read(made)
    assert (deltas, reply.outcome, reply.reason) == (["a"], CallOutcome.SERVER_ERROR, "overloaded")


async def test_a_reader_who_leaves_is_told_as_cancelled_and_counted_once() -> None:
    seen: list[Reply] = []
    async with client(events(*[delta("a")] * 100, pause=0.05), seen) as made, made.stream(REQUEST) as stream:
        async for _ in stream:
            break
    assert [reply.outcome for reply in seen] == [CallOutcome.CANCELLED]


async def test_a_cancelled_call_is_counted_and_stays_cancelled() -> None:
    seen: list[Reply] = []

    async def never(_request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        raise AssertionError

    async with client(never, seen) as made:
        task = asyncio.create_task(made.complete(REQUEST))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [reply.outcome for reply in seen] == [CallOutcome.CANCELLED]


async def test_nothing_is_listening_is_a_connection_failure() -> None:
    made = ModelClient(Provider.OPENAI, "http://127.0.0.1:1/v1", "k", now=lambda: DAY)
    reply = await made.complete(REQUEST)
    _, streamed = await read(made)
    await made.close()
    assert reply.outcome is streamed.outcome is CallOutcome.CONNECTION


async def sent(request: ModelRequest) -> dict[str, Any]:
    bodies: list[dict[str, Any]] = []

    async def answer(http: web.Request) -> web.Response:
        bodies.append(await http.json())
        assert http.headers["X-Client-Request-Id"] == request.attempt_id
        return web.json_response({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]})

    async with client(answer) as made:
        await made.complete(request)
        await read(made, request)
    whole_body, streamed_body = bodies
    assert streamed_body.pop("stream") is True
    assert streamed_body.pop("stream_options") == {"include_usage": True}
    assert streamed_body == whole_body
    return whole_body


def asking(model: str) -> ModelRequest:
    schema = JsonSchema("answer", {"type": "object"})
    return ModelRequest(model, "s", "u", "id-7", 100, 2.0, schema, temperature=0.0, reasoning_effort="low")


async def test_a_reasoning_model_is_sent_its_effort_and_no_temperature() -> None:
    body = await sent(asking("gpt-5"))
    assert body["reasoning_effort"] == "low"
    assert body["max_completion_tokens"] == 100
    assert "temperature" not in body
    assert body["response_format"]["json_schema"] == {"name": "answer", "schema": {"type": "object"}, "strict": True}


async def test_a_plain_model_is_sent_its_temperature_and_no_effort() -> None:
    body = await sent(asking("gpt-4.1"))
    assert body["temperature"] == 0.0
    assert "reasoning_effort" not in body


def test_what_a_model_takes_is_data_and_an_unknown_one_takes_the_least() -> None:
    assert capabilities(Provider.OPENAI, "gpt-5").shutdown == date(2026, 12, 11)
    assert capabilities(Provider.OPENAI, "gpt-4.1").successor == "gpt-6-luna"
    assert not capabilities(Provider.OPENAI, "my-own").reasons
    assert capabilities(Provider.OFFLINE, OFFLINE_MODEL).shutdown is None


def test_cached_tokens_never_make_a_call_dearer() -> None:
    costs = [cost_usd(Provider.OPENAI, "gpt-5", TokenUsage(1000, cached, 10, 0), DAY) for cached in range(0, 1001, 100)]
    assert all(cost is not None for cost in costs)
    assert costs == sorted(costs, key=lambda cost: -(cost or 0.0))


def test_a_price_that_is_not_known_is_none_and_the_offline_models_is_zero() -> None:
    usage = TokenUsage(1000, 0, 1000, 0)
    assert cost_usd(Provider.OPENAI, "nobody-ever-heard-of-it", usage, DAY) is None
    assert cost_usd(Provider.OFFLINE, OFFLINE_MODEL, usage, DAY) == 0.0


def test_every_way_a_call_can_end_is_an_outcome_of_an_attempt() -> None:
    assert {outcome.value for outcome in CallOutcome} <= {outcome.value for outcome in AttemptOutcome}


def test_a_strict_schema_requires_all_and_drops_what_decoders_refuse() -> None:
    schema = {
        "type": "object",
        "title": "T",
        "description": "d",
        "properties": {
            "title": {"type": "string", "minLength": 1, "title": "Title"},
            "kind": {"const": "a", "type": "string"},
            "list": {"type": "array", "items": {"$ref": "#/$defs/X"}, "minItems": 1},
            "either": {"oneOf": [{"type": "string"}, {"type": "null"}], "discriminator": {}, "default": None},
        },
        "required": ["title"],
        "$defs": {"X": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}}},
    }
    strict = strict_schema(schema)
    assert strict["required"] == ["title", "kind", "list", "either"]
    assert strict["additionalProperties"] is False
    assert strict["properties"]["title"] == {"type": "string"}
    assert strict["properties"]["kind"] == {"type": "string", "enum": ["a"]}
    assert strict["properties"]["either"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert strict["$defs"]["X"]["properties"]["n"] == {"type": "integer"}
    assert outline(strict) == '{"title": string, "kind": "a", "list": [X], "either": string | null}\nX = {"n": integer}'
