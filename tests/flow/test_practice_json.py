"""Every practice and question of the built-in lessons, through the three services, can be checked from the master JSON.

What a client is given is compared with what stands in the bank: the keys, and the readings written there by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from lesson.answers import accepts, normalised, typed_form
from lesson.models import PracticeKind, SectionName
from lesson.script import KANJI
from offline_model.bank import BankLesson
from tests.model_server import Answer, ModelServer, bank
from tests.trio import trio

OFFLINE = dict.fromkeys(("CANDO_AI_STAGE1_PROVIDER", "CANDO_AI_STAGE2_PROVIDER"), "offline")
KEYS = {"answerIndex", "acceptedForms", "acceptedOrders"}
"""What the gateway adds to the fields that Stage 1 wrote."""
_RUN_READ = re.compile(rf"[{KANJI}0-9０-９A-Za-z,.]+\[([^\]]+)\]")

Json = dict[str, Any]


async def made(patch: pytest.MonkeyPatch, model: ModelServer, can_do_id: str) -> Json:
    async with trio(patch, model, OFFLINE | {"OFFLINE_MODEL_URL": model.url}) as running:
        _, master = await running.generate(can_do_id)
    return master


def plain(value: Any) -> Any:
    """The JSON as Stage 1 wrote it: Texts as their kanji, without what was added."""
    if isinstance(value, dict):
        if "furigana" in value:
            return value["kanji"]
        return {key: plain(member) for key, member in value.items() if key not in KEYS}
    return [plain(member) for member in value] if isinstance(value, list) else value


def kana(text: str) -> str:
    """The text as the bank's own brackets read it; a learner's-language text as it is."""
    held = bank().annotation(text)
    return _RUN_READ.sub(r"\1", held.brackets) if held else text


def katakana(text: str) -> str:
    return "".join(chr(ord(char) + 0x60) if "ぁ" <= char <= "ゖ" else char for char in text)


def check_forms(forms: list[str], answers: list[str]) -> None:
    """Each answer counts however it is typed, and every form is of an answer."""
    for answer in answers:
        for typed in (answer, kana(answer), katakana(kana(answer)), f" 「{answer}」。", f"{kana(answer)}！"):
            assert accepts(typed, forms), (typed, forms)
        assert not accepts(f"{answer}ぬ", forms)
    assert set(forms) == {typed_form(text) for answer in answers for text in (answer, kana(answer))}


# --- each kind --------------------------------------------------------------------------------------------------


def check_choice(exercise: Json, entry: Json) -> None:
    assert plain(exercise["choices"][exercise["answerIndex"]]) == exercise["answer"] == entry["answer"]
    assert exercise["prompt"]["translation"]
    check_forms(exercise["acceptedForms"], [entry["answer"]])


def check_gaps(exercise: Json, entry: Json) -> None:
    for sentence, held in zip(exercise["sentences"], entry["sentences"], strict=True):
        for gap, held_gap in zip(sentence["gaps"], held["gaps"], strict=True):
            words = sentence["text"]["kanji"][gap["start"] : gap["start"] + gap["length"]]
            assert words in held_gap["accepted"]
            assert [text["reading"] for text in gap["accepted"]] == [kana(text) for text in held_gap["accepted"]]
            check_forms(gap["acceptedForms"], held_gap["accepted"])
            if held_gap["choices"]:
                assert held_gap["choices"][gap["answerIndex"]] in held_gap["accepted"]
            else:
                assert gap["answerIndex"] is None
            wrong = set(held_gap["choices"]) - set(held_gap["accepted"])
            assert not [choice for choice in wrong if accepts(choice, gap["acceptedForms"])]


def check_matching(exercise: Json, entry: Json) -> None:
    for pair in exercise["pairs"]:
        assert pair["left"]["reading"] == kana(pair["left"]["kanji"])
    for side in ("left", "right"):
        assert len({plain(pair[side]) for pair in exercise["pairs"]}) == len(entry["pairs"])


def check_ordering(exercise: Json, entry: Json) -> None:
    pieces, forms = entry["pieces"], exercise["acceptedForms"]
    assert sorted(exercise["acceptedOrders"][0]) == list(range(len(pieces)))
    said = ["".join(pieces[at] for at in order) for order in exercise["acceptedOrders"]]
    assert [normalised(text) for text in said] == [normalised(answer) for answer in entry["answers"]]
    assert all(accepts(text, forms) for text in said)
    assert not accepts("".join(pieces), forms)
    check_forms(forms, entry["answers"])


def check_production(exercise: Json, entry: Json) -> None:
    assert len(exercise["modelAnswer"]) == len(entry["modelAnswer"]) > 0
    for text in exercise["modelAnswer"]:
        assert text["reading"] == kana(text["kanji"])
        assert text["translation"]
    assert 2 <= len(exercise["checklist"]) <= 4
    assert exercise["task"] == entry["task"]


CHECKS: dict[PracticeKind, Callable[[Json, Json], None]] = {
    PracticeKind.CHOICE: check_choice,
    PracticeKind.LISTENING: check_choice,
    PracticeKind.CLOZE: check_gaps,
    PracticeKind.DIALOGUE_GAP: check_gaps,
    PracticeKind.MATCHING: check_matching,
    PracticeKind.ORDERING: check_ordering,
    PracticeKind.ROLE_PLAY: check_production,
    PracticeKind.WRITING: check_production,
    PracticeKind.FREE: check_production,
}


def check_comprehension(asked: list[Json], held: list[Json]) -> None:
    assert len(asked) == len(held) >= 3
    for question, entry in zip(asked, held, strict=True):
        assert (question["q"], question["a"]) == (entry["question"], entry["answer"])
        assert plain([question["question"], question["answer"]]) == [entry["question"], entry["answer"]]
        assert plain(question["choices"]) == entry["choices"]
        assert (question["evidenceSpan"], question["mode"]) == (entry["evidence"], entry["mode"])
        if entry["choices"]:
            assert entry["choices"][question["answerIndex"]] == entry["answer"]
        else:
            assert question["answerIndex"] is None
        check_forms(question["acceptedForms"], [entry["answer"]])


def cards(master: Json, section: str) -> list[Json]:
    return next(found["cards"] for found in master["ui"]["sections"] if found["id"] == section)


# --- the built-in lessons ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lesson", bank().lessons, ids=lambda lesson: lesson.can_do_id)
async def test_every_practice_and_question_of_a_built_in_lesson_can_be_checked(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, lesson: BankLesson
) -> None:
    master = await made(monkeypatch, model, lesson.can_do_id)
    held = bank().stage1(lesson.can_do_id, [name.json_key for name in SectionName])
    exercises = master["exercises"]
    assert plain(exercises) == held["practice"]
    assert [card["detail"] for card in cards(master, "practice")] == exercises
    for exercise, entry in zip(exercises, held["practice"], strict=True):
        CHECKS[entry["kind"]](exercise, entry)
    assert exercises[-1]["checklist"][-1] == held["frame"]["canDoText"]
    check_comprehension(cards(master, "reading")[0]["reading"]["comprehension"], held["reading"]["comprehension"])
    check_comprehension(cards(master, "dialogue")[0]["comprehension"], held["dialogue"]["comprehension"])


def test_the_built_in_lessons_have_every_kind_of_practice() -> None:
    lessons = [bank().stage1(lesson.can_do_id, ["practice"])["practice"] for lesson in bank().lessons]
    assert {practice["kind"] for practices in lessons for practice in practices} == CHECKS.keys() == set(PracticeKind)


# --- what no built-in lesson has ----------------------------------------------------------------------------------


async def test_a_typed_gap_counts_as_it_is_read_in_its_sentence(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    """何 by itself is なに, and なん before です."""

    def ask_what(answer: Json) -> None:
        gap = {"start": 0, "length": 1, "accepted": ["何", "どれ"], "choices": []}
        answer["practice"][1]["sentences"] = [{"text": "何ですか。", "gaps": [gap]}]

    model.always["stage1"] = Answer(edit=ask_what)
    master = await made(monkeypatch, model, "JF:349")
    [sentence] = master["exercises"][1]["sentences"]
    assert sentence["text"]["reading"] == "なんですか。"
    assert sentence["gaps"][0]["acceptedForms"] == ["何", "なに", "どれ", "なん"]


async def test_a_gap_that_ends_inside_a_reading_counts_as_its_answer_is_read(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def count(answer: Json) -> None:
        gap = {"start": 1, "length": 2, "accepted": ["人で"], "choices": []}
        answer["practice"][1]["sentences"] = [{"text": "三人で食べます。", "gaps": [gap]}]

    model.always["stage1"] = Answer(edit=count)
    master = await made(monkeypatch, model, "JF:349")
    [gap] = master["exercises"][1]["sentences"][0]["gaps"]
    assert gap["acceptedForms"] == ["人で", "ひとで"]


async def test_an_answer_outside_the_choices_has_no_answer_index(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def lose(answer: Json) -> None:
        answer["reading"]["comprehension"][0]["choices"] = ["肉", "パン"]
        answer["reading"]["comprehension"][1]["answer"] = None

    model.always["stage1"] = Answer(edit=lose)
    master = await made(monkeypatch, model, "JF:349")
    lost, unanswered = cards(master, "reading")[0]["reading"]["comprehension"][:2]
    assert (lost["a"], lost["answerIndex"], lost["acceptedForms"]) == ("魚", None, ["魚", "さかな"])
    assert (unanswered["a"], unanswered["answerIndex"], unanswered["acceptedForms"]) == (None, None, [])
    assert "reading.comprehension.0.answer: is not among the choices" in master["metadata"]["notes"]


async def test_an_order_that_the_pieces_cannot_make_is_asked_again_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def spoil(answer: Json) -> None:
        answer["practice"][2]["answers"] = ["夜はときどき魚を食べます。"]

    model.script["stage1"] = [Answer(edit=spoil)]
    master = await made(monkeypatch, model, "JF:349")
    assert plain(master["exercises"]) == bank().stage1("JF:349", ["practice"])["practice"]
    [_, again] = model.asked("stage1")
    assert again.data["sections"] == ["practice"]
    assert any("answer 0 is not made of all the pieces, each once" in reason for reason in again.data["reask"])
