"""The keys of practice: what would teach something wrong is refused, what can be told is mended with a note."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from lesson.japanese.levels import soft_notes
from lesson.models import Brief, Content, Gap, Level, SectionName
from lesson.parsing import SectionRead, read_section
from offline_model.bank import SECTION_KEYS, load_bank

BRIEF = Brief(
    can_do_id="",
    topic="食生活",
    level=Level.A1,
    learner_language="en",
    can_do_text="Can say what one likes to eat.",
    can_do_text_ja="",
    activity="",
)
COMMON: dict[str, Any] = {"instruction": "Do it.", "targetRefs": []}


def read(kind: str, **fields: Any) -> SectionRead:
    return read_section(SectionName.PRACTICE, [{"kind": kind, **COMMON, **fields}], BRIEF)


def choice(*choices: str, answer: str) -> SectionRead:
    return read("choice", prompt="何が好きですか。", choices=list(choices), answer=answer)


def gap(accepted: list[str], choices: list[str]) -> SectionRead:
    gaps = [{"start": 0, "length": 2, "accepted": accepted, "choices": choices}]
    return read("cloze", sentences=[{"text": "パンが好きです。", "gaps": gaps}])


def ordering(*answers: str) -> SectionRead:
    return read("ordering", pieces=["食べます", "夜は", "魚を"], answers=list(answers))


def matching(*pairs: tuple[str, str]) -> SectionRead:
    return read("matching", pairs=[{"left": left, "right": right} for left, right in pairs])


def only(result: SectionRead) -> Any:
    assert not result.faults
    assert isinstance(result.value, tuple)
    return result.value[0]


# --- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (choice("魚", "肉", answer="卵"), "answer must be one of the choices"),
        (choice("ﾊﾟﾝ", "パン。", answer="パン"), "choices: Tuple should have at least 2 items"),
        (gap(["パン"], ["肉", "魚"]), "exactly one of the choices must be accepted"),
        (gap(["パン", "カレー"], ["パン", "ｶﾚｰ"]), "exactly one of the choices must be accepted"),
        (gap(["カレー"], []), "the words of a gap must be among its accepted answers"),
        (matching(("魚", "fish"), ("肉", "Fish.")), "pairs must be unique on both sides"),
        (matching(("ﾊﾟﾝ", "bread"), ("パン", "toast")), "pairs must be unique on both sides"),
        (ordering("夜は肉を食べます。"), "answer 0 is not made of all the pieces, each once"),
        (ordering("魚を食べます。"), "answer 0 is not made of all the pieces, each once"),
    ],
)
def test_a_key_that_is_wrong_is_refused(result: SectionRead, fault: str) -> None:
    assert result.value is None
    assert any(fault in str(told) for told in result.faults), result.faults


@pytest.mark.parametrize(
    "result",
    [
        choice("魚", "さかな", answer="魚"),
        choice("食べる。", "食べる？", answer="食べる？"),
        choice("3.5", "35", answer="35"),
        choice("。", "？", answer="。"),
        choice("○", "×", answer="×"),
        gap(["パン", "ぱん"], []),
        ordering("夜は、魚を食べます。", "魚を夜は食べます"),
    ],
)
def test_a_key_that_is_right_is_read_as_it_stands(result: SectionRead) -> None:
    only(result)
    assert not result.notes


def test_the_models_by_themselves_hold_a_choice_to_its_key_letter_for_letter() -> None:
    with pytest.raises(ValidationError, match="letter for letter"):
        Gap(start=0, length=2, accepted=("パン",), choices=("ﾊﾟﾝ", "肉"))


# --- mended -----------------------------------------------------------------------------------------------------


def test_a_choice_given_twice_is_one_choice() -> None:
    result = choice("魚", "ﾊﾟﾝ", "肉", "パン", answer="パン")
    practice = only(result)
    assert (practice.choices, practice.answer) == (("魚", "ﾊﾟﾝ", "肉"), "ﾊﾟﾝ")
    assert list(map(str, result.notes)) == [
        "practice.0.choices: 1 given twice, left out",
        "practice.0.answer: spelt as its choice",
    ]


def test_an_answer_with_other_marks_than_its_choice_is_that_choice() -> None:
    result = choice("魚です", "肉です", answer="肉です。")
    assert only(result).answer == "肉です"
    assert list(map(str, result.notes)) == ["practice.0.answer: spelt as its choice"]


def test_the_right_choice_of_a_gap_is_spelt_as_in_the_sentence() -> None:
    result = gap(["パン"], ["肉", "ﾊﾟﾝ"])
    assert only(result).sentences[0].gaps[0].choices == ("肉", "パン")
    assert list(map(str, result.notes)) == ["practice.0.sentences.0.gaps.0.choices.1: spelt as the accepted answer"]


def test_a_pair_given_twice_is_one_pair() -> None:
    result = matching(("魚", "fish"), ("肉", "meat"), ("魚", "fish"))
    assert [pair.left for pair in only(result).pairs] == ["魚", "肉"]
    assert list(map(str, result.notes)) == ["practice.0.pairs: 1 given twice, left out"]


def test_an_order_that_the_pieces_cannot_make_is_left_out_beside_one_that_they_make() -> None:
    result = ordering("夜は魚を食べません。", "夜は魚を食べます。")
    assert only(result).answers == ("夜は魚を食べます。",)
    assert list(map(str, result.notes)) == ["practice.0.answers: 1 not made of the pieces, left out"]


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"answer": "夜は魚を食べます。"}, "practice.0.answers: read from 'answer'"),
        ({"answers": ["夜は", "魚を", "食べます"]}, "practice.0.answers: given piece by piece, joined"),
        ({"answers": [["夜は", "魚を", "食べます"]]}, "practice.0.answers: given piece by piece, joined"),
    ],
)
def test_an_order_is_read_however_it_is_given(fields: dict[str, Any], note: str) -> None:
    result = read("ordering", pieces=["食べます", "夜は", "魚を"], **fields)
    assert only(result).answers[0].rstrip("。") == "夜は魚を食べます"
    assert note in map(str, result.notes)


def test_an_answer_with_other_marks_than_its_choice_takes_the_choice_s_spelling() -> None:
    asked = {
        "question": "何ですか。",
        "choices": ["魚", "肉", "魚。"],
        "answer": "肉。",
        "evidence": "肉",
        "mode": "read",
    }
    reading = {"title": "肉", "textType": "post", "text": "肉が好きです。", "comprehension": [asked]}
    result = read_section(SectionName.READING, reading, BRIEF)
    assert list(map(str, result.notes)) == [
        "reading.comprehension.0.choices: 1 given twice, left out",
        "reading.comprehension.0.answer: spelt as its choice",
    ]
    assert result.value is not None
    assert result.value.comprehension[0].answer == "肉"  # type: ignore[union-attr]  # a Reading


# --- noted ------------------------------------------------------------------------------------------------------


def noted(practice: dict[str, Any]) -> list[str]:
    """What is told of the built-in lesson when one practice more is in it."""
    plain = load_bank().stage1("JF:349", SECTION_KEYS)
    plain["practice"] = [*plain["practice"][:3], {**COMMON, **practice}]
    return [
        str(note) for note in soft_notes(Content.model_validate(plain), Level.A1) if note.path.startswith("practice.3")
    ]


CAN_DO = "I can say in simple words what I like to eat and what I usually eat."


def production(model_answer: list[str], checklist: list[str]) -> dict[str, Any]:
    return {"kind": "free", "task": "Talk.", "modelAnswer": model_answer, "checklist": checklist}


def test_production_without_model_answer_or_list_is_noted_and_never_refused() -> None:
    assert noted(production([], [])) == [
        "practice.3.model_answer: is missing",
        "practice.3.checklist: 0 lines, wanted 2 to 4",
    ]


def test_a_list_that_does_not_end_in_the_can_do_is_noted() -> None:
    assert noted(production(["魚が好きです。"], [CAN_DO, "I asked a question."])) == [
        "practice.3.checklist: its last line is not the Can-do"
    ]


@pytest.mark.parametrize("last", [CAN_DO, CAN_DO.removeprefix("I ").capitalize(), CAN_DO.rstrip(".")])
def test_the_can_do_is_known_however_it_is_put(last: str) -> None:
    assert noted(production(["魚が好きです。"], ["I asked a question.", last])) == []


def test_pieces_that_stand_in_a_right_order_already_are_noted() -> None:
    given = {"kind": "ordering", "pieces": ["魚が", "好きです"], "answers": ["魚が好きです。"]}
    assert noted(given) == ["practice.3.pieces: stand in a right order already"]
    assert noted({**given, "pieces": ["好きです", "魚が"]}) == []
