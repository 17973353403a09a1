"""`make bank-check`: the bank keeps every rule, and each rule, broken once, is reported with its letter and place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enhancer_service.japanese.annotator import JapaneseAnnotator
from offline_model.bank import load_bank
from tools import bank_check

ROOT = Path(__file__).resolve().parents[2]
BANK = ROOT / "offline_model" / "bank"
FOOD = "jf-349-food-a1.yaml"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "tools/bank_check.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def broken(bank: Path, annotator: JapaneseAnnotator, exceptions: Path = bank_check.EXCEPTIONS) -> list[str]:
    """The lines of the report, without a process of its own."""
    cast = bank_check.load_cast(bank_check.CAST)
    found = bank_check.check(load_bank(bank), cast, bank_check.load_exceptions(exceptions), annotator)
    return [str(fault) for fault in found]


@pytest.fixture(scope="module")
def annotator() -> JapaneseAnnotator:
    return JapaneseAnnotator.load()


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """Two lessons are enough: the check of all twelve takes seconds."""
    folder = tmp_path / "bank"
    folder.mkdir()
    for name in (FOOD, "work-a1.yaml"):
        shutil.copy(BANK / name, folder)
    return folder


def change(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def test_the_bank_keeps_every_rule() -> None:
    run = check()
    assert (run.returncode, run.stdout) == (0, "12 lessons: every rule kept\n"), run.stdout + run.stderr


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        # a: counts, words, grammar, text type, minutes
        ([("textType: post", "textType: blog")], "(a)  reading.text_type: blog"),
        ([("minutes: 12", "minutes: 11")], "(a)  lesson_plan: 44 minutes, wanted 45"),
        (
            [("ときどき果物[くだもの]も食[た]べます。", "果物[くだもの]を食[た]べたり飲[の]んだりします。")],
            "(a)  reading.text.7: たり",
        ),
        (
            [("朝[あさ]は何[なに]を食[た]べますか。\", en: \"Oh", "何[なに]を食[た]べなければなりませんか。\", en: \"Oh")],
            "(a)  dialogue.turns.2.text: なければならない",
        ),
        # b: readings
        ([("果物[くだもの]", "果物[かぶつ]"), ("reading: くだもの", "reading: かぶつ")], "(b)  果物[かぶつ] is read"),
        # c: the cast
        ([("label: Kobayashi", "label: Mr Kobayashi")], "(c)  frame: kobayashi's label is Kobayashi"),
        ([("role: colleague", "role: teacher")], "(c)  frame: kobayashi is colleague or customer, not teacher"),
        ([("id: anna", "id: hanna"), ("learnerRole: anna", "learnerRole: hanna"), ("speakerId: anna", "speakerId: hanna")], "(c)  frame: hanna is not in the cast"),
        (
            [("わたしは野菜[やさい]が好[す]きです。", "アンナさんは学生[がくせい]です。")],
            "(c)  practice.3.model_answer.0: Anna is 会社員, not 学生",
        ),
        (
            [("わたしは野菜[やさい]が好[す]きです。", "小林[こばやし]さんは40歳[よんじゅっさい]です。")],
            "(c)  practice.3.model_answer.0: Kobayashi is 29, not 40",
        ),
        # d: registers
        (
            [("でも、今日[きょう]はカレーですよ。", "でも、今日[きょう]はカレーを食[た]べるよ。"), ("evidence: 今日はカレーですよ。", "evidence: 今日はカレーを食べるよ。")],
            "(d)  dialogue.turns.6.text: でも、今日はカレーを食べるよ。 ends in 食べる; kobayashi speaks POLITE to anna",
        ),
        # e: cohesion
        (
            [('surface: {ja: "ときどき"}, reading: ときどき', 'surface: {ja: "たまに"}, reading: たまに')],
            "(e)  frame.target_words: たまに does not occur in reading.text or dialogue.turns",
        ),
        ([("targetRefs: [～が好きです, よく～ます, いつも,", "targetRefs: [いつも,"), ("targetRefs: [～が好きです, よく～ます, 大好き,", "targetRefs: [大好き,")], "(e)  grammar.0: ～が好きです is practised nowhere"),
        ([("anchor: 食べ物は、魚が好きです。", "anchor: 魚が好きです。")], "(e)  grammar.0.anchor"),
        ([("targetRefs: [魚, 肉,", "targetRefs: [魚, 豚肉,")], "(e)  practice.0.target_refs: 豚肉"),
        ([("        - I can say in simple words what I like to eat and what I usually eat.\n", "")], "(e)  practice: the last line"),
        # f: evidence
        ([("evidence: 肉はあまり食べません。", "evidence: 肉は食べません。")], "(f)  reading.comprehension.2.evidence"),
        # g: speech
        ([("アンナさん、今日[きょう]もパンですか。", "あなたは、今日[きょう]もパンですか。")], "(g)  dialogue.turns.0.text: says あなた"),
        ([("あ、いいですね。じゃあ、いただきます。", "わたしも好[す]きです。")], "(g)  dialogue.turns.7.text: does not close"),
        # i: spelling
        ([("たくさん食[た]べます", "沢山[たくさん]食[た]べます")], "(i)  reading.text.6: 沢山 is usually written in kana (たくさん)"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_reported_with_its_letter_and_place(
    annotator: JapaneseAnnotator, tmp_path: Path, changes: list[tuple[str, str]], told: str
) -> None:
    shutil.copy(BANK / FOOD, tmp_path)
    change(tmp_path / FOOD, *changes)
    lesson = bank_check.Checked(load_bank(tmp_path).lessons[0], annotator)
    broken = list(bank_check.rules_of(lesson, bank_check.load_cast(ROOT / "offline_model" / "cast.yaml"), {}))
    assert [str(fault) for fault in broken if told in str(fault)], [str(fault) for fault in broken]


def test_a_run_that_two_lessons_share_is_reported(bank: Path, annotator: JapaneseAnnotator) -> None:
    title = 'title: {ja: "'
    shared = "駅[えき]の前[まえ]にある小[ちい]さいパンの店[みせ]"
    for name in (FOOD, "work-a1.yaml"):
        text = (bank / name).read_text(encoding="utf-8")
        at = text.index(title, text.index("\n  culture:")) + len(title)
        (bank / name).write_text(text[:at] + shared + text[at:], encoding="utf-8")
    assert any("JF:349  (h)  shares 駅の前にある小さいパンの店" in line for line in broken(bank, annotator))


def test_a_missing_lesson_is_reported_with_status_1(bank: Path) -> None:
    run = check("--bank", str(bank))
    assert "bank  (a)  no lesson for 食生活 at B1" in run.stdout
    assert run.returncode == 1


def test_a_reading_that_was_reviewed_is_an_exception(bank: Path, tmp_path: Path, annotator: JapaneseAnnotator) -> None:
    change(bank / FOOD, ("果物[くだもの]", "果物[かぶつ]"), ("reading: くだもの", "reading: かぶつ"))
    exceptions = tmp_path / "exceptions.tsv"
    wrong = [line.split("  ")[2].split(" is read")[0] for line in broken(bank, annotator) if "(b)" in line]
    exceptions.write_text("# why\n" + "".join(f"{text}\tfor the test\n" for text in wrong), encoding="utf-8")
    assert wrong
    assert not any("(b)" in line for line in broken(bank, annotator, exceptions))


def test_a_bank_that_cannot_be_read_ends_with_two(bank: Path) -> None:
    (bank / FOOD).write_text("lesson: [", encoding="utf-8")
    run = check("--bank", str(bank))
    assert run.returncode == 2
    assert FOOD in run.stderr
