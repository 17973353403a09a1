"""One caller's choices stay his own: short limits, lessons given up, lessons left behind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from gateway.access.keys import Scope
from gateway.attempts.costs import most_tokens, stage1_usd
from lesson.models import AttemptKind, Outcome
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import read_error
from servicekit.llm.capabilities import Provider
from tests.access.callers import Ring, bearer
from tests.model_server import Answer, ModelServer
from tests.trio import trio, until

SPEC = pb.LessonSpec(can_do_id="JF:349")


async def test_limits_that_a_caller_shortened_open_no_breaker(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        model.always["stage1"] = Answer(delay_seconds=2.0)
        await asyncio.gather(*(running.refused(timeout_seconds=1.3) for _ in range(14)))
        model.always.clear()
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert lesson.attempts[0].model == "gpt-5"
    assert lesson.attempts[0].kind is AttemptKind.FIRST


async def test_lessons_given_up_at_once_cost_little_of_the_day(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(delay_seconds=30.0)
    async with trio(monkeypatch, model, {"DAILY_COST_LIMIT_USD": "2"}) as running:
        for _ in range(30):
            call = running.stub.StreamLesson(pb.StreamLessonRequest(spec=SPEC), timeout=20)
            await anext(aiter(call))
            await until(lambda: bool(model.in_flight))
            call.cancel()
            await until(lambda: not model.in_flight)
        model.always.clear()
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE


def test_a_cancelled_call_costs_what_it_can_have_written() -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    whole, early = (stage1_usd(Provider.OPENAI, "gpt-5", tokens, at) for tokens in (8000, most_tokens(8000, 0.15)))
    assert whole is not None
    assert early is not None
    assert most_tokens(8000, 100.0) == most_tokens(8000, float("inf")) == 8000
    assert early < whole / 4


async def test_lessons_left_behind_count_until_they_end(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path
) -> None:
    ring = Ring(tmp_path / "keys.toml")
    token = ring.add("one", Scope.GENERATE)
    env = {
        "GATEWAY_KEYS_FILE": str(ring.file),
        "GATEWAY_CALLER_LESSONS_AT_ONCE": "2",
        "ON_DISCONNECT": "finish",
    }
    model.always["stage1"] = Answer(delay_seconds=1.5)
    async with trio(monkeypatch, model, env) as running:
        for _ in range(2):
            call = running.stub.StreamLesson(pb.StreamLessonRequest(spec=SPEC), metadata=bearer(token), timeout=20)
            await anext(aiter(call))
            call.cancel()
        request = pb.GenerateLessonRequest(spec=SPEC)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.stub.GenerateLesson(request, metadata=bearer(token), timeout=20)
        assert read_error(refused.value).reason == "CALLER_AT_ONCE"
        model.always.clear()
        await asyncio.sleep(2.5)
        reply = await running.stub.GenerateLesson(request, metadata=bearer(token), timeout=20)
    assert reply.lesson.outcome


async def test_a_caller_without_a_limit_has_his_share_of_the_day(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path
) -> None:
    ring = Ring(tmp_path / "keys.toml")
    one, two = ring.add("one", Scope.GENERATE), ring.add("two", Scope.GENERATE)
    env = {
        "GATEWAY_KEYS_FILE": str(ring.file),
        "DAILY_COST_LIMIT_USD": "0.5",
        "DAILY_COST_SHARE_PER_CALLER": "0.5",
        "LESSON_COST_LIMIT_USD": "0.21",
    }
    request = pb.GenerateLessonRequest(spec=SPEC)
    model.always["stage1"] = Answer(usage={"prompt_tokens": 5000, "completion_tokens": 14_000})
    async with trio(monkeypatch, model, env) as running:
        await running.stub.GenerateLesson(request, metadata=bearer(one), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await running.stub.GenerateLesson(request, metadata=bearer(one), timeout=20)
        model.always.clear()
        other = await running.stub.GenerateLesson(request, metadata=bearer(two), timeout=20)
    assert [one.field for one in read_error(refused.value).violations] == ["GATEWAY_CALLER_DAILY_COST_USD"]
    assert other.lesson.outcome
