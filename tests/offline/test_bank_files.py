"""A bank file with a mistake in it stops the start, and the message says where to look."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest

from offline_model import brackets
from offline_model.bank import Bank, BankError, load_bank

GOOD = (importlib.resources.files("offline_model") / "bank" / "jf-349-food-a1.yaml").read_text(encoding="utf-8")


def load(folder: Path, text: str) -> Bank:
    (folder / "lesson.yaml").write_text(text, encoding="utf-8")
    return load_bank(folder)


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (changed("level: A1", "level: A0"), "level", "A1"),
        (changed("topic: 食生活", "subject: 食生活"), "topic", "required"),
        (changed("topic: 食生活", "topic: 食生活\ntopic: 健康"), "cannot read the file", "a key stands twice"),
        (changed("lesson:\n", "lesson: [\n"), "cannot read the file", "line"),
        (changed("  culture:\n", "  cultures:\n"), "lesson.culture", "missing"),
        (changed("    scenario: >-", "    scenery: >-"), "lesson.frame.scenario", "required"),
        (changed("grouping: pairs", "grouping: pairs\n      room: big"), "lesson.lessonPlan.2.room", "no field"),
        (changed("role: learner", "role: hero"), "lesson.frame.characters.0.role", "learner"),
        (changed("魚[さかな]", "魚"), "lesson.frame.targetWords.0.surface", "魚 has no reading"),
        (changed("魚[さかな]", "魚[魚]"), "lesson.frame.targetWords.0.surface", "must hold kana"),
        (changed("肉[にく]\"}", "肉[しし]\"}"), "肉", "read in two ways"),
        (changed("I like fish.", "Fish!"), "魚が好きです。", "translated in two ways"),
        (changed(', en: "Lunch break"', ""), "lesson.dialogue.title", "needs a translation"),
        (changed('{ja: "昼休[ひるやす]み", en: "Lunch break"}', "まつり"), "lesson.dialogue.title", "must be written"),
        (changed('en: "Lunch break"', 'de: "Pause"'), "lesson.dialogue.title", "not de"),
        (changed('en: "Lunch break"', "en: 7"), "lesson.dialogue.title", "must be texts"),
        (changed("    text:\n", "    text: 好き\n    texts:\n"), "lesson.reading.text", "paragraphs"),
        (changed("word: いつも", "word: たまに"), "lesson.practice.1.sentences.2.gaps.0.word", "exactly once"),
        (changed('choices: [{ja: "を"}', 'choices: [{ja: "が"}'), "lesson.practice.1", "distinct"),
        (changed("kana: アンナ", 'kana: " アンナ"'), "lesson.frame.characters.0.kana", "write it so"),
        ("- nothing", "", "dictionary"),
    ],
    ids=range(21),
)  # fmt: skip
def test_a_mistake_is_reported_with_its_file_and_path(tmp_path: Path, text: str, path: str, message: str) -> None:
    with pytest.raises(BankError) as caught:
        load(tmp_path, text)
    told = str(caught.value)
    assert told.startswith("lesson.yaml: ")
    assert path in told
    assert message in told


def test_a_folder_without_lessons_is_no_bank(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="has no lesson file"):
        load_bank(tmp_path)


def test_a_can_do_may_be_in_the_bank_only_once(tmp_path: Path) -> None:
    (tmp_path / "another.yaml").write_text(changed("canDoId: JF:349", "canDoId: JF:350"), encoding="utf-8")
    with pytest.raises(BankError, match=r"lesson.yaml: canDoId: JFまるごと:349 is in the bank twice"):
        load(tmp_path, GOOD)


def test_two_lessons_live_side_by_side(tmp_path: Path) -> None:
    other = changed('canDoId: JF:349\naliases: [JFまるごと:349, "nidan:food-a1-1"]', "canDoId: own:1\naliases: []")
    (tmp_path / "another.yaml").write_text(other, encoding="utf-8")
    bank = load(tmp_path, GOOD)
    assert [lesson.can_do_id for lesson in bank.lessons] == ["own:1", "JF:349"]


def test_what_the_bank_hands_out_is_the_callers_own(bank: Bank) -> None:
    bank.stage1("JF:349", ["frame"])["frame"].clear()
    assert bank.stage1("JF:349", ["frame"])["frame"]


def test_the_bank_names_what_it_does_not_have(bank: Bank) -> None:
    assert bank.lesson("JF:1") is None
    assert bank.annotation("魚がきらいです。") is None
    assert bank.annotation("魚が好きです。") == ("魚[さかな]が好[す]きです。", "I like fish.")
    with pytest.raises(KeyError, match="JF:1"):
        bank.stage1("JF:1", ["frame"])
    with pytest.raises(KeyError, match="plan"):
        bank.stage1("JF:349", ["frame", "plan"])


@pytest.mark.parametrize(
    "good",
    ["食[た]べ物[もの]", "3時[さんじ]", "1,200円[せんにひゃくえん]", "T[ティー]シャツ", "人々[ひとびと]", "ねこ。"],
)
def test_bracket_notation_that_is_right_has_no_fault(good: str) -> None:
    assert brackets.fault(good) is None
    assert "[" not in brackets.plain(good)


@pytest.mark.parametrize(
    "bad",
    ["食べ物[もの]", "3時", "T[ティー]シャツL", "食[ta]べ", "食[]べ", "ねこ[ねこ]", "食[た]]べ", "[た]べ", "食、[た]"],
)
def test_wrong_bracket_notation_is_reported(bad: str) -> None:
    assert brackets.fault(bad)
