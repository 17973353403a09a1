"""A section cut into items and put together again is the same section."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesson.items import extract_items, sentences, transform
from lesson.models import Dialogue, Item, ItemKind, SectionName, SectionValue, validate_section
from lesson.script import has_japanese
from tests.budget import examples
from tests.lesson import strategies

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.deep
@pytest.mark.parametrize("name", SectionName)
def test_cutting_and_putting_together_gives_the_same_section(name: SectionName) -> None:
    @settings(max_examples=examples(15, 300), deadline=None, suppress_health_check=SLOW)
    @given(strategies.section(name))
    def round_trip(section: SectionValue) -> None:
        items = extract_items(name, section)
        texts = {item.id: item.text for item in items}
        again = transform(name, section, lambda item: texts[item.id], "".join)
        assert validate_section(name, again) == section
        assert len({item.id for item in items}) == len(items)
        assert all(item.id.startswith(name.value) for item in items)

    round_trip()


@given(st.text(st.sampled_from("今日は。！？!?「」『』（）\n　 aあ…"), max_size=60))
def test_sentences_partition_any_text_white_space_too(text: str) -> None:
    parts = sentences(text)
    assert "".join(parts) == text
    assert all(parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今日は暑い。水を飲む。", ["今日は暑い。", "水を飲む。"]),
        ("本当？！うん。", ["本当？！", "うん。"]),
        ("「行く。」と言った。", ["「行く。」と言った。"]),
        ("一つ。\n\n二つ。", ["一つ。\n\n", "二つ。"]),
        ("メニュー\nカレー 500円\n", ["メニュー\n", "カレー 500円\n"]),
        ("（え？）そう。", ["（え？）そう。"]),
        ("「閉じない。\n次。", ["「閉じない。\n", "次。"]),
        ("おわり", ["おわり"]),
    ],
)
def test_a_sentence_ends_where_a_reader_would_end_it(text: str, expected: list[str]) -> None:
    assert list(sentences(text)) == expected


def _dialogue() -> Dialogue:
    raw = {
        "title": "昼ご飯", "setting": "In a canteen", "learnerRole": "anna", "register": "POLITE",
        "turns": [{"speakerId": "anna", "text": "何を食べますか。", "note": None}],
        "comprehension": [
            {"question": "何を食べますか。", "choices": ["カレー", "curry"], "answer": "カレー", "evidence": None,
             "mode": "read"}
        ],
    }  # fmt: skip
    value = validate_section(SectionName.DIALOGUE, raw)
    assert isinstance(value, Dialogue)
    return value


def test_ids_are_paths_and_what_is_not_japanese_is_no_item_where_either_may_stand() -> None:
    assert {item.id: item.kind for item in extract_items(SectionName.DIALOGUE, _dialogue())} == {
        "dialogue.title": ItemKind.TITLE,
        "dialogue.turns.0.text": ItemKind.TURN,
        "dialogue.comprehension.0.question": ItemKind.QUESTION,
        "dialogue.comprehension.0.choices.0": ItemKind.CHOICE,
        "dialogue.comprehension.0.answer": ItemKind.ANSWER,
    }


def test_only_japanese_that_carries_no_meaning_beside_it_needs_a_translation() -> None:
    needs = {item.id: item.needs_translation for item in extract_items(SectionName.DIALOGUE, _dialogue())}
    assert needs["dialogue.turns.0.text"]
    assert not needs["dialogue.comprehension.0.choices.0"]


def test_a_rendering_keeps_every_other_field_under_its_json_name() -> None:
    def mark(item: Item) -> str:
        return f"<{item.text}>"

    rendered = transform(SectionName.DIALOGUE, _dialogue(), mark)
    assert rendered["learnerRole"] == "anna"
    assert rendered["turns"] == [{"speakerId": "anna", "text": "<何を食べますか。>", "note": None}]
    assert rendered["comprehension"][0]["choices"] == ["<カレー>", "curry"]


def test_the_plan_has_no_items() -> None:
    step = {
        "phase": "INPUT",
        "minutes": 5,
        "grouping": None,
        "sectionRefs": [],
        "studentTask": "読む",
        "teacherNotes": None,
    }
    assert extract_items(SectionName.LESSON_PLAN, validate_section(SectionName.LESSON_PLAN, [step])) == ()


@given(st.text())
def test_script_detection_takes_any_text(text: str) -> None:
    assert has_japanese(text + "々")
    assert has_japanese("ｱ" + text)
    assert not has_japanese("Anna, 500 yen!")
