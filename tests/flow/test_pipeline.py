"""The whole pipeline through the wire: three real services and a real HTTP model server."""

from __future__ import annotations

from collections import Counter
from typing import Any

import grpc
import pytest

from lesson.models import (
    COUNTED_SECTIONS,
    AttemptOutcome,
    Outcome,
    ReadingProvenance,
    SectionName,
    SectionState,
    TranslationProvenance,
)
from lesson.v1 import lesson_service_pb2 as pb
from tests.model_server import Answer, ModelServer
from tests.trio import trio, until

SOON = {"STAGE_RESTART_SECONDS": "0.3"}
"""A stage that is gone for good need not be waited for."""
MODEL_MODE = {"STAGE2_MODE": "model"}
DEAD = Answer(status=500, error={"message": "down", "type": "server_error"})


async def test_a_lesson_is_complete_when_both_stages_answer_well(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.COMPLETE
    assert lesson.sections_enhanced == 5
    assert all(section.state is SectionState.ENHANCED and not section.reason for section in lesson.sections)
    assert model.calls[0].key == "stage1"
    assert sorted(call.key for call in model.calls[1:]) == [
        "culture", "dialogue", "frame", "grammar", "practice", "reading",
    ]  # fmt: skip
    assert master["uiVersion"] == 2
    assert master["metadata"]["outcome"] == "COMPLETE"


async def test_each_reading_names_the_model_or_the_analyser_as_its_source(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, MODEL_MODE) as running:
        lesson, _ = await running.generate()

    by_id = {text.id: text for section in lesson.sections for text in section.texts}
    turn = by_id["dialogue.turns.0.text"]
    assert turn.reading_provenance is ReadingProvenance.MODEL
    assert turn.translation_provenance is TranslationProvenance.MODEL
    assert turn.reading_model == turn.translation_model == "gpt-4.1"
    assert by_id["frame.target_words.0.surface"].reading_provenance is ReadingProvenance.ANALYSER
    assert by_id["frame.characters.0.name"].reading_provenance is ReadingProvenance.FRAME


@pytest.mark.parametrize("name", COUNTED_SECTIONS)
async def test_one_dead_section_makes_the_lesson_partial_and_keeps_every_text(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, name: SectionName
) -> None:
    async with trio(monkeypatch, model) as running:
        whole, _ = await running.generate()
        model.always[name.value] = DEAD
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    assert lesson.state(name) is SectionState.PLAIN
    assert lesson.sections_enhanced == 4
    assert lesson.content == whole.content
    broken = next(section for section in lesson.sections if section.name is name)
    assert "HTTP 500" in broken.reason
    # Losing the model costs translations, never readings.
    assert {text.reading_provenance for text in broken.texts} == {ReadingProvenance.ANALYSER}
    assert master["metadata"]["sectionStates"][name.json_key] == "PLAIN"
    assert master["metadata"]["stage2EnhancedMap"][name.value] is False


async def test_two_dead_sections_are_both_named(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    model.always |= {"reading": DEAD, "dialogue": DEAD}
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    assert lesson.sections_enhanced == 3
    assert set(master["metadata"]["sectionReasons"]) == {"reading", "dialogue"}


async def test_with_all_of_stage_2_dead_every_turn_point_answer_and_note_is_kept(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        whole, _ = await running.generate()
        model.always |= {name.value: DEAD for name in SectionName}
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    assert lesson.sections_enhanced == 0
    assert lesson.content == whole.content
    assert all(text.romaji for section in lesson.sections for text in section.texts)
    cards = {section["id"]: section["cards"] for section in master["ui"]["sections"]}
    assert whole.content.dialogue
    assert len(
        cards["dialogue"][0]["dialogueTurns" if "dialogueTurns" in cards["dialogue"][0] else "dialogue_turns"]
    ) == (len(whole.content.dialogue.turns))
    assert len(cards["grammar"]) == len(whole.content.grammar)
    assert len(cards["culture"]) == len(whole.content.culture)
    assert len(master["exercises"]) == len(whole.content.practice)


async def test_an_enhancer_that_is_gone_leaves_every_text_and_says_that_it_is_plain(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"ENHANCER_ADDRESS": "127.0.0.1:1", **SOON}) as running:
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    assert lesson.content.written == tuple(SectionName)
    texts = [text for section in lesson.sections for text in section.texts]
    assert {text.reading_provenance for text in texts} == {ReadingProvenance.NONE}
    assert "UNAVAILABLE" in master["metadata"]["sectionReasons"]["dialogue"]
    assert lesson.versions.annotator == ""
    assert {attempt.outcome for attempt in lesson.attempts[1:]} == {AttemptOutcome.UPSTREAM}


async def test_a_content_service_that_is_gone_is_an_error_worth_another_try(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"CONTENT_ADDRESS": "127.0.0.1:1", **SOON}) as running:
        error = await running.refused()

    assert (error.status, error.reason) == (grpc.StatusCode.UNAVAILABLE, "STAGE1_UPSTREAM")
    assert (error.retryable, error.fault, error.stage) == (True, "upstream", "stage1")


async def test_an_enhancer_that_never_answers_leaves_the_plain_lesson(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"AI_STAGE2_TIMEOUT_SECONDS": "0.3"}) as running:
        model.always |= {name.value: Answer(delay_seconds=5) for name in SectionName}
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    assert "no end within 0.3 s" in master["metadata"]["sectionReasons"]["reading"]
    assert {attempt.outcome for attempt in lesson.attempts[1:]} == {AttemptOutcome.TIMEOUT}


STAGE1_FAULTS: dict[str, tuple[Answer, str, grpc.StatusCode, bool]] = {
    "refused": (
        Answer(text="", refusal="I cannot help with that."),
        "STAGE1_REFUSED", grpc.StatusCode.INTERNAL, False,
    ),
    "not JSON": (Answer(text="Here is your lesson!"), "STAGE1_INVALID_JSON", grpc.StatusCode.INTERNAL, True),
    "schema": (
        Answer(edit=lambda lesson: lesson["dialogue"].update(turns=[])),
        "STAGE1_INVALID_SCHEMA", grpc.StatusCode.INTERNAL, True,
    ),
    "length": (Answer(text='{"frame":{"obj', finish="length"), "STAGE1_LENGTH", grpc.StatusCode.INTERNAL, True),
    "reasoning": (Answer(text="", finish="length"), "STAGE1_REASONING_EXHAUSTED", grpc.StatusCode.INTERNAL, True),
    "empty": (Answer(text=""), "STAGE1_EMPTY", grpc.StatusCode.INTERNAL, True),
    "content filter": (
        Answer(text="{", finish="content_filter"),
        "STAGE1_CONTENT_FILTER", grpc.StatusCode.INTERNAL, False,
    ),
    "cut stream": (Answer(cut_after=100), "STAGE1_BROKEN_STREAM", grpc.StatusCode.UNAVAILABLE, True),
    "no end": (Answer(text='{"frame":{"a', finish=None), "STAGE1_BROKEN_STREAM", grpc.StatusCode.UNAVAILABLE, True),
    "server error": (DEAD, "STAGE1_SERVER_ERROR", grpc.StatusCode.UNAVAILABLE, True),
    "rate limit": (
        Answer(status=429, error={"message": "slow down"}, headers={"Retry-After": "0.3"}),
        "STAGE1_RATE_LIMITED", grpc.StatusCode.RESOURCE_EXHAUSTED, True,
    ),
    "quota": (
        Answer(status=429, error={"message": "no money", "code": "insufficient_quota"}),
        "STAGE1_QUOTA", grpc.StatusCode.RESOURCE_EXHAUSTED, False,
    ),
    "key": (
        Answer(status=401, error={"message": "bad key"}),
        "STAGE1_AUTH", grpc.StatusCode.FAILED_PRECONDITION, False,
    ),
    "model": (
        Answer(status=404, error={"message": "no such model", "code": "model_not_found"}),
        "STAGE1_UNKNOWN_MODEL", grpc.StatusCode.FAILED_PRECONDITION, False,
    ),
    "not an answer": (Answer(body=b"<html>"), "STAGE1_BROKEN_STREAM", grpc.StatusCode.UNAVAILABLE, True),
}  # fmt: skip


@pytest.mark.parametrize("fault", STAGE1_FAULTS)
async def test_a_stage_1_that_fails_is_an_error_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, fault: str
) -> None:
    answer, reason, status, retryable = STAGE1_FAULTS[fault]
    model.always["stage1"] = answer
    async with trio(monkeypatch, model) as running:
        error = await running.refused()
        text = await running.metrics()

    assert (error.reason, error.status, error.retryable) == (reason, status, retryable)
    assert error.stage == "stage1"
    assert error.lesson_id
    assert error.retry_after_seconds == (0.3 if fault == "rate limit" else None)
    assert 'nidan_lessons_total{outcome="failed",source="generated"} 1.0' in text
    assert len(model.asked("stage1")) <= 5
    assert {call.body["model"] for call in model.asked("stage1")} == {"gpt-5", "gpt-4o", "gpt-6.1-sol"}


async def test_a_stage_1_that_is_too_slow_is_a_timeout(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    model.always["stage1"] = Answer(delay_seconds=5)
    async with trio(monkeypatch, model, {"AI_STAGE1_TIMEOUT_SECONDS": "0.3"}) as running:
        error = await running.refused()

    assert error.reason == "STAGE1_TIMEOUT"
    assert error.status is grpc.StatusCode.UNAVAILABLE
    assert error.retryable


async def test_a_stream_that_dies_after_grammar_still_gives_a_partial_lesson(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        whole, _ = await running.generate()
        text = model.calls[0].body
        assert text["stream"] is True
        model.always["stage1"] = Answer(edit=_until_grammar, finish="length")
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    assert lesson.content.written == (
        SectionName.FRAME, SectionName.READING, SectionName.DIALOGUE, SectionName.GRAMMAR,
    )  # fmt: skip
    assert lesson.content.dialogue == whole.content.dialogue
    assert lesson.state(SectionName.PRACTICE) is SectionState.MISSING
    assert "cut at" in master["metadata"]["sectionReasons"]["practice"]


def _until_grammar(lesson: dict[str, Any]) -> None:
    for key in ("culture", "practice", "lessonPlan"):
        lesson.pop(key, None)


async def test_a_bad_practice_costs_the_practice_alone(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    def spoil(lesson: dict[str, Any]) -> None:
        lesson["practice"][0]["instruction"] = " "

    model.always["stage1"] = Answer(edit=spoil)
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    assert lesson.state(SectionName.PRACTICE) is SectionState.MISSING
    assert lesson.content.lesson_plan
    assert master["metadata"]["sectionReasons"]["practice"].startswith("practice.0")


async def test_the_earlier_systems_simpler_shape_is_a_lesson(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        model.script["stage1"] = [Answer(text=EARLIER_SHAPE)]
        lesson, _ = await running.generate()

    assert lesson.content.written == tuple(SectionName)
    assert lesson.content.frame
    assert [person.name for person in lesson.content.frame.characters] == ["店員", "客"]
    assert any("derived from the brief" in note.text for note in lesson.notes)


EARLIER_SHAPE = """```json
{"lessonPlan": [{"step": "Introduction", "teacherNotes": "Show pictures.", "studentTask": "Name the food."}],
 "reading": {"title": "朝ご飯", "text": "毎朝パンを食べます。水を飲みます。"},
 "dialogue": [{"speaker": "店員", "text": "いらっしゃいませ。"}, {"speaker": "客", "text": "パンをください。"}],
 "grammar": [{"pattern": "を", "explanation": "Marks the object.", "examples": ["水を飲みます。"]}],
 "practice": [{"type": "cloze", "instruction": "Fill in.", "content": "水＿＿飲みます。"}],
 "culture": [{"title": "朝ご飯", "content": "Many people eat rice in the morning."}]}
```"""


SECTION_FAULTS: dict[str, Answer] = {
    "no JSON": Answer(text="Sure! Here you go."),
    "length": Answer(text='{"items":[{"id":"1"', finish="length"),
    "empty": Answer(text=""),
    "refused": Answer(text="", refusal="no"),
    "broken": Answer(cut_after=0),
    "not an answer": Answer(body=b"<html>"),
    "rate limit": Answer(status=429, error={"message": "slow down"}),
    "no items": Answer(text='{"items":[{"id":"99","furigana":"x","translation":"y"}]}'),
    "wrong shape": Answer(text='{"items":{"1":"x"}}'),
    "timeout": Answer(delay_seconds=5),
}


# Two lessons meet every fault once; ten meet every fault in every section.
TURNS = [turn if turn % 5 == 0 else pytest.param(turn, marks=pytest.mark.slow) for turn in range(len(SECTION_FAULTS))]


@pytest.mark.parametrize("turn", TURNS)
async def test_a_section_whose_model_fails_keeps_the_analysers_readings(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, turn: int
) -> None:
    faults = [*SECTION_FAULTS.values()] * 2
    model.always = {name.value: fault for name, fault in zip(COUNTED_SECTIONS, faults[turn:], strict=False)}
    async with trio(monkeypatch, model, {"AI_STAGE2_TIMEOUT_SECONDS": "1"}) as running:
        lesson, _ = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    for name in COUNTED_SECTIONS:
        assert lesson.state(name) is SectionState.PLAIN
        section = next(section for section in lesson.sections if section.name is name)
        assert {text.reading_provenance for text in section.texts} == {ReadingProvenance.ANALYSER}
        assert section.reason


async def test_items_that_the_model_spoils_are_refused_one_by_one(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def spoil(answer: dict[str, Any]) -> None:
        items = answer["items"]
        items[0]["translation"] = "(pending translation) 水"
        items[1]["furigana"] = "まったくちがう文"
        items[2]["furigana"] = items[2]["furigana"].replace("]", "x]", 1)
        items[3]["translation"] = "これは翻訳ではありません。"

    model.always["dialogue"] = Answer(edit=spoil)
    async with trio(monkeypatch, model, MODEL_MODE) as running:
        lesson, _ = await running.generate()

    section = next(section for section in lesson.sections if section.name is SectionName.DIALOGUE)
    assert section.state is SectionState.DEGRADED
    spoiled = [text for text in section.texts if text.reading_provenance is ReadingProvenance.ANALYSER]
    assert len(spoiled) >= 2
    untranslated = [text for text in section.texts if text.needs_translation and not text.translation]
    assert len(untranslated) == 2


async def test_the_stream_has_each_section_when_it_is_written_and_annotated(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="ｊｆ:349"))
        events = [event async for event in running.stub.StreamLesson(request, timeout=30)]

    kinds = [event.WhichOneof("event") for event in events]
    assert (kinds[0], kinds[-1]) == ("accepted", "completed")
    assert Counter(kinds[1:-1]) == {"section_ready": 7, "section_enhanced": 7}
    ready = [event.section_ready.name for event in events if event.WhichOneof("event") == "section_ready"]
    for name in ready:
        told = [name in (event.section_ready.name, event.section_enhanced.section.name) for event in events].index(True)
        assert kinds[told] == "section_ready"
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.lesson_id for event in events}) == 1
    assert ready == [1, 2, 3, 4, 5, 6, 7]
    assert events[0].accepted.stage1_models == ["gpt-5", "gpt-4o", "gpt-6.1-sol"]
    assert events[-1].completed.lesson.lesson_id == events[0].lesson_id


async def test_a_caller_who_goes_away_ends_the_model_calls(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    model.always["stage1"] = Answer(chunk_delay_seconds=0.05)
    async with trio(monkeypatch, model) as running:
        call = running.stub.StreamLesson(pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349")), timeout=30)
        async for _ in call:
            break
        await until(lambda: model.chunks_written >= 2)
        call.cancel()
        await until(lambda: model.in_flight == 0)
        text = await running.metrics()

    assert 'nidan_lessons_total{outcome="cancelled",source="generated"} 1.0' in text
    assert "nidan_lessons_in_flight 0.0" in text


async def test_sections_confirmed_before_a_stream_lost_its_end_are_kept(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(finish=None)
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()

    assert lesson.content.written == tuple(SectionName)
    assert lesson.attempts[0].outcome is AttemptOutcome.BROKEN_STREAM
    # No usage came, so the money is unknown: it is counted at what was reserved, and never called zero.
    assert lesson.attempts[0].usage is None
    assert lesson.attempts[0].cost_usd == pytest.approx((5000 * 1.25 + 8000 * 10.0) / 1e6)
    assert master["metadata"]["attempts"][0]["usageUnknown"] is True
