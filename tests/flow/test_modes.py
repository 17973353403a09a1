"""What the Stage 2 model is asked in each mode, and what becomes of what it says: the enhancer, through the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from lesson import wire
from lesson.models import (
    Attempt,
    AttemptOutcome,
    EnhancedItem,
    EnhancementMode,
    Item,
    ItemKind,
    JapaneseText,
    Outcome,
    ReadingProvenance,
)
from lesson.v1 import enhancer_service_pb2 as pb
from lesson.v1 import enhancer_service_pb2_grpc, lesson_pb2
from tests.model_server import Answer, ModelServer
from tests.trio import Trio, check_text, trio

REVIEW, MODEL, ANALYSER = EnhancementMode.REVIEW, EnhancementMode.MODEL, EnhancementMode.ANALYSER
Enhance = Callable[..., Any]


class Asked:
    """A section of these sentences, enhanced once in some mode while the model answers as a test says."""

    def __init__(self, running: Trio, model: ModelServer, stub: Any) -> None:
        self._running = running
        self._model = model
        self._stub = stub

    async def __call__(
        self, mode: EnhancementMode, answer: dict[str, Any], *sentences: str, frame: lesson_pb2.Frame | None = None
    ) -> tuple[list[EnhancedItem], Attempt]:
        self._model.script["reading"] = [Answer(text=json.dumps(answer, ensure_ascii=False))]
        items = [
            Item(id=f"reading.text.{number}", text=text, kind=ItemKind.SENTENCE, needs_translation=True)
            for number, text in enumerate(sentences)
        ]
        request = pb.EnhanceSectionRequest(
            section=lesson_pb2.SECTION_NAME_READING,
            brief=lesson_pb2.Brief(level=lesson_pb2.LEVEL_A1, learner_language="en"),
            frame=frame,
            items=[wire.to_message(item) for item in items],
            mode=wire.enum_to_number(mode),  # type: ignore[arg-type] # enums travel as their numbers
            model="gpt-4.1",
            attempt_id="a-1",
        )
        response = await self._stub.EnhanceSection(request, timeout=10)
        enhanced = [wire.from_message(EnhancedItem, item) for item in response.items]
        for item in enhanced:
            check_text(item.text)
        return enhanced, wire.from_message(Attempt, response.attempt)


@pytest.fixture
async def ask(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> AsyncIterator[Asked]:
    async with (
        trio(monkeypatch, model) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.enhancer.grpc}") as channel,
    ):
        yield Asked(running, model, enhancer_service_pb2_grpc.EnhancerServiceStub(channel))


def translated(*texts: str) -> list[dict[str, str]]:
    return [{"id": str(number), "translation": text} for number, text in enumerate(texts, start=1)]


def review(*corrections: tuple[str, str]) -> dict[str, Any]:
    return {
        "items": translated("A fine sentence."),
        "corrections": [{"id": "1", "word": word, "reading": reading} for word, reading in corrections],
    }


def ruby(text: JapaneseText) -> dict[str, str]:
    return {segment.text: segment.ruby for segment in text.furigana if segment.ruby}


async def test_a_review_shows_the_analysers_readings_and_asks_for_corrections_alone(
    ask: Asked, model: ModelServer
) -> None:
    [item], attempt = await ask(REVIEW, review(), "食べ物が好きです。")

    sent = model.asked("reading")[-1]
    assert sent.data["mode"] == "review"
    assert [entry["text"] for entry in sent.data["items"]] == ["食[た]べ物[もの]が好[す]きです。"]
    assert "corrections" in json.dumps(sent.body["response_format"])
    assert "furigana" not in json.dumps(sent.body["response_format"])
    assert attempt.outcome is AttemptOutcome.OK
    # Nothing was corrected: the reading is the analyser's, and only the translation is the model's.
    assert item.text.reading_provenance is ReadingProvenance.ANALYSER
    assert (item.text.reading_model, item.text.translation_model) == ("", "gpt-4.1")
    assert item.issues == ()


async def test_a_correction_to_another_real_reading_of_the_word_is_the_models(ask: Asked) -> None:
    [item], attempt = await ask(REVIEW, review(("人気", "ひとけ")), "人気の少ない道です。")

    assert ruby(item.text)["人気"] == "ひとけ"
    assert item.text.reading.startswith("ひとけの")
    assert item.text.romaji.startswith("hitoke no")
    assert item.text.reading_provenance is ReadingProvenance.MODEL
    assert item.text.reading_model == "gpt-4.1"
    assert any("にんき" in line for line in item.text.alternatives)
    assert attempt.outcome is AttemptOutcome.OK


@pytest.mark.parametrize(
    ("sentence", "word", "wrong", "right"),
    [
        ("食べ物を買います。", "食べ物", "たべぶつ", "たべもの"),
        ("鉛筆を三本買います。", "三本", "さんほん", "さんぼん"),
        ("今年も行きます。", "今年", "こんねん", "ことし"),
        ("水を飲みます。", "茶", "ちゃ", "みず"),
        ("水を飲みます。", "水", "water", "みず"),
    ],
)
async def test_a_correction_that_cannot_be_is_refused_and_said(
    ask: Asked, sentence: str, word: str, wrong: str, right: str
) -> None:
    [item], attempt = await ask(REVIEW, review((word, wrong)), sentence)

    assert right in item.text.reading
    assert item.text.reading_provenance is ReadingProvenance.ANALYSER
    [note] = item.text.notes
    assert word in note
    assert wrong in note
    # One of them is mended here; it costs no second call.
    assert item.issues == ()
    assert attempt.outcome is AttemptOutcome.OK
    assert item.text.translation


async def test_two_readings_that_cannot_be_are_a_fault_to_ask_about_again(ask: Asked) -> None:
    brackets = "食[たべ]べ物[ぶつ]と鉛筆[えんぴち]を三本[さんほん]買[か]います。"
    answer = {"items": [{"id": "1", "furigana": brackets, "translation": "I buy food and three pencils."}]}
    [item], attempt = await ask(MODEL, answer, "食べ物と鉛筆を三本買います。")

    assert item.text.reading == "たべものとえんぴつをさんぼんかいます。"
    assert item.text.reading_provenance is ReadingProvenance.REPAIRED
    assert len(item.issues) >= 2
    assert attempt.outcome is AttemptOutcome.INVALID_SCHEMA


async def test_one_reading_that_cannot_be_is_repaired_and_says_what_and_why(ask: Asked) -> None:
    answer = {"items": [{"id": "1", "furigana": "仕事[しこと]を始[はじ]めます。", "translation": "I start work."}]}
    [item], attempt = await ask(MODEL, answer, "仕事を始めます。")

    assert ruby(item.text) == {"仕事": "しごと", "始": "はじ"}
    assert item.text.reading_provenance is ReadingProvenance.REPAIRED
    assert item.text.reading_model == "gpt-4.1"
    [note] = item.text.notes
    assert "しこと" in note
    assert "しごと" in note
    assert item.issues == ()
    assert attempt.outcome is AttemptOutcome.OK


@pytest.mark.parametrize(
    "brackets",
    [
        "水[みず] を 飲[の]みます 。",
        "水[みず]を飲[の]みます.",
        "水[みず]を飲[の]みます",
        "　水[みず]を飲[の]みます。　",
    ],
)
async def test_brackets_that_differ_only_in_spaces_or_punctuation_are_laid_over_the_text(
    ask: Asked, brackets: str
) -> None:
    answer = {"items": [{"id": "1", "furigana": brackets, "translation": "I drink water."}]}
    [item], _ = await ask(MODEL, answer, "水を飲みます。")
    assert ruby(item.text) == {"水": "みず", "飲": "の"}
    assert item.text.reading_provenance is ReadingProvenance.MODEL
    assert item.issues == ()


async def test_brackets_of_another_text_are_dropped_and_asked_again(ask: Asked) -> None:
    answer = {"items": [{"id": "1", "furigana": "犬[いぬ]が来[き]ます。", "translation": "A dog comes."}]}
    [item], attempt = await ask(MODEL, answer, "水を飲みます。")
    assert item.text.reading == "みずをのみます。"
    assert item.text.reading_provenance is ReadingProvenance.ANALYSER
    assert tuple(issue.text for issue in item.issues) == ("furigana: does not spell the text, character for character",)
    assert attempt.outcome is AttemptOutcome.INVALID_SCHEMA


async def test_mode_analyser_asks_for_translations_alone(ask: Asked, model: ModelServer) -> None:
    [item], attempt = await ask(ANALYSER, {"items": translated("I drink water.")}, "水を飲みます。")
    sent = json.dumps(model.asked("reading")[-1].body["response_format"])
    assert "furigana" not in sent
    assert "corrections" not in sent
    assert attempt.outcome is AttemptOutcome.OK
    assert item.text.translation == "I drink water."
    assert item.text.reading_provenance is ReadingProvenance.ANALYSER


async def test_a_name_of_the_frame_is_read_as_the_frame_says_whatever_the_model_says(ask: Asked) -> None:
    frame = lesson_pb2.Frame(
        objective="o",
        can_do_text="c",
        scenario="s",
        register=lesson_pb2.REGISTER_POLITE,
        characters=[
            lesson_pb2.Character(
                id="a", name="裕子", kana="ひろこ", label="x", role=lesson_pb2.ROLE_FRIEND, relationship="y"
            )
        ],
    )
    answer = review(("裕子", "ゆうこ"))
    [item], _ = await ask(REVIEW, answer, "裕子さんは来ます。", frame=frame)
    assert ruby(item.text)["裕子"] == "ひろこ"
    assert item.text.romaji.startswith("hiroko-san")


async def test_words_carry_glosses_and_levels_shown_as_a_dictionarys(ask: Asked) -> None:
    [item], _ = await ask(REVIEW, review(), "食べ物が好きです。")
    words = {word.surface: word for word in item.text.words}
    assert words["食べ物"].gloss == "food"
    assert words["食べ物"].level == "N5"
    assert words["が"].gloss is None


async def test_a_teachers_override_beats_rules_and_model_and_is_told(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path
) -> None:
    file = tmp_path / "overrides.tsv"
    file.write_text("# ours\n金平\tゴボウ\tきんぴら\n水\t\tおみず\n", encoding="utf-8")
    async with (
        trio(monkeypatch, model, {"OVERRIDES_FILE": str(file)}) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.enhancer.grpc}") as channel,
    ):
        stub: Any = enhancer_service_pb2_grpc.EnhancerServiceStub(channel)
        ask = Asked(running, model, stub)
        [item], _ = await ask(REVIEW, review(("水", "みず")), "金平ゴボウと水。")
        described = await stub.Describe(pb.EnhancerServiceDescribeRequest(), timeout=5)
    assert ruby(item.text) == {"金平": "きんぴら", "水": "おみず"}
    assert item.text.reading_provenance is ReadingProvenance.OVERRIDE
    assert "金平: きんぴら (a teacher's correction)" in item.text.notes
    assert "overrides-" in described.annotator_version
    assert "overrides-none" not in described.annotator_version


async def test_every_mode_makes_a_complete_lesson(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    for mode in EnhancementMode:
        async with trio(monkeypatch, model, {"STAGE2_MODE": mode.value}) as running:
            lesson, _ = await running.generate()
        assert lesson.outcome is Outcome.COMPLETE
        assert {call.data["mode"] for call in model.calls if call.key != "stage1"} == {mode.value}
        model.calls.clear()


@pytest.mark.parametrize("said", [["1"], [1], ["1", "9", {}], "1"])
async def test_what_a_model_is_not_sure_of_is_told_of_that_item_alone(ask: Asked, said: object) -> None:
    answer = {"items": translated("I drink water.", "I eat bread."), "corrections": [], "unsure": said}
    first, second = (await ask(REVIEW, answer, "水を飲みます。", "パンを食べます。"))[0]
    told = ("gpt-4.1 is not sure of it",) if isinstance(said, list) else ()
    assert (first.text.notes, second.text.notes) == (told, ())
    assert first.issues == second.issues == ()


async def test_a_target_word_alone_is_read_as_the_frame_says_if_it_can_be(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def taught(answer: dict[str, Any]) -> None:
        words = answer["frame"]["targetWords"]
        words[0] |= {"surface": "辛い", "reading": "からい"}
        words[1] |= {"surface": "食べ物", "reading": "たべぶつ"}
        pairs = answer["practice"][0]["pairs"]
        pairs[0]["left"] = "辛い"

    model.script["stage1"] = [Answer(edit=taught)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    texts = {text.id: text for section in lesson.sections for text in section.texts}
    for id_ in ("frame.target_words.0.surface", "practice.0.pairs.0.left"):
        assert texts[id_].reading == "からい"
        assert texts[id_].reading_provenance is ReadingProvenance.FRAME
    impossible = texts["frame.target_words.1.surface"]
    assert (impossible.reading, impossible.reading_provenance) == ("たべもの", ReadingProvenance.ANALYSER)
    assert impossible.notes == ("食べ物: たべぶつ -> たべもの (it has no such reading)",)
