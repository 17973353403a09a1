"""One trace a lesson: its spans, their parents and their attributes."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest

from lesson.models import Outcome
from lesson.v1 import lesson_service_pb2 as pb
from tests.model_server import SNAPSHOT, Answer, ModelServer
from tests.services.processes import REQUEST, offline_house, stub
from tests.tracing.collector import Collector
from tests.trio import trio, until

ROOT = "LessonService/GenerateLesson"
CLOCKS_NS = 5_000_000
"""Tolerance: a span made after its call takes its start from another clock."""


async def test_a_lesson_is_one_trace_over_three_services_and_the_model_calls(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    sections = [call.key for call in model.calls if call.key != "stage1"]
    expected = [
        ROOT,
        f"{ROOT} > lesson",
        f"{ROOT} > lesson > ContentService/Describe",
        f"{ROOT} > lesson > EnhancerService/Describe",
        f"{ROOT} > lesson > stage1 attempt",
        f"{ROOT} > lesson > stage1 attempt > ContentService/GenerateContent",
        f"{ROOT} > lesson > stage1 attempt > ContentService/GenerateContent > chat gpt-5",
    ]
    for name in sections:
        attempt = f"{ROOT} > lesson > {name} attempt"
        served = f"{attempt} > EnhancerService/EnhanceSection"
        expected += [attempt, served, f"{served} > chat gpt-4.1"]
    # Sections without an item for the model need the analyser alone.
    alone = [path for path in taken.paths() if " analyser" in path]
    assert taken.paths() - Counter(alone) == Counter(expected)
    assert len({span.trace_id for span in taken.spans}) == 1
    assert {span.service for span in taken.spans} == {"gateway", "content_service", "enhancer_service"}
    for span in taken.spans:
        above = taken.parent(span)
        assert above is None or above.began_ns - CLOCKS_NS <= span.began_ns
        assert above is None or span.ended_ns <= above.ended_ns + CLOCKS_NS
        assert not span.error


async def test_the_spans_say_what_was_asked_and_what_it_cost(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    top = taken.only("lesson.v1.LessonService/GenerateLesson")
    assert (top.kind, top.service, top.parent_id) == ("server", "gateway", "")
    assert top.attributes["rpc.method"] == "lesson.v1.LessonService/GenerateLesson"
    assert top.attributes["rpc.response.status_code"] == "OK"
    assert top.attributes["rpc.system.name"] == "grpc"
    whole = taken.only("lesson").attributes
    assert whole["nidan.lesson_id"] == lesson.lesson_id == top.attributes["nidan.lesson_id"]
    assert (whole["nidan.can_do_id"], whole["nidan.level"], whole["nidan.outcome"]) == ("JF:349", "A1", "complete")
    assert whole["nidan.cost_usd"] == pytest.approx(sum(attempt.cost_usd or 0 for attempt in lesson.attempts))
    assert whole["nidan.attempts"] == len(lesson.attempts)

    chat = taken.only("chat gpt-5")
    attempt = lesson.attempts[0]
    assert (chat.kind, chat.service) == ("client", "content_service")
    assert chat.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.max_tokens": 8000,
        "gen_ai.output.type": "json",
        "gen_ai.response.model": SNAPSHOT,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": chat.attributes["gen_ai.response.time_to_first_chunk"],
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": 500,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "nidan.attempt.id": attempt.id,
        "nidan.outcome": "ok",
        "nidan.cost_usd": pytest.approx(attempt.cost_usd),
    }
    reading = taken.only("reading attempt").attributes
    assert reading["nidan.section"] == "reading"
    assert reading["nidan.attempt.kind"] == "first"
    assert reading["nidan.items"] == len(next(one.items for one in lesson.sections if one.name.value == "reading"))
    assert reading["nidan.outcome"] == "ok"
    served = {
        taken.path(span).split(" > ")[2]: span for span in taken.named("lesson.v1.EnhancerService/EnhanceSection")
    }
    assert served["reading attempt"].attributes["nidan.lesson_id"] == lesson.lesson_id


async def test_a_retry_is_the_sibling_of_the_attempt_that_failed(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    model.script["stage1"] = [Answer(status=500, error={"message": "upset"})]
    model.script["reading"] = [Answer(text="", refusal="no")]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    whole = taken.only("lesson")
    assert not whole.error
    for name, error, kind in (("stage1 attempt", "server_error", "retry"), ("reading attempt", "refused", "fallback")):
        failed, again = taken.named(name)
        assert failed.parent_id == again.parent_id == whole.id
        assert (failed.error, failed.attributes["error.type"]) == (error, error)
        assert (failed.attributes["nidan.attempt.kind"], again.attributes["nidan.attempt.kind"]) == ("first", kind)
        assert (again.error, again.attributes.get("error.type")) == ("", None)
        chats = [span for span in taken.spans if taken.path(span).startswith(f"{ROOT} > lesson > {name} > ")]
        assert sorted(span.error for span in chats if span.name.startswith("chat ")) == ["", error]
        # The model failed but the RPC succeeded: the reply carries the failure as data.
        assert {span.attributes["rpc.response.status_code"] for span in chats if span.kind == "server"} == {"OK"}


async def test_a_lesson_that_fails_is_an_error_under_its_reason(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    model.always["stage1"] = Answer(status=401, error={"message": "no"})
    async with trio(monkeypatch, model) as running:
        refused = await running.refused()
    whole, top = taken.only("lesson"), taken.only("lesson.v1.LessonService/GenerateLesson")
    assert whole.error == whole.attributes["error.type"] == refused.reason == "STAGE1_AUTH"
    assert whole.attributes["nidan.outcome"] == "failed"
    assert top.attributes["rpc.response.status_code"] == refused.status.name


async def test_a_stage_that_cannot_be_reached_is_an_error_of_the_attempt(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    env = {"CONTENT_ADDRESS": "127.0.0.1:1", "STAGE_RESTART_SECONDS": "0"}
    async with trio(monkeypatch, model, env) as running:
        await running.refused()
    attempts = taken.named("stage1 attempt")
    assert attempts
    assert {span.error for span in attempts} == {"upstream"}


async def test_abandoned_work_is_cancelled_and_not_an_error(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    model.always["stage1"] = Answer(delay_seconds=10)
    async with trio(monkeypatch, model) as running:
        call = running.stub.GenerateLesson(REQUEST, timeout=20)
        waiting = asyncio.ensure_future(call)
        await until(lambda: bool(model.in_flight))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    for name in ("lesson", "stage1 attempt", "chat gpt-5"):
        span = taken.only(name)
        assert (span.attributes["nidan.outcome"], span.error) == ("cancelled", "")
        assert "error.type" not in span.attributes
    for name in ("LessonService/GenerateLesson", "ContentService/GenerateContent"):
        span = taken.only(f"lesson.v1.{name}")
        assert (span.attributes["rpc.response.status_code"], span.error) == ("CANCELLED", "")


async def test_a_deadline_of_the_callers_is_an_error_of_the_call(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    model.always["stage1"] = Answer(delay_seconds=10)
    async with trio(monkeypatch, model) as running:
        with pytest.raises(grpc.aio.AioRpcError):
            await running.stub.GenerateLesson(REQUEST, timeout=1)
    top = taken.only("lesson.v1.LessonService/GenerateLesson")
    assert top.error == top.attributes["error.type"] == "DEADLINE_EXCEEDED"


async def test_lessons_at_once_do_not_mix(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    async with trio(monkeypatch, model) as running:
        lessons = [lesson for lesson, _ in await asyncio.gather(*(running.generate() for _ in range(2)))]
        stream = running.stub.StreamLesson(pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349")), timeout=20)
        streamed = {event.lesson_id async for event in stream}
    ids = {lesson.lesson_id for lesson in lessons} | streamed
    assert len(ids) == 3
    by_trace: dict[str, set[str]] = {}
    for span in taken.spans:
        by_trace.setdefault(span.trace_id, set()).add(span.attributes.get("nidan.lesson_id", ""))
    assert sorted(max(found) for found in by_trace.values()) == sorted(ids)
    assert all(len(found - {""}) == 1 for found in by_trace.values())


@pytest.mark.slow
async def test_processes_send_their_spans_before_they_exit_and_log_the_trace(
    taken: Collector,
) -> None:
    async with offline_house() as house, stub(house.processes["gateway"]) as lessons:
        await lessons.GenerateLesson(REQUEST, timeout=20)
    (trace_id,) = {span.trace_id for span in taken.spans}
    assert {span.service for span in taken.spans} == {"gateway", "content_service", "enhancer_service"}
    assert {span.attributes.get("rpc.response.status_code", "OK") for span in taken.spans} == {"OK"}
    assert taken.only("lesson").error == ""
    for name, event in (
        ("gateway", "twostage_generation_completed"),
        ("content_service", "model_call_ended"),
        ("enhancer_service", "model_call_ended"),
    ):
        lines = [line for line in house.processes[name].log if line["event"] == event]
        assert lines
        assert {line["trace_id"] for line in lines} == {trace_id}
