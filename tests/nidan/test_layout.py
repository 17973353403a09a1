"""The lesson on a terminal: pure functions of a Lesson, tried on the sample and on what could come instead of it."""

from __future__ import annotations

import re

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
    FuriganaSegment,
    Gap,
    GappedSentence,
    GapPractice,
    JapaneseText,
    Lesson,
    Outcome,
    Pair,
    PracticeKind,
    ReadingProvenance,
    SectionName,
    SectionState,
    Stage,
    TranslationProvenance,
)
from nidan.exercises import shuffled
from nidan.japanese import blanked, bracketed, broken, letter, units
from nidan.layout import cost, page, provenance
from nidan.plain import clean


def _text(*segments: tuple[str, str | None], item_id: str = "x", translation: str | None = None) -> JapaneseText:
    return JapaneseText(
        id=item_id,
        kanji="".join(text for text, _ in segments),
        reading="",
        romaji="",
        furigana=tuple(FuriganaSegment(text=text, ruby=ruby) for text, ruby in segments),
        translation=translation,
        needs_translation=True,
        words=(),
        reading_provenance=ReadingProvenance.MODEL,
        translation_provenance=TranslationProvenance.MODEL if translation else TranslationProvenance.NONE,
        reading_model="",
        translation_model="",
        alternatives=(),
        notes=(),
    )


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


@pytest.fixture(scope="module")
def text(lesson: Lesson) -> str:
    return page(lesson, 80, colour=False)


def _part(text: str, title: str) -> str:
    return text.partition(f"\n{title} ──")[2].partition(" ──────")[0]


def test_the_header_says_what_is_taught_and_that_it_is_a_sample(text: str) -> None:
    header = text.partition("╰")[0]
    for part in (
        "食生活",
        "JF:349 · A1 · en",
        "hand-written sample lesson",
        "COMPLETE",
        "Tell a colleague which foods",
    ):
        assert part in header


def test_each_sentence_of_the_reading_has_readings_romaji_and_translation(text: str) -> None:
    lines = _part(text, "Reading").splitlines()
    at = lines.index("  食[た]べ物[もの]は、魚[さかな]が好[す]きです。")
    assert lines[at + 1 : at + 3] == [
        "    tabemono wa, sakana ga suki desu.",
        "    When it comes to food, I like fish.",
    ]


def test_turns_of_the_dialogue_stand_beside_their_speakers_names(text: str) -> None:
    dialogue = _part(text, "Dialogue")
    assert "  小林[こばやし]  アンナさん、今日[きょう]もパンですか。\n" in dialogue
    assert "  アンナ          はい。パンが大好[だいす]きです。\n" in dialogue
    assert "                  * ええと wins time" in dialogue


def test_a_learner_sees_no_answer_before_the_key(text: str) -> None:
    before, _, key = text.partition("Answer key")
    assert "朝[あさ]です。" not in before
    assert "朝[あさ]です。" in key
    assert "魚[さかな]＿＿＿好[す]きです。" in before
    assert "夜[よる]はときどき果物[くだもの]を食[た]べます。" not in before
    assert "夜[よる]はときどき果物[くだもの]を食[た]べます。" in key


def test_the_key_to_the_pairs_agrees_with_what_is_shown(text: str, lesson: Lesson) -> None:
    pairs = lesson.content.practice[0]
    rows = [line.split() for line in _part(text, "Practice").partition("Practice 2")[0].splitlines()]
    shown = {row[2].rstrip(")"): " ".join(row[3:]) for row in rows if len(row) > 3 and row[2].endswith(")")}
    key = text.partition("Answer key")[2].partition("Practice 1")[2].splitlines()[0].split()
    for number, mark in zip(key[::2], key[1::2], strict=True):
        assert shown[mark] == pairs.pairs[int(number) - 1].right  # type: ignore[union-attr] # the first is matching


def test_the_closing_lines_tell_provenance_models_cost_and_time(text: str) -> None:
    assert "readings: " in text
    assert " translations: model\n" in text
    assert "Stage 1: nidan-offline · Stage 2: nidan-offline\n" in text
    assert "$0.0000: offline model · " in text


@pytest.mark.parametrize("width", [40, 57, 80, 100])
def test_no_line_is_wider_than_the_terminal(lesson: Lesson, width: int) -> None:
    assert max(cell_len(line) for line in page(lesson, width, colour=False).splitlines()) <= width


def test_colours_change_no_letter(lesson: Lesson, text: str) -> None:
    coloured = page(lesson, 80, colour=True)
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
    text = page(partial, 80, colour=False)
    assert "PARTIAL" in text
    assert "dialogue is plain: 18 of 18 items lack a translation" in text
    assert "culture is missing: cut off" in text
    assert "\nCulture ─" not in text
    assert "アンナさん、今日もパンですか。" in text


def test_what_a_model_wrote_cannot_steer_the_terminal_and_is_no_markup(lesson: Lesson) -> None:
    evil = "[bold]Food[/nonsense]\x1b[2J\x07\u202e"
    text = page(lesson.model_copy(update={"brief": lesson.brief.model_copy(update={"topic": evil})}), 80, colour=False)
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
    text = _text(
        ("魚", "さかな"), ("が", None), ("好", "す"), ("きです。", None), item_id="practice.1.sentences.0.text"
    )
    practice = lesson.sections[5].model_copy(update={"texts": (text,)})
    changed = lesson.model_copy(update={"content": content, "sections": (*lesson.sections[:5], practice)})
    shown, _, key = page(changed, 80, colour=False).partition("Answer key")
    assert "(1)＿＿＿(2)＿＿＿好[す]きです。" in shown
    assert "(2) a) を   b) が" in shown
    assert "      a) fish\n      b) meat\n" in shown
    assert "b) meat" in key
    assert "1. 魚 / さかな · b) が" in key


def test_brackets_follow_what_they_read() -> None:
    assert bracketed(_text(("食", "た"), ("べ", None), ("物", "もの"), ("\n", None))) == "食[た]べ物[もの]"


def test_a_reading_that_reaches_into_a_gap_is_not_shown() -> None:
    text = _text(("大好", "だいす"), ("きです", None))
    assert blanked(text, [(1, 2)]) == "大＿＿＿です"
    assert blanked(text, [(0, 2)]) == "＿＿＿きです"


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="食べ物[たもの]。、「」＿abc é-!\n ー", max_size=60), st.integers(4, 30))
def test_breaking_lines_loses_nothing_but_white_space_and_keeps_the_width(text: str, width: int) -> None:
    assert "".join(units(text.replace("\n", ""))) == text.replace("\n", "")
    lines = broken(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cell_len(line) <= width for line in lines)


def test_white_space_before_a_long_word_does_not_make_its_line_too_wide() -> None:
    assert broken(" [[[、", 5) == ["[[[、"]


def test_no_line_begins_with_a_full_stop_or_parts_a_word_from_its_reading() -> None:
    text = "昼[ひる]は、よく近[ちか]くの店[みせ]で小林[こばやし]さんと「魚[さかな]」を食[た]べます。"
    for width in range(16, 60):
        lines = broken(text, width)
        assert not [line for line in lines if line[0] in "。、」["]
        assert sum(line.count("小林[こばやし]") for line in lines) == 1


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
    texts = [_text(("魚", "さかな"), translation="fish"), _text(("肉", "にく"))]
    assert provenance(texts) == "2 readings: model · 2 translations: 1 model, 1 missing"
    assert provenance([]) == "0 readings · 0 translations"


def test_letters_go_on_after_z() -> None:
    assert [letter(number) for number in (0, 25, 26, 27)] == ["a", "z", "aa", "ab"]


def test_clean_keeps_line_breaks_and_turns_tabs_into_spaces() -> None:
    assert clean("a\tb\nc\r\x00\x9b") == "a b\nc"
