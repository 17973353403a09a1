"""Only what failed is asked again: re-asks, fallbacks, overlap, deadlines and the ledger, through the wire."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import grpc
import pytest

from lesson.models import (
    COUNTED_SECTIONS,
    AttemptKind,
    AttemptOutcome,
    Outcome,
    SectionName,
    SectionState,
    Stage,
)
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import read_error
from tests.model_server import Answer, ModelServer
from tests.trio import Trio, trio, until

DOWN = Answer(status=500, error={"message": "down"})
KEYS = [name.json_key for name in SectionName]


@pytest.mark.parametrize("name", COUNTED_SECTIONS)
async def test_one_failing_section_is_tried_on_the_fallback_model_alone(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, name: SectionName
) -> None:
    model.script[name.value] = [DOWN, DOWN]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    assert lesson.outcome is Outcome.COMPLETE
    assert [call.body["model"] for call in model.asked(name.value)] == ["gpt-4.1", "gpt-4.1", "gpt-4o-mini"]
    mine = [attempt.kind for attempt in lesson.attempts if attempt.section is name]
    assert mine == [AttemptKind.FIRST, AttemptKind.RETRY, AttemptKind.FALLBACK]
    others = [call for call in model.calls if call.key not in ("stage1", name.value)]
    assert {call.body["model"] for call in others} == {"gpt-4.1"}


async def test_one_failing_turn_is_asked_again_alone_with_its_section_as_context(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def lose_one(answer: dict[str, Any]) -> None:
        answer["items"][3]["translation"] = "N/A"

    model.script["dialogue"] = [Answer(edit=lose_one)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    first, again = model.asked("dialogue")
    assert lesson.outcome is Outcome.COMPLETE
    wanted = [item["id"] for item in again.data["items"] if item.get("want", True)]
    assert len(wanted) == 1
    assert len(again.data["items"]) == len(first.data["items"])
    assert again.data["reask"] == [f"{wanted[0]}: translation: the translation is a placeholder"]
    assert again.body["model"] == "gpt-4.1"


async def test_a_better_answer_replaces_an_item_and_a_worse_one_does_not(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def spoil_furigana(answer: dict[str, Any]) -> None:
        for item in answer["items"]:
            item["furigana"] = "?"

    model.always["dialogue"] = Answer(edit=spoil_furigana)
    async with trio(monkeypatch, model, {"STAGE2_MODE": "model"}) as running:
        lesson, _ = await running.generate()

    # The translations of the first answer stand; the readings are the analyser's, and all is there.
    assert lesson.state(SectionName.DIALOGUE) is SectionState.ENHANCED
    assert len(model.asked("dialogue")) <= 5


AT = [at if at % 3 == 0 else pytest.param(at, marks=pytest.mark.slow) for at in range(7)]


@pytest.mark.parametrize("at", AT)
async def test_a_stream_cut_in_a_section_goes_on_from_what_was_confirmed(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, at: int
) -> None:
    def short(lesson: dict[str, Any]) -> None:
        for key in KEYS[at + 1 :]:
            lesson.pop(key, None)

    async with trio(monkeypatch, model) as running:
        whole, _ = await running.generate()
        model.calls.clear()
        model.script["stage1"] = [Answer(edit=short, finish=None, drop_end=20)]
        lesson, _ = await running.generate()

    first, again = model.asked("stage1")
    assert first.data["sections"] == KEYS
    assert again.data["sections"] == KEYS[at:]
    assert list(again.data.get("confirmed", {})) == KEYS[:at]
    assert lesson.outcome is Outcome.COMPLETE
    assert lesson.content == whole.content
    # No confirmed section was annotated twice.
    assert len([call for call in model.calls if call.key != "stage1"]) == 6


async def test_a_bad_section_alone_is_asked_again_with_its_faults(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def spoil(lesson: dict[str, Any]) -> None:
        lesson["practice"][0]["instruction"] = " "

    model.script["stage1"] = [Answer(edit=spoil)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    _, again = model.asked("stage1")
    assert lesson.outcome is Outcome.COMPLETE
    assert again.data["sections"] == ["practice"]
    assert again.data["reask"][0].startswith("practice.0")
    assert [attempt.kind for attempt in lesson.attempts if attempt.stage is Stage.STAGE1] == [
        AttemptKind.FIRST,
        AttemptKind.REASK,
    ]


async def test_a_refusal_goes_to_the_next_model_at_once(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    model.script["stage1"] = [Answer(text="", refusal="no")]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert [call.body["model"] for call in model.asked("stage1")] == ["gpt-5", "gpt-4o"]


async def test_an_answer_contradicted_at_its_end_is_withdrawn_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        whole, _ = await running.generate()
        model.calls.clear()
        good = model.good_stage1_text()
        fixed = good.replace("魚が好きです", "肉が好きです")
        model.script["stage1"] = [Answer(text=f"{good}\nCorrection:\n{fixed}")]
        model.script["reading"] = [Answer(delay_seconds=20)]  # under way when its section is withdrawn
        request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
        events = [event async for event in running.stub.StreamLesson(request, timeout=30)]
        text = await running.metrics()

    kinds = [event.WhichOneof("event") for event in events]
    replaced = {event.section_replaced.name for event in events if event.WhichOneof("event") == "section_replaced"}
    assert len(replaced) == 7
    assert kinds[-1] == "completed"
    lesson = events[-1].completed.lesson
    assert lesson.outcome == 1
    assert {section.revision for section in lesson.sections} == {2}
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    attempts = [attempt.outcome for attempt in lesson.attempts if attempt.stage == 1]
    assert len(attempts) == 2
    for model_name, stage in (("gpt-5", "stage1"), ("gpt-4.1", "stage2")):
        wasted = re.search(rf'nidan_wasted_cost_usd_total{{model="{model_name}",stage="{stage}"}} (\S+)', text)
        assert wasted
        assert float(wasted[1]) > 0
    assert whole.outcome is Outcome.COMPLETE


async def test_stage_2_of_a_section_begins_while_stage_1_still_writes(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(chunk_delay_seconds=0.0005)
    async with trio(monkeypatch, model) as running:
        request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
        kinds = [event.WhichOneof("event") async for event in running.stub.StreamLesson(request, timeout=30)]
    last_ready = len(kinds) - kinds[::-1].index("section_ready")
    assert kinds[:last_ready].count("section_enhanced") >= 4


async def test_a_run_ends_partial_before_its_deadline_with_what_it_has(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["culture"] = Answer(delay_seconds=30)
    env = {"LESSON_DEADLINE_SECONDS": "5", "STAGE2_RESERVE_SECONDS": "1.5"}
    async with trio(monkeypatch, model, env) as running:
        started = asyncio.get_running_loop().time()
        lesson, master = await running.generate()
        took = asyncio.get_running_loop().time() - started
        await settled(model)

    assert lesson.outcome is Outcome.PARTIAL
    assert took < 4
    assert lesson.state(SectionName.CULTURE) is SectionState.PLAIN
    assert lesson.sections_enhanced == 4
    assert "deadline" in master["metadata"]["sectionReasons"]["culture"]
    mine = [attempt.outcome for attempt in lesson.attempts if attempt.section is SectionName.CULTURE]
    assert mine == [AttemptOutcome.TIMEOUT]


async def test_sections_not_asked_by_the_deadline_are_plain_and_say_so(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always |= {name.value: Answer(delay_seconds=0.8) for name in SectionName}
    env = {"LESSON_DEADLINE_SECONDS": "5.5", "STAGE2_RESERVE_SECONDS": "1.5", "STAGE2_CALLS_LIMIT": "1"}
    async with trio(monkeypatch, model, env) as running:
        lesson, master = await running.generate()
        await settled(model)
    assert lesson.outcome is Outcome.PARTIAL
    assert any("the deadline came first" in reason for reason in master["metadata"]["sectionReasons"].values())
    assert any("deadline" in note.text for note in lesson.notes)


async def test_a_lesson_whose_turn_never_comes_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(delay_seconds=30)
    env = {"LESSON_DEADLINE_SECONDS": "5", "STAGE2_RESERVE_SECONDS": "1.5", "STAGE1_CALLS_LIMIT": "1"}
    async with trio(monkeypatch, model, env) as running:
        first = asyncio.create_task(running.refused())
        await until(lambda: bool(model.calls))
        second = await running.refused(timeout_seconds=3)
        await first
    assert (second.status, second.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert second.lesson_id
    assert len(model.asked("stage1")) == 1


async def test_a_timeout_too_short_for_any_attempt_calls_no_model(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        refused = await running.refused(timeout_seconds=0.5)
    assert refused.reason == "DEADLINE_EXCEEDED"
    assert not model.calls


async def test_sections_that_only_the_whole_answer_gives_are_taken_from_it(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    commented = model.good_stage1_text().replace(', "dialogue":', ',\n// the conversation\n"dialogue":', 1)
    assert "//" in commented
    model.script["stage1"] = [Answer(text=commented)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert len(model.asked("stage1")) == 1


async def test_a_caller_whose_deadline_comes_first_gets_the_lessons_id(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(delay_seconds=30)
    async with trio(monkeypatch, model) as running:
        request = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await running.stub.GenerateLesson(request, timeout=1.5)
        await settled(model)
        text = await running.metrics()

    error = read_error(told.value)
    assert (error.status, error.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert re.fullmatch(r"[0-9a-f-]{36}", error.lesson_id)
    assert 'nidan_lessons_total{outcome="cancelled",source="generated"} 1.0' in text


async def test_after_the_last_caller_has_gone_at_most_two_more_chunks_are_written(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(chunk_delay_seconds=0.05)
    async with trio(monkeypatch, model) as running:
        call = running.stub.StreamLesson(pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349")), timeout=30)
        async for _ in call:
            break
        await until(lambda: model.chunks_written >= 3)
        written = model.chunks_written
        call.cancel()
        await settled(model)
        assert model.chunks_written <= written + 2


async def settled(model: ModelServer) -> None:
    """No call of a run is left at the model server."""
    async with asyncio.timeout(5):
        while model.in_flight:  # noqa: ASYNC110 - the server is another's
            await asyncio.sleep(0.01)


async def test_rows_reply_and_metrics_say_the_same_of_money(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script |= {"reading": [DOWN], "grammar": [Answer(text="no JSON")], "stage1": [Answer(text="", refusal="no")]}
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()
        counted = await costs(running)

    assert lesson.outcome is Outcome.COMPLETE
    assert len(lesson.attempts) == len(model.calls)
    assert sum(counted.values()) == pytest.approx(lesson.cost_usd)
    assert master["metadata"]["costUsd"] == pytest.approx(lesson.cost_usd, abs=1e-6)
    assert {attempt.id for attempt in lesson.attempts} == {call.headers["X-Client-Request-Id"] for call in model.calls}


async def costs(running: Trio) -> dict[str, float]:
    found = re.findall(r"nidan_model_cost_usd_total{([^}]*)} (\S+)", await running.metrics())
    return {labels: float(value) for labels, value in found}


async def test_with_every_model_of_stage_2_dead_operators_get_the_events_they_search_for(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    model.always |= {name.value: DOWN for name in SectionName}
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    log = capsys.readouterr().out
    assert lesson.outcome is Outcome.PARTIAL
    assert log.count("stage2_all_sections_failed_retrying_with_fallback") == 1
    assert log.count("stage2_all_attempts_failed_returning_partial") == 1
    chain = ["gpt-4.1", "gpt-4o-mini", "gpt-6-luna", "gpt-6.1-sol"]
    for name in SectionName:
        asked = [call.body["model"] for call in model.asked(name.value)]
        assert len(asked) <= 5
        # In the order of the chain; a model whose breaker opened meanwhile is passed over.
        assert asked == sorted(asked, key=chain.index)
        assert asked or name is SectionName.LESSON_PLAN
    assert {call.body["model"] for call in model.calls if call.key != "stage1"} == set(chain)
