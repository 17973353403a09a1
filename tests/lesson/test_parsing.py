"""What a model wrote is read for what it says; what would make a section useless is a fault with its path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lesson.models import (
    Brief,
    Content,
    Dialogue,
    Frame,
    GapPractice,
    Level,
    MatchingPractice,
    PlanPhase,
    ProductionPractice,
    Reading,
    Register,
    Role,
    SectionName,
)
from lesson.parsing import MAX_FAULTS, MAX_ITEMS, MAX_JAPANESE, MAX_WRITTEN, derive_frame, read_section
from tests.budget import examples
from tests.lesson import strategies

BRIEF = Brief(
    can_do_id="JF:349",
    topic="食生活",
    level=Level.A1,
    learner_language="en",
    can_do_text="Can say what one likes to eat.",
    can_do_text_ja="",
    activity="",
)


def read(name: SectionName, raw: object) -> Any:
    result = read_section(name, raw, BRIEF)
    assert not result.faults
    return result.value


@pytest.mark.deep
@pytest.mark.parametrize("name", SectionName)
def test_a_section_written_by_the_book_is_read_without_a_note(name: SectionName) -> None:
    @settings(
        max_examples=examples(12, 200),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(strategies.section(name))
    def exact(section: Any) -> None:
        members = section if isinstance(section, tuple) else None
        raw = (
            [member.model_dump(mode="json", by_alias=True) for member in members]
            if members is not None
            else section.model_dump(mode="json", by_alias=True)
        )
        result = read_section(name, raw, BRIEF)
        assert (result.value, result.faults, result.notes) == (section, [], [])

    exact()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["turns", "text", "speaker", "kind", "type", "sentences", "gaps", "items", "pairs", "prompt",
                         "answer", "accepted", "step", "points", "title", "register", "comprehension", "choices"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.deep
@given(st.sampled_from(list(SectionName)), JSON)
@settings(max_examples=examples(120, 2000), deadline=None)
def test_nothing_a_model_can_write_makes_reading_it_raise(name: SectionName, raw: object) -> None:
    result = read_section(name, raw, BRIEF)
    assert (result.value is None) == bool(result.faults)
    assert len(result.faults) <= MAX_FAULTS
    assert all(fault.section is name for fault in result.faults)


# The rules of the earlier system that killed good lessons: none of them is back.
def test_a_two_character_heading_is_no_fault() -> None:
    assert read(SectionName.LESSON_PLAN, [{"title": "導入", "contentJP": "絵を見ます。"}])


def test_a_one_character_pattern_is_no_fault() -> None:
    assert read(
        SectionName.GRAMMAR, [{"pattern": "を", "explanation": "Marks the object.", "examples": ["水を飲む。"]}]
    )


def test_a_short_reading_is_no_fault() -> None:
    assert read(SectionName.READING, {"title": "水", "text": "水を飲む。"}).text == "水を飲む。"


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_no_number_of_plan_steps_points_or_practices_is_a_fault(count: int) -> None:
    assert len(read(SectionName.LESSON_PLAN, [{"step": "A", "studentTask": "読む"}] * count)) == count
    assert len(read(SectionName.GRAMMAR, [{"pattern": "を", "explanation": "x", "examples": []}] * count)) == count
    practice = {"type": "speaking", "instruction": "Talk.", "content": "話す"}
    assert len(read(SectionName.PRACTICE, [practice] * count)) == count


def test_an_unknown_key_is_ignored_and_told() -> None:
    result = read_section(SectionName.READING, {"title": "水", "text": "水。", "wordCount": 3}, BRIEF)
    assert result.value
    assert "reading.wordCount: not a field, ignored" in map(str, result.notes)


def test_a_misspelt_content_key_is_a_fault_and_never_an_empty_section() -> None:
    result = read_section(SectionName.DIALOGUE, {"title": "昼", "truns": [{"speakerId": "a", "text": "水。"}]}, BRIEF)
    assert result.value is None
    assert list(map(str, result.faults)) == ["dialogue.turns: Field required"]


@pytest.mark.parametrize("empty", [None, [], {}, "", 3])
@pytest.mark.parametrize("name", SectionName)
def test_an_empty_section_is_a_fault(name: SectionName, empty: object) -> None:
    assert read_section(name, empty, BRIEF).faults


def test_a_turn_without_words_is_a_fault_with_its_path() -> None:
    turns = [{"speakerId": "a", "text": "水。"}, {"speakerId": "b", "text": "  "}]
    result = read_section(SectionName.DIALOGUE, {"turns": turns}, BRIEF)
    assert list(map(str, result.faults)) == ["dialogue.turns.1.text: String should have at least 1 character"]


# The earlier system's simpler shape, as a weaker model writes it.
def test_a_bare_list_of_turns_with_speakers_is_a_dialogue() -> None:
    dialogue = read(SectionName.DIALOGUE, [{"speaker": "店員", "text": "いらっしゃい。"}])
    assert isinstance(dialogue, Dialogue)
    assert dialogue.turns[0].speaker_id == "店員"


def test_questions_without_answers_are_open_questions() -> None:
    reading = read(SectionName.READING, {"title": "水", "text": "水。", "comprehension_questions": ["何ですか。"]})
    assert isinstance(reading, Reading)
    assert reading.comprehension[0].answer is None


def test_a_cloze_with_a_blank_becomes_a_whole_sentence_with_a_gap() -> None:
    item = {"prompt": "水＿＿飲みます。", "choices": ["を", "が", "に"], "answer": "を"}
    [practice] = read(SectionName.PRACTICE, [{"type": "cloze", "instruction": "Fill in.", "items": [item]}])
    assert isinstance(practice, GapPractice)
    sentence = practice.sentences[0]
    assert sentence.text == "水を飲みます。"
    assert (sentence.gaps[0].start, sentence.gaps[0].length) == (1, 1)


def test_a_cloze_in_running_text_is_read_as_free_with_its_text() -> None:
    [practice] = read(SectionName.PRACTICE, [{"type": "cloze", "instruction": "Fill in.", "content": "水＿＿飲む。"}])
    assert isinstance(practice, ProductionPractice)
    assert practice.task == "水＿＿飲む。"


def test_pairs_of_jp_and_en_are_a_matching() -> None:
    pairs = [{"jp": "水", "en": "water", "id": "1"}, {"jp": "茶", "en": "tea", "id": "2"}]
    [practice] = read(SectionName.PRACTICE, [{"type": "matching", "instruction": "Match.", "pairs": pairs}])
    assert isinstance(practice, MatchingPractice)
    assert practice.pairs[1].right == "tea"


def test_a_plan_step_keeps_its_heading_and_gets_its_phase_from_it() -> None:
    [step] = read(
        SectionName.LESSON_PLAN, [{"step": "Introduction", "teacherNotes": "Slowly.", "studentTask": "Look."}]
    )
    assert step.phase is PlanPhase.WARM_UP
    assert step.teacher_notes == "Introduction: Slowly."


# Slips of form.
def test_a_gap_that_was_counted_wrong_is_found_by_its_words() -> None:
    gap = {"start": 9, "length": 1, "accepted": ["を"], "choices": []}
    sentence = {"text": "水を飲みます。", "gaps": [gap]}
    [practice] = read(SectionName.PRACTICE, [{"kind": "cloze", "instruction": "Fill.", "sentences": [sentence]}])
    assert isinstance(practice, GapPractice)
    assert practice.sentences[0].gaps[0].start == 1


def test_a_gap_whose_words_stand_twice_is_a_fault_and_not_a_guess() -> None:
    sentence = {"text": "水を買って水を飲む。", "gaps": [{"start": 9, "length": 1, "accepted": ["水"], "choices": []}]}
    result = read_section(
        SectionName.PRACTICE, [{"kind": "cloze", "instruction": "Fill.", "sentences": [sentence]}], BRIEF
    )
    assert result.faults


@pytest.mark.parametrize(
    "practice",
    [
        {"kind": "choice", "instruction": "x", "prompt": "水？", "choices": ["水", "茶"], "answer": "酒"},
        {"kind": "choice", "instruction": "x", "prompt": "水？", "choices": ["水", "水"], "answer": "水"},
        {"kind": "matching", "instruction": "x", "pairs": [{"left": "水", "right": "a"}, {"left": "水", "right": "b"}]},
        {"kind": "cloze", "instruction": "x", "sentences": [{"text": "水を飲む。", "gaps": [
            {"start": 0, "length": 1, "accepted": ["水", "茶"], "choices": ["水", "茶"]}]}]},
    ],
)  # fmt: skip
def test_a_practice_that_would_teach_something_wrong_is_a_fault(practice: dict[str, Any]) -> None:
    assert read_section(SectionName.PRACTICE, [practice], BRIEF).faults


def test_unknown_roles_and_registers_are_read_as_a_harmless_default() -> None:
    frame = read(
        SectionName.FRAME,
        {
            "objective": "x", "canDoText": "y", "register": "casual-polite",
            "characters": [{"id": "a", "name": "田中", "role": "neighbour"}],
            "targetWords": [{"surface": "水", "meaning": "water"}], "keyPhrases": ["水をください。"],
        },
    )  # fmt: skip
    assert isinstance(frame, Frame)
    assert frame.register_ is Register.POLITE
    assert frame.characters[0].role is Role.OTHER


def test_a_frame_without_its_can_do_takes_it_from_the_brief() -> None:
    frame = read(SectionName.FRAME, {"register": "POLITE"})
    assert isinstance(frame, Frame)
    assert frame.can_do_text == frame.objective == BRIEF.can_do_text


def test_a_derived_frame_invents_nobody() -> None:
    dialogue = read(SectionName.DIALOGUE, [{"speaker": "店員", "text": "はい。"}, {"speaker": "客", "text": "水。"}])
    frame = derive_frame(BRIEF, Content(dialogue=dialogue))
    assert [person.name for person in frame.characters] == ["店員", "客"]
    assert frame.target_words == ()


LONG = "これは長い文です。"
"""Nine characters, one item."""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (LONG * 178, "1,602 characters of Japanese"),
        ("あ。" * 201, "201 Japanese texts"),
    ],
)
def test_a_section_that_is_far_too_long_is_refused_with_the_limit(text: str, what: str) -> None:
    result = read_section(SectionName.READING, {"title": "", "text": text, "questions": []}, BRIEF)

    assert result.value is None
    assert [what in fault.text and fault.path == "reading" for fault in result.faults] == [True]


def test_what_is_written_in_the_learner_s_language_has_a_limit_too() -> None:
    result = read_section(SectionName.CULTURE, [{"title": "Food", "body": "x" * MAX_WRITTEN}], BRIEF)

    assert result.value is None
    assert any("characters, at most 12,000" in fault.text for fault in result.faults)


def test_a_section_as_long_as_it_may_be_is_read() -> None:
    many = "これは長い文。" * MAX_ITEMS
    long = "あ" * MAX_JAPANESE

    for text in (many, long):
        assert isinstance(read(SectionName.READING, {"title": None, "text": text, "questions": []}), Reading)
