"""The lesson on a terminal: pure functions of a Lesson, tried on the sample and on what could come instead of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from lesson.models import (
    Attempt,
    AttemptKind,
    AttemptOutcome,
    ChoicePractice,
    EnhancedSection,
    Gap,
    GappedSentence,
    GapPractice,
    Lesson,
    MatchingPractice,
    OrderingPractice,
    Outcome,
    Pair,
    PracticeKind,
    ProductionPractice,
    SectionName,
    SectionState,
    Stage,
    general_issue,
    issue_at,
)
from nidan.terminal.annotated import View
from nidan.terminal.exercises import mixed, shuffled
from nidan.terminal.layout import SAMPLE_LABEL, cost, page, provenance
from nidan.terminal.lines import broken, letter
from nidan.terminal.ruby import Row, Ruby, bracketed, phrases, plain_units
from nidan.terminal.sanitize import clean
from tests.budget import examples
from tests.nidan.texts import japanese


def _attempt(cost_usd: float | None, provider: str = "openai") -> Attempt:
    return Attempt(
        id="a",
        stage=Stage.STAGE1,
        section=None,
        provider=provider,
        model="gpt-5",
        kind=AttemptKind.FIRST,
        outcome=AttemptOutcome.OK,
        reason="",
        retry_after_seconds=None,
        usage=None,
        cost_usd=cost_usd,
        first_token_seconds=None,
        duration_seconds=1.0,
    )


LEARNER = View()
TEACHER = View(teacher=True, translation=True)


@pytest.fixture(scope="module")
def text(lesson: Lesson) -> str:
    return page(lesson, 80, False, LEARNER)


@pytest.fixture(scope="module")
def teachers(lesson: Lesson) -> str:
    return page(lesson, 80, False, TEACHER)


def _part(text: str, title: str) -> str:
    return text.partition(f"\n{title} ──")[2].partition(" ──────")[0]


def test_the_header_says_what_is_taught_and_what_kind_of_lesson_it_is(text: str) -> None:
    header = text.partition("╰")[0]
    for part in (
        "食生活",
        "A1 · JF:349 · polite speech · 45 min · en",
        "built-in lesson, not reviewed by a teacher",
        "COMPLETE",
        "Tell a colleague which foods",
    ):
        assert part in header


def test_a_built_in_lesson_without_an_origin_is_labelled_too(lesson: Lesson) -> None:
    assert SAMPLE_LABEL in page(lesson.model_copy(update={"sample_note": ""}), 80, False, LEARNER)
    ours = lesson.model_copy(update={"sample_note": "built-in lesson, reviewed by a teacher on 2026-10-01"})
    assert "reviewed by a teacher on 2026-10-01" in page(ours, 80, False, LEARNER)
    theirs = lesson.model_copy(update={"sample": False, "sample_note": ""})
    assert SAMPLE_LABEL not in page(theirs, 80, False, LEARNER)


def test_a_learner_reads_paragraphs_without_romaji_kana_or_translation(text: str) -> None:
    reading = _part(text, "Reading")
    assert "食[た]べ物[もの]は、魚[さかな]が好[す]きです。" in "".join(line.strip() for line in reading.splitlines())
    assert "sakana" not in text
    assert "I like fish" not in text
    assert "fish" in _part(text, "Vocabulary")


def test_each_line_that_was_asked_for_stands_under_its_sentence(lesson: Lesson) -> None:
    everything = View(kana=True, romaji=True, translation=True)
    lines = _part(page(lesson, 80, False, everything), "Reading").splitlines()
    at = lines.index("  食[た]べ物[もの]は、魚[さかな]が好[す]きです。")
    assert lines[at + 1 : at + 4] == [
        "    たべものは、さかながすきです。",
        "    tabemono wa, sakana ga suki desu.",
        "    When it comes to food, I like fish.",
    ]
    romaji = page(lesson, 80, False, View(romaji=True))
    assert "tabemono wa, sakana ga suki desu." in romaji
    assert "ときどき    ときどき    tokidoki    sometimes" in romaji
    assert "たべものは" not in romaji
    assert "I like fish" not in romaji


def test_without_furigana_there_is_no_reading_but_in_the_vocabulary(lesson: Lesson) -> None:
    text = page(lesson, 80, False, View(ruby=Ruby.NONE))
    assert "食べ物は、魚が好きです。" in _part(text, "Reading")
    assert "さかな" in _part(text, "Vocabulary")
    assert "さかな" not in text.replace(_part(text, "Vocabulary"), "")


def test_turns_of_the_dialogue_stand_beside_their_speakers_names(text: str) -> None:
    dialogue = _part(text, "Dialogue")
    assert "  小林[こばやし]  アンナさん、今日[きょう]もパンですか。\n" in dialogue
    assert "  アンナ          はい。パンが大好[だいす]きです。\n" in dialogue
    assert "                  * ええと wins time" in dialogue


def test_a_learner_sees_no_answer_and_no_plan_and_is_told_how_a_teacher_would(text: str, teachers: str) -> None:
    answer, filled = "朝[あさ]です。", "夜[よる]はときどき果物[くだもの]を食[た]べます。"
    assert answer not in text
    assert filled not in text
    assert "Answer key" not in text
    assert "Lesson plan" not in text
    assert text.splitlines()[-1] == "--teacher shows answers and lesson plan · --translation translates sentences"
    key = _part(teachers, "Answer key") or teachers.partition("Answer key")[2]
    assert answer in key
    assert filled in key
    assert "--teacher" not in teachers


def test_no_answer_is_in_what_a_learner_can_ask_for(lesson: Lesson) -> None:
    everything = View(ruby=Ruby.NONE, kana=True, romaji=True, translation=True)
    shown = page(lesson, 80, False, everything)
    told = _letters(page(lesson, 80, False, replace(everything, teacher=True)).partition("Answer key")[2])
    answers = list(_answers(lesson))
    assert len(answers) > 10
    for answer in answers:
        assert _letters(answer) in told
        # A sentence of an exercise may well be one of the reading, too.
        assert _letters(answer) not in _letters(_part(shown, "Practice"))
    for answer in answers[:4]:
        assert _letters(answer) not in _letters(shown)


def _answers(lesson: Lesson) -> Iterator[str]:
    """All that a learner has to find without choices; the answers to questions come first."""
    content = lesson.content
    for section in (content.reading, content.dialogue):
        for asked in section.comprehension if section else ():
            if asked.answer and asked.answer not in asked.choices:
                yield asked.answer
    for practice in content.practice:
        match practice:
            case OrderingPractice():
                yield from practice.answers
            case GapPractice():
                yield from (sentence.text for sentence in practice.sentences)
            case ProductionPractice():
                yield from practice.model_answer


def _letters(text: str) -> str:
    return "".join(text.split())


def test_the_lesson_plan_is_the_teachers(teachers: str, lesson: Lesson) -> None:
    plan = " ".join(_part(teachers, "Lesson plan").split())
    for step in lesson.content.lesson_plan:
        assert f"{step.minutes} min" in plan
        assert " ".join(step.student_task.split()) in plan
        assert " ".join((step.teacher_notes or "").split()) in plan


def test_the_key_to_the_pairs_agrees_with_what_is_shown(teachers: str, lesson: Lesson) -> None:
    pairs = lesson.content.practice[0]
    assert isinstance(pairs, MatchingPractice)
    rows = [line.split() for line in _part(teachers, "Practice").partition("Practice 2")[0].splitlines()]
    shown = {row[2].rstrip(")"): " ".join(row[3:]) for row in rows if len(row) > 3 and row[2].endswith(")")}
    key = teachers.partition("Answer key")[2].partition("Practice 1")[2].splitlines()[0].split()
    assert len(key) == 2 * len(pairs.pairs)
    for number, mark in zip(key[::2], key[1::2], strict=True):
        assert shown[mark] == pairs.pairs[int(number) - 1].right


def test_the_closing_lines_tell_provenance_models_cost_and_time(text: str) -> None:
    assert "readings: " in text
    assert " translations: model\n" in text
    assert "Stage 1: nidan-offline · Stage 2: nidan-offline\n" in text
    assert "$0.0000: offline model · " in text


@pytest.mark.parametrize("ruby", Ruby)
@pytest.mark.parametrize("width", [40, 57, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal(lesson: Lesson, width: int, ruby: Ruby) -> None:
    view = View(ruby, kana=True, romaji=True, translation=True, teacher=True)
    assert max(cell_len(line) for line in page(lesson, width, False, view).splitlines()) <= min(width, 100)


def test_colours_change_no_letter(lesson: Lesson, text: str) -> None:
    coloured = page(lesson, 80, True, LEARNER)
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()] == text.splitlines()


def test_a_partial_lesson_says_which_section_lacks_what_and_shows_what_there_is(lesson: Lesson) -> None:
    missing = EnhancedSection(
        name=SectionName.CULTURE, state=SectionState.MISSING, reason="cut off", revision=0, items=(), texts=()
    )
    plain = lesson.sections[2].model_copy(
        update={"state": SectionState.PLAIN, "reason": "18 of 18 items lack a translation", "texts": ()}
    )
    sections = tuple(
        {SectionName.CULTURE: missing, SectionName.DIALOGUE: plain}.get(s.name, s) for s in lesson.sections
    )
    content = lesson.content.model_copy(update={"culture": ()})
    partial = lesson.model_copy(update={"outcome": Outcome.PARTIAL, "sections": sections, "content": content})
    text = page(partial, 80, False, LEARNER)
    assert "PARTIAL" in text
    assert "dialogue is plain: 18 of 18 items lack a translation" in text
    assert "culture is missing: cut off" in text
    assert "\nCulture ─" not in text
    assert "アンナさん、今日もパンですか。" in text


def test_a_section_without_annotations_shows_its_exercises_with_their_gaps(lesson: Lesson) -> None:
    sections = tuple(
        section.model_copy(update={"texts": (), "state": SectionState.PLAIN}) for section in lesson.sections
    )
    text = page(lesson.model_copy(update={"sections": sections}), 80, False, LEARNER)
    assert "魚＿＿＿好きです。" in text
    assert "魚が好きです。" not in _part(text, "Practice")


def test_notes_on_exercises_are_for_the_teacher_and_others_for_everybody(lesson: Lesson) -> None:
    notes = (
        issue_at("practice.0", "the answer is 魚"),
        issue_at("reading.comprehension.1.answer", "朝"),
        general_issue("Its words are far too hard for A1."),
    )
    noted = lesson.model_copy(update={"notes": notes})
    learners, teachers = (page(noted, 100, False, view) for view in (LEARNER, TEACHER))
    assert "note: Its words are far too hard" in learners
    assert learners.count("note: ") == 1
    assert teachers.count("note: ") == 3


def test_what_a_model_wrote_cannot_steer_the_terminal_and_is_no_markup(lesson: Lesson) -> None:
    evil = "[bold]Food[/nonsense]\x1b[2J\x07\u202e"
    changed = lesson.model_copy(update={"brief": lesson.brief.model_copy(update={"topic": evil})})
    text = page(changed, 80, False, TEACHER)
    assert "[bold]Food[/nonsense][2J" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_every_kind_of_practice_can_be_shown_and_answered(lesson: Lesson) -> None:
    choice = ChoicePractice(
        kind=PracticeKind.LISTENING,
        instruction="Listen and choose.",
        target_refs=(),
        prompt="何が好きですか。",
        choices=("fish", "meat"),
        answer="meat",
    )
    typed = Gap(start=0, length=1, accepted=("魚", "さかな"), choices=())
    chosen = Gap(start=1, length=1, accepted=("が",), choices=("を", "が"))
    gaps = GapPractice(
        kind=PracticeKind.DIALOGUE_GAP,
        instruction="Fill in.",
        target_refs=(),
        sentences=(GappedSentence(text="魚が好きです。", gaps=(chosen, typed)),),
    )
    content = lesson.content.model_copy(update={"practice": (choice, gaps)})
    text = japanese(
        ("魚", "さかな"), ("が", None), ("好", "す"), ("きです。", None), item_id="practice.1.sentences.0.text"
    )
    practice = lesson.sections[5].model_copy(update={"texts": (text,)})
    changed = lesson.model_copy(update={"content": content, "sections": (*lesson.sections[:5], practice)})
    shown, _, key = page(changed, 80, False, TEACHER).partition("Answer key")
    assert "(1)＿＿＿(2)＿＿＿好[す]きです。" in shown
    assert "(2) a) を   b) が" in shown
    assert "      a) fish\n      b) meat\n" in shown
    assert "b) meat" in key
    assert "1. 魚 / さかな · b) が" in key


def test_brackets_follow_what_they_read() -> None:
    assert bracketed(phrases(japanese(("食", "た"), ("べ", None), ("物", "もの"), ("\n", None)))) == "食[た]べ物[もの]"


@pytest.mark.deep
@settings(max_examples=examples(60, 600), deadline=None)
@given(st.text(alphabet="食べ物[たもの]。、「」＿abc é-!\n ー", max_size=60), st.integers(4, 30))
def test_breaking_lines_loses_nothing_but_white_space_and_keeps_the_width(text: str, width: int) -> None:
    assert bracketed(plain_units(text)) == text
    rows = broken(plain_units(text), width)
    assert "".join("".join(row.base for row in rows).split()) == "".join(text.split())
    assert all(row.width <= width for row in rows)


def test_white_space_before_a_long_word_does_not_make_its_line_too_wide() -> None:
    assert broken(plain_units(" [[[、"), 5) == [Row("[[[、")]


def test_no_line_begins_with_a_full_stop_or_parts_a_word_from_its_reading() -> None:
    text = "昼[ひる]は、よく近[ちか]くの店[みせ]で小林[こばやし]さんと「魚[さかな]」を食[た]べます。"
    for width in range(16, 60):
        lines = [row.base for row in broken(plain_units(text), width)]
        assert not [line for line in lines if line[0] in "。、」["]
        assert sum(line.count("小林[こばやし]") for line in lines) == 1


def test_only_pieces_in_the_right_order_are_mixed() -> None:
    pieces = ("夜は", "ときどき", "果物を", "食べます。")
    order = mixed(pieces, ("夜はときどき果物を食べます。",))
    assert sorted(order) == [0, 1, 2, 3]
    assert order != [0, 1, 2, 3]
    assert order == mixed(pieces, ("夜は、ときどき果物を食べます",))
    assert mixed(pieces, ("ときどき夜は果物を食べます。",)) == [0, 1, 2, 3]
    assert mixed(("朝も", "昼も"), ("朝も昼も", "昼も朝も")) == [0, 1]


def test_where_a_reading_is_asked_for_the_kanji_stand_alone(lesson: Lesson) -> None:
    pairs = (Pair(left="魚", right="さかな"), Pair(left="肉", right="にく"))
    matching = MatchingPractice(kind=PracticeKind.MATCHING, instruction="Read.", target_refs=(), pairs=pairs)
    choice = ChoicePractice(
        kind=PracticeKind.CHOICE,
        instruction="How?",
        target_refs=(),
        prompt="魚",
        choices=("さかな", "にく"),
        answer="さかな",
    )
    texts = (
        japanese(("魚", "さかな"), item_id="practice.0.pairs.0.left"),
        japanese(("肉", "にく"), item_id="practice.0.pairs.1.left"),
        japanese(("魚", "さかな"), item_id="practice.1.prompt"),
    )
    content = lesson.content.model_copy(update={"practice": (matching, choice)})
    practice = lesson.sections[5].model_copy(update={"texts": texts})
    changed = lesson.model_copy(update={"content": content, "sections": (*lesson.sections[:5], practice)})
    shown = _part(page(changed, 80, False, View(kana=True, romaji=True)), "Practice")
    assert "1. 魚  a) にく\n" in shown
    assert "    魚\n      a) さかな\n" in shown
    assert "魚[さかな]" not in shown


def test_pairs_are_shuffled_the_same_way_every_time_and_never_left_in_order() -> None:
    for size in range(2, 9):
        pairs = [Pair(left=f"左{number}", right=f"right {number * 7}") for number in range(size)]
        order = shuffled(pairs)
        assert sorted(order) == list(range(size))
        assert order != list(range(size))
        assert order == shuffled(pairs)
        hashed = [pairs[at] for at in order]  # the order that hashing gives is the one that must be moved on
        assert shuffled(hashed) != list(range(size))


def test_what_is_not_known_of_the_cost_is_said() -> None:
    assert cost([_attempt(0.0312), _attempt(0.001)]) == "$0.0322 at list price"
    assert cost([_attempt(0.0312), _attempt(None)]) == "cost unknown ($0.0312 of it known, at list price)"
    assert cost([_attempt(0.0, "offline")]) == "$0.0000: offline model"


def test_counts_of_provenance_name_what_is_missing() -> None:
    texts = [japanese(("魚", "さかな"), translation="fish"), japanese(("肉", "にく"))]
    assert provenance(texts) == "2 readings: model · 2 translations: 1 model, 1 missing"
    assert provenance([]) == "0 readings · 0 translations"


def test_letters_go_on_after_z() -> None:
    assert [letter(number) for number in (0, 25, 26, 27)] == ["a", "z", "aa", "ab"]


def test_clean_keeps_line_breaks_and_turns_tabs_into_spaces() -> None:
    assert clean("a\tb\nc\r\x00\x9b") == "a b\nc"
