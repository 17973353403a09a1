"""Every lesson of the bank, measured as a teacher would measure it. A lesson written later has to pass all of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from lesson import models
from lesson.fields import fields
from lesson.items import extract_items
from lesson.script import KANJI
from offline_model import brackets
from offline_model.bank import BankLesson, load_bank

BANK = load_bank()
SHAPES: dict[str, TypeAdapter[Any]] = {
    "frame": TypeAdapter(models.Frame),
    "reading": TypeAdapter(models.Reading),
    "dialogue": TypeAdapter(models.Dialogue),
    "grammar": TypeAdapter(tuple[models.GrammarPoint, ...]),
    "culture": TypeAdapter(tuple[models.CultureNote, ...]),
    "practice": TypeAdapter(tuple[models.Practice, ...]),
    "lessonPlan": TypeAdapter(tuple[models.PlanStep, ...]),
}
AGES_OR_GENERALISES = re.compile(r"\d|[Aa]ll Japanese|[Tt]he Japanese (?!word)|(?<!not )always|never|nowadays|recently")

every_lesson = pytest.mark.parametrize("lesson", BANK.lessons, ids=lambda lesson: lesson.can_do_id)


def content_of(lesson: BankLesson) -> models.Content:
    return models.Content.model_validate(BANK.stage1(lesson.can_do_id, lesson.sections))


def japanese(content: models.Content, *names: models.SectionName) -> list[str]:
    """All the Japanese a learner sees in these sections (all when none is named), white space around it off."""
    chosen = [content.section(name) for name in names or models.SectionName]
    return [
        item.text.strip()
        for name, section in zip(names or models.SectionName, chosen, strict=True)
        if section
        for item in extract_items(name, section)
    ]


def reading_of(content: models.Content) -> models.Reading:
    assert content.reading
    return content.reading


def dialogue_of(content: models.Content) -> models.Dialogue:
    assert content.dialogue
    return content.dialogue


def frame_of(content: models.Content) -> models.Frame:
    assert content.frame
    return content.frame


@every_lesson
def test_every_section_is_what_the_models_say_with_all_keys_present_and_no_other(lesson: BankLesson) -> None:
    plain = BANK.stage1(lesson.can_do_id, SHAPES)
    assert list(plain) == list(SHAPES)
    for key, adapter in SHAPES.items():
        assert adapter.dump_python(adapter.validate_python(plain[key]), mode="json", by_alias=True) == plain[key]


@every_lesson
def test_the_people_of_the_dialogue_are_those_of_the_frame_and_have_kana(lesson: BankLesson) -> None:
    content = content_of(lesson)
    people = {character.id for character in frame_of(content).characters}
    assert len(people) == len(frame_of(content).characters) >= 2
    assert len(speakers := {turn.speaker_id for turn in dialogue_of(content).turns}) == 2
    assert speakers <= people
    assert dialogue_of(content).learner_role in people
    for character in frame_of(content).characters:
        annotation = BANK.annotation(character.name)
        assert annotation
        assert character.kana == read_aloud(annotation.brackets)


def read_aloud(text: str) -> str:
    return re.sub(r"[^\[\]ぁ-ヿ、。？！～]+\[([^\]]*)\]", r"\1", text)


@every_lesson
def test_target_words_are_read_as_their_reading_says(lesson: BankLesson) -> None:
    for word in frame_of(content_of(lesson)).target_words:
        annotation = BANK.annotation(word.surface)
        assert annotation
        assert word.reading == read_aloud(annotation.brackets)


@every_lesson
def test_each_grammar_point_is_a_target_pattern(lesson: BankLesson) -> None:
    content = content_of(lesson)
    assert frame_of(content).target_patterns == tuple(point.pattern for point in content.grammar)


@every_lesson
def test_practice_goes_from_recognition_to_production(lesson: BankLesson) -> None:
    kinds = [practice.kind for practice in content_of(lesson).practice]
    kind = models.PracticeKind
    recognition = {kind.CHOICE, kind.LISTENING, kind.MATCHING}
    production = {kind.ROLE_PLAY, kind.WRITING, kind.FREE}
    assert kinds[0] in recognition
    assert kinds[-1] in production
    assert not production & set(kinds[:-1])
    assert len(set(kinds)) == 4


@every_lesson
def test_every_order_called_right_is_made_of_all_the_pieces(lesson: BankLesson) -> None:
    for practice in content_of(lesson).practice:
        if isinstance(practice, models.OrderingPractice):
            orders = {_bare("".join(order)) for order in itertools.permutations(practice.pieces)}
            assert set(map(_bare, practice.answers)) <= orders
            assert len(set(practice.answers)) == len(practice.answers)


def _bare(text: str) -> str:
    return re.sub("[、。？！]", "", text)


@every_lesson
def test_the_plan_goes_from_warm_up_to_check_and_refers_to_its_sections(lesson: BankLesson) -> None:
    plan = content_of(lesson).lesson_plan
    assert {reference for step in plan for reference in step.section_refs} <= SHAPES.keys()
    assert (plan[0].phase, plan[-1].phase) == (models.PlanPhase.WARM_UP, models.PlanPhase.CHECK)


@every_lesson
def test_explanations_write_japanese_in_kana_as_they_get_no_furigana(lesson: BankLesson) -> None:
    content = content_of(lesson)
    texts = [text for name in models.SectionName for text in learner_texts(content.section(name))]
    assert len(texts) > 20
    assert [text for text in texts if re.search(f"[{KANJI}]", text)] == []


def learner_texts(value: object) -> Iterator[str]:
    """The values of all fields marked as the learner's language."""
    if isinstance(value, tuple):
        for member in value:
            yield from learner_texts(member)
    elif isinstance(value, models.Model):
        for name, _, _, hint in fields(type(value)):
            inner = getattr(value, name)
            if "LearnerText" in repr(hint) and isinstance(inner, str | tuple):
                yield from (inner,) if isinstance(inner, str) else (text for text in inner if isinstance(text, str))
            else:
                yield from learner_texts(inner)


@every_lesson
def test_culture_is_hedged_names_nothing_that_ages_and_asks_back(lesson: BankLesson) -> None:
    for note in content_of(lesson).culture:
        assert not re.search(
            r"\d|[Aa]ll Japanese|[Tt]he Japanese (?!word)|(?<!not )always|never|nowadays|recently", note.body
        )
        assert re.search("some|many|often|differs|may|can|perhaps", note.body)
        assert note.question
        assert note.question.endswith("?")


@every_lesson
def test_every_japanese_text_has_kana_readings_and_its_translation(lesson: BankLesson) -> None:
    content = content_of(lesson)
    seen = 0
    for name in models.SectionName:
        section = content.section(name)
        for item in extract_items(name, section) if section else ():
            annotation = BANK.annotation(item.text.strip())
            assert annotation, item
            assert brackets.plain(annotation.brackets) == item.text.strip()
            assert brackets.fault(annotation.brackets) is None
            assert annotation.translation or not item.needs_translation, item
            seen += 1
    assert seen >= 60


@every_lesson
def test_translations_are_english(lesson: BankLesson) -> None:
    translations = [annotation.translation for annotation in lesson.annotations.values() if annotation.translation]
    assert translations
    assert all(re.fullmatch(r"[A-Za-z0-9 ,.'\"?!():;…-]+", text) for text in translations)
    assert all(text[0].isupper() or text[0].isdigit() or text[0] == '"' for text in translations)


@every_lesson
def test_words_that_are_read_as_a_whole_are_never_cut(lesson: BankLesson) -> None:
    whole = {
        "今日": "今日[きょう]",
        "果物": "果物[くだもの]",
        "大人": "大人[おとな]",
        "友達": "友達[ともだち]",
        "大好き": "大好[だいす]き",
    }
    for text, annotation in lesson.annotations.items():
        for word, written in whole.items():
            assert text.count(word) == annotation.brackets.count(written), annotation


def test_the_bank_has_the_lesson_of_the_demo_under_both_its_ids() -> None:
    first, second = BANK.lesson("JF:349"), BANK.lesson("JFまるごと:349")
    assert first is second
    assert first
    assert (first.topic, first.level, first.learner_language) == ("食生活", models.Level.A1, "en")
    assert BANK.stage1("JF:349", ["practice", "frame"]) == BANK.stage1("JFまるごと:349", ["frame", "practice"])
