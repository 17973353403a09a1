"""Style faults of a lesson: what a person would never write, found by rule, each in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lesson.japanese.style import issues_to_reask, repeated, style_issues
from lesson.models import Content, IssueSeverity, Level, SectionName
from offline_model.bank import SECTION_KEYS, load_bank

BANK = load_bank()
Edit = Callable[[dict[str, Any]], object]


def told(edit: Edit, level: Level = Level.A1) -> list[str]:
    plain = json.loads(json.dumps(BANK.stage1("JF:349", SECTION_KEYS)))
    edit(plain)
    return [str(fault) for fault in style_issues(Content.model_validate(plain), level)]


def turn(index: int, text: str) -> Edit:
    return lambda plain: plain["dialogue"]["turns"][index].update(text=text)


@pytest.mark.parametrize("lesson", BANK.lessons, ids=lambda lesson: lesson.can_do_id)
def test_a_built_in_lesson_has_none(lesson: Any) -> None:
    content = Content.model_validate(BANK.stage1(lesson.can_do_id, SECTION_KEYS))
    assert style_issues(content, lesson.level) == ()


@pytest.mark.parametrize(
    ("index", "text", "fault"),
    [
        (0, "あなたは、今日もパンですか。", "dialogue.turns.0.text: says あなた, wanted the name or nothing"),
        (3, "ええと、彼女も、よくパンを食べます。", "dialogue.turns.3.text: says 彼 or 彼女 at A1"),
        (7, "わたしも、わたしの母も好きですね。", "dialogue.turns: anna says わたし 2 times, wanted at most once"),
        (7, "これは高いです。", "dialogue.turns.7.text: does not close the conversation"),
        (4, "ええと、朝もよくパンを食べます。", "dialogue.turns.4.text: repeats most of the turn before"),
        (1, "はい（そうです）。**パン**です。", "dialogue.turns.1.text: holds Markdown, wanted plain Japanese"),
        (1, "私（わたし）はパンです。", "dialogue.turns.1.text: holds furigana, wanted plain Japanese"),
        (
            1,
            "はい、パンです (pan desu)。",
            "dialogue.turns.1.text: holds romaji or a translation, wanted plain Japanese",
        ),
    ],
)
def test_a_turn_that_no_person_would_say_is_told(index: int, text: str, fault: str) -> None:
    assert fault in told(turn(index, text))


def test_third_persons_are_allowed_from_b1() -> None:
    edit = turn(3, "ええと、彼女も、よくパンを食べます。")
    assert not [fault for fault in told(edit, Level.B1) if "彼女" in fault]


def test_a_dialogue_without_reactions_tags_or_repair_is_told() -> None:
    def flat(plain: dict[str, Any]) -> None:
        for index, one in enumerate(plain["dialogue"]["turns"]):
            one["text"] = f"{index}番の本は机の上にあります。"

    faults = told(flat)
    assert "dialogue.turns: fewer than 2 reactions or fillers (へえ, ええと, そうですか)" in faults
    assert "dialogue.turns: 0% of the turns end in ね, よ or よね, wanted 20 to 60 %" in faults
    assert "dialogue.turns: nobody confirms or repairs anything" in faults


@pytest.mark.parametrize(
    ("unusual", "usual"),
    [
        ("これを下さい。", "くださ"),
        ("出来ました。", "でき"),
        ("食べる事が好きです。", "こと"),
        ("子どもの時、行きました。", "とき"),
        ("宜しくお願いします。", "よろしく"),
        ("歩いて行く方がいいです。", "ほうが"),
        ("よく分かりました。", "わか"),
        ("丁度いいです。", "ちょうど"),
        ("見て欲しいです。", "ほしい"),
    ],
)
def test_unusual_spelling_is_told_with_the_usual_one(unusual: str, usual: str) -> None:
    def spelt(plain: dict[str, Any]) -> None:
        plain["culture"][0]["japanese"][0] = unusual

    faults = [fault for fault in told(spelt) if fault.startswith("culture.0.japanese.0")]
    assert [fault for fault in faults if fault.endswith(f"({usual})")]


@pytest.mark.parametrize(
    "text",
    [
        "仕事と食事と大事な返事の事情",
        "10分かかります。何時ですか。",
        "あの方が先生です。",
        "自分から頂上へ。一致しました。",
        "有名な居間と無料の時計",
        "気分がいい。時間があります。",
    ],
)
def test_words_that_only_look_like_it_are_left_alone(text: str) -> None:
    def spelt(plain: dict[str, Any]) -> None:
        plain["culture"][0]["japanese"][0] = text

    assert [fault for fault in told(spelt) if fault.startswith("culture.0.japanese.0")] == []


def test_a_section_with_a_grave_issue_is_asked_again_for_all_its_issues() -> None:
    def spelt(plain: dict[str, Any]) -> None:
        plain["culture"][0]["japanese"][0] = "これを下さい。"
        plain["dialogue"]["turns"][0]["text"] = "あなたも出来ますか。"

    plain = BANK.stage1("JF:349", SECTION_KEYS)
    spelt(plain)
    faults = style_issues(Content.model_validate(plain), Level.A1)
    asked = issues_to_reask(faults)
    assert {(fault.section, fault.severity) for fault in asked} == {(SectionName.DIALOGUE, IssueSeverity.STYLE)}
    assert len(asked) == 2


def test_a_lesson_without_dialogue_has_no_faults_of_one() -> None:
    assert style_issues(Content(), Level.A1) == ()


def test_repeating_is_measured_in_pairs_of_characters() -> None:
    assert repeated("パンが好きです。", "パンが好きですか。") > 0.8
    assert repeated("朝は何を食べますか。", "ええと、よくパンを食べます。") < 0.6
    assert repeated("はい。", "はい。") == 0.0  # too short to tell
