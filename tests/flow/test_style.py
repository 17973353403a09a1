"""What a learner would stumble over is asked for again, once, and only a better answer takes its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lesson.models import AttemptKind, Outcome, SectionName, Stage
from tests.model_server import Answer, ModelServer
from tests.trio import trio

Edit = Callable[[dict[str, Any]], None]
ADDRESSED = "dialogue.turns.0.text: says あなた, wanted the name or nothing"


def addressed(answer: dict[str, Any]) -> None:
    answer["dialogue"]["turns"][0]["text"] = "あなたは、今日もパンですか。"


async def test_a_dialogue_that_says_anata_is_asked_for_again_with_the_reason_and_replaced(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(edit=addressed)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    first, again = model.asked("stage1")
    assert again.data["sections"] == ["dialogue"]
    assert again.data["reask"] == [ADDRESSED]
    assert list(again.data["confirmed"]) == ["frame", "reading", "grammar", "culture", "practice", "lessonPlan"]
    assert again.body["model"] == first.body["model"] == "gpt-5"
    assert lesson.content.dialogue
    assert lesson.content.dialogue.turns[0].text == "アンナさん、今日もパンですか。"
    assert lesson.outcome is Outcome.COMPLETE
    assert not [note for note in lesson.notes if note.section is SectionName.DIALOGUE]
    kinds = [attempt.kind for attempt in lesson.attempts if attempt.stage is Stage.STAGE1]
    assert kinds == [AttemptKind.FIRST, AttemptKind.REASK]
    revision = next(section.revision for section in lesson.sections if section.name is SectionName.DIALOGUE)
    assert revision == 2


async def test_it_is_asked_for_again_once_and_an_answer_no_better_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(edit=addressed), Answer(edit=addressed)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
        metrics = await running.metrics()

    assert len(model.asked("stage1")) == 2
    assert lesson.content.dialogue
    assert lesson.content.dialogue.turns[0].text == "あなたは、今日もパンですか。"
    assert ADDRESSED in map(str, lesson.notes)
    assert 'nidan_wasted_cost_usd_total{model="gpt-5",stage="stage1"} 0.0\n' not in metrics


async def test_a_re_ask_that_fails_costs_the_lesson_nothing(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(edit=addressed), Answer(status=500, error={"message": "down"})]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    assert lesson.outcome is not Outcome.FAILED
    assert ADDRESSED in map(str, lesson.notes)
    assert len(model.asked("stage1")) == 2


async def test_a_slip_that_nobody_stumbles_over_is_a_note_and_no_second_call(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def spelt(answer: dict[str, Any]) -> None:
        answer["reading"]["text"] = answer["reading"]["text"].replace("たくさん", "沢山")
        answer["reading"]["comprehension"][3]["evidence"] = "夜は、うちで野菜を沢山食べます。"

    model.script["stage1"] = [Answer(edit=spelt)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    assert len(model.asked("stage1")) == 1
    assert "reading.text.6: 沢山 is usually written in kana (たくさん)" in map(str, lesson.notes)


async def test_nothing_is_asked_again_when_most_of_the_time_is_gone(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(edit=addressed, delay_seconds=2.2)]
    limits = {"LESSON_DEADLINE_SECONDS": "8", "STAGE2_RESERVE_SECONDS": "4"}
    async with trio(monkeypatch, model, limits) as running:
        lesson, _ = await running.generate()

    assert len(model.asked("stage1")) == 1
    assert ADDRESSED in map(str, lesson.notes)


async def test_the_frame_is_never_written_anew(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    def marked(answer: dict[str, Any]) -> None:
        answer["frame"]["keyPhrases"][0] = "**魚**が好きです。"

    model.script["stage1"] = [Answer(edit=marked)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    assert len(model.asked("stage1")) == 1
    assert "frame.key_phrases.0: holds Markdown, wanted plain Japanese" in map(str, lesson.notes)


async def test_a_missing_section_is_asked_for_before_one_with_style_issues(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def cut(answer: dict[str, Any]) -> None:
        addressed(answer)
        del answer["lessonPlan"]

    model.script["stage1"] = [Answer(edit=cut)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    assert [call.data["sections"] for call in model.asked("stage1")[1:]] == [["lessonPlan"], ["dialogue"]]
    assert lesson.content.dialogue
    assert "あなた" not in lesson.content.dialogue.turns[0].text


async def test_when_the_attempts_are_used_up_what_stands_stays(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def cut(answer: dict[str, Any]) -> None:
        addressed(answer)
        del answer["lessonPlan"]

    model.script["stage1"] = [Answer(edit=cut), *[Answer(text="{}")] * 3]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    assert len(model.asked("stage1")) == 5
    assert lesson.content.lesson_plan
    assert lesson.content.dialogue
    assert "あなた" in lesson.content.dialogue.turns[0].text


async def test_what_stands_is_not_asked_of_another_model(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    def cut(answer: dict[str, Any]) -> None:
        addressed(answer)
        del answer["lessonPlan"]

    # Two models are still untried, and two attempts are left: they are the others'.
    model.script["stage1"] = [Answer(edit=cut), Answer(text="{}")]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()

    assert [call.body["model"] for call in model.asked("stage1")] == ["gpt-5"] * 3
    assert lesson.content.lesson_plan
    assert ADDRESSED in map(str, lesson.notes)
