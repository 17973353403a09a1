"""The shape that the web client reads is held by a golden file and a published JSON Schema."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema
import pytest

from tests.golden.current import GOLDEN, SCHEMA, current_master, current_schema, written
from tests.model_server import Answer, ModelServer
from tests.trio import trio


async def test_the_lesson_of_jf_349_is_the_golden_one() -> None:
    assert written(await current_master()) == GOLDEN.read_text(encoding="utf-8"), "run `make golden` and read the diff"


def test_the_published_schema_is_what_the_gateway_writes() -> None:
    assert written(current_schema()) == SCHEMA.read_text(encoding="utf-8"), "run `make golden` and read the diff"


def golden() -> dict[str, Any]:
    master: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return master


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_golden_lesson_keeps_the_schema() -> None:
    validator().validate(golden())


def test_the_schema_refuses_a_text_that_does_not_say_where_it_came_from() -> None:
    master = copy.deepcopy(golden())
    reading = next(section for section in master["ui"]["sections"] if section["id"] == "reading")
    del reading["cards"][0]["reading"]["sentences"][0]["provenance"]
    with pytest.raises(jsonschema.ValidationError, match="provenance"):
        validator().validate(master)


@pytest.mark.parametrize(("kind", "field"), [("ordering", "acceptedForms"), ("matching", "pairs"), ("free", "task")])
def test_the_schema_refuses_a_practice_that_cannot_be_checked(kind: str, field: str) -> None:
    master = copy.deepcopy(golden())
    exercise = next((one for one in master["exercises"] if one["kind"] == kind), master["exercises"][-1])
    del exercise[field]
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(master)


async def test_a_partial_lesson_keeps_the_schema_too(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    down = Answer(status=500, error={"message": "down"})
    model.always |= dict.fromkeys(("frame", "reading", "dialogue", "grammar", "culture", "practice"), down)
    async with trio(monkeypatch, model) as running:
        _, master = await running.generate()
    validator().validate(master)


def test_sections_stand_in_the_order_of_the_page() -> None:
    order = "overview lessonPlan vocabulary reading dialogue grammar practice culture kanji selfCheck"
    assert [section["id"] for section in golden()["ui"]["sections"]] == order.split()


def test_what_the_earlier_client_reads_is_where_it_was() -> None:
    master = golden()
    cards = {section["id"]: section["cards"] for section in master["ui"]["sections"]}
    assert master["uiVersion"] == 2
    assert master["metadata"]["stage2EnhancedMap"] == dict.fromkeys(
        ("reading", "dialogue", "grammar", "culture", "practice"), True
    )
    assert cards["reading"][0]["kind"] == "reading"
    assert set(cards["reading"][0]["reading"]) >= {"title", "content", "comprehension"}
    assert set(cards["reading"][0]["reading"]["comprehension"][0]) >= {"q", "a", "evidenceSpan"}
    assert set(cards["dialogue"][0]["dialogue_turns"][0]) >= {"speaker", "japanese", "notes"}
    assert cards["grammar"][0]["bullets"]
    assert cards["grammar"][0]["body"]["meta"]


def test_chips_are_values_and_never_the_names_of_fields() -> None:
    chips = golden()["ui"]["header"]["chips"]
    assert chips[:2] == ["A1", "JF:349"]
    assert "built-in lesson, not reviewed by a teacher" in chips
    assert not {"level", "topic", "objective"} & set(chips)


def test_no_lesson_plan_card_is_empty() -> None:
    plan = next(section for section in golden()["ui"]["sections"] if section["id"] == "lessonPlan")
    for card in plan["cards"]:
        assert "**Student task**\n\n" in card["body"]["meta"]
        assert not card["title"].startswith("Step")


def test_every_answer_choice_gap_and_pair_of_practice_reaches_the_client() -> None:
    by_kind = {exercise["kind"]: exercise for exercise in golden()["exercises"]}
    assert by_kind["matching"]["pairs"][0]["left"]["kanji"]
    gap = by_kind["cloze"]["sentences"][0]["gaps"][0]
    assert gap["choices"][gap["answerIndex"]]["kanji"] == gap["accepted"][0]["kanji"]
    assert gap["acceptedForms"] == ["が"]
    assert by_kind["ordering"]["answers"]
    assert by_kind["ordering"]["acceptedOrders"][0] == [2, 3, 0, 1]
    assert by_kind["role_play"]["modelAnswer"]
    assert by_kind["role_play"]["checklist"]


def test_the_reading_joined_is_its_sentences_in_text_furigana_and_words() -> None:
    reading = next(section for section in golden()["ui"]["sections"] if section["id"] == "reading")
    body = reading["cards"][0]["reading"]
    content = body["content"]
    assert content["kanji"] == "".join(sentence["kanji"] for sentence in body["sentences"])
    assert content["translation"]
    for word in content["words"]:
        assert content["kanji"][word["start"] : word["start"] + word["length"]] == word["surface"]


async def test_ids_of_cards_come_from_content_alone(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    async with trio(monkeypatch, model) as running:
        _, whole = await running.generate()
        model.always["dialogue"] = Answer(status=500, error={"message": "down"})
        _, partial = await running.generate()

    def ids(master: dict[str, Any]) -> list[str]:
        return [card["id"] for section in master["ui"]["sections"] for card in section["cards"]]

    assert ids(whole) == ids(partial)
    assert len(set(ids(whole))) == len(ids(whole))


async def test_a_reading_with_one_sentence_untranslated_has_no_joined_translation(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def lose_one(answer: dict[str, Any]) -> None:
        answer["items"][2]["translation"] = None

    model.always["reading"] = Answer(edit=lose_one)
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()
    reading = next(section for section in master["ui"]["sections"] if section["id"] == "reading")
    content = reading["cards"][0]["reading"]["content"]
    assert content["translation"] is None
    assert content["provenance"] == "none"
    assert lesson.outcome.value == "partial"


def test_the_words_of_the_sample_lesson_are_about_right_for_its_level() -> None:
    readability = golden()["readability"]
    assert (readability["verdict"], readability["jlptEstimate"], readability["note"]) == ("about right", "N5", "")
