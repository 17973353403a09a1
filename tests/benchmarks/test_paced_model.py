"""The paced server speaks the API, whole and streamed, and keeps an honest record of each call."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from benchmarks.paced_model import Answer, PacedModel, pace_of, script
from offline_model import tokens
from tests.model_server import bank
from tests.offline.asking import CHAT, chat, content, events, item, joined, stage1, stage2

SCALE = 400.0


@pytest.fixture
def paced() -> PacedModel:
    return PacedModel(bank(), SCALE)


@pytest.fixture
async def model(paced: PacedModel) -> AsyncIterator[ClientSession]:
    runner = web.AppRunner(paced.app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


async def _asked(model: ClientSession, body: dict[str, Any]) -> bytes:
    async with model.post(CHAT, json=body) as response:
        assert response.status == 200
        return await response.read()


async def test_a_stream_tells_what_the_whole_answer_tells(model: ClientSession) -> None:
    asked = chat(stage1(), model="gpt-5")
    whole = json.loads(await _asked(model, asked))
    chunks = events(await _asked(model, asked | {"stream": True, "stream_options": {"include_usage": True}}))
    assert joined(chunks) == content(whole)
    assert set(json.loads(content(whole))) >= {"frame", "practice"}
    assert whole["model"] == chunks[0]["model"] == "gpt-5"
    assert whole["usage"] == chunks[-1]["usage"]
    assert whole["usage"]["completion_tokens"] == tokens.count(content(whole))
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-2:-1]] == ["stop"]


async def test_usage_is_streamed_only_when_asked_for(model: ClientSession) -> None:
    chunks = events(await _asked(model, chat(stage1(["reading"]), stream=True)))
    assert not any("usage" in chunk for chunk in chunks)


async def test_an_answer_is_cut_at_its_token_limit(model: ClientSession) -> None:
    whole = json.loads(await _asked(model, chat(stage1(), max_completion_tokens=20)))
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 20


async def test_a_lesson_that_the_bank_lacks_is_refused_as_the_api_refuses(model: ClientSession) -> None:
    async with model.post(CHAT, json=chat(stage1(canDoId="JF:1"))) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "lesson_not_in_bank"


async def test_the_record_says_when_a_call_came_and_ended_and_how_it_was_written(
    model: ClientSession, paced: PacedModel
) -> None:
    before = time.monotonic()
    await _asked(model, chat(stage2("model", [item("朝です。")]) | {"section": "dialogue"}, model="gpt-4.1"))
    body = await _asked(model, chat(stage1(), stream=True))
    after = time.monotonic()
    async with model.get("/calls") as response:
        calls = await response.json()
    whole, stream = paced.calls
    assert [call["kind"] for call in calls] == [whole.kind, stream.kind] == ["dialogue", "stage1"]
    assert whole.model == "gpt-4.1"
    assert (whole.streamed, stream.streamed) == (False, True)
    assert whole.ended is not None
    assert stream.ended is not None
    assert before < whole.asked < whole.ended <= stream.asked < stream.ended < after
    assert stream.chunks == len(events(body)) + 1  # and [DONE]
    assert 1 <= stream.writes <= stream.chunks


async def test_no_call_ends_before_its_time(model: ClientSession, paced: PacedModel) -> None:
    await _asked(model, chat(stage1(), stream=True))
    await _asked(model, chat(stage2("model", [item("朝です。")])))
    for call in paced.calls:
        assert call.planned_seconds == pytest.approx(pace_of(call.kind).seconds(call.tokens) / SCALE)
        assert call.ended is not None
        assert call.ended - call.asked > call.planned_seconds - 0.002


async def test_a_caller_that_goes_away_leaves_a_call_without_an_end(model: ClientSession, paced: PacedModel) -> None:
    async with model.post(CHAT, json=chat(stage1(), stream=True)) as response:
        await response.content.readany()
        response.close()
    await _asked(model, chat(stage2("model", [])))
    assert paced.calls[0].ended is None


def test_chunks_are_due_when_their_last_token_is() -> None:
    given = Answer("abcdefgh朝ごはん", "stop", 1, "m")
    ready = script(given, include_usage=True)
    assert len(ready.events) == len(ready.tokens) == 6  # role, two pieces, finish, usage, [DONE]
    assert ready.tokens == (0.0, 1.5, 6.0, 6.0, 6.0, 6.0)
    assert given.tokens == 6


def test_an_answer_is_encoded_once() -> None:
    given = Answer("朝", "stop", 1, "m")
    assert script(given, include_usage=False) is script(Answer("朝", "stop", 1, "m"), include_usage=False)
