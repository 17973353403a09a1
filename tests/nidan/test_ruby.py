"""Furigana on a terminal: which kana stand over which kanji, and where a line may end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from lesson.models import Lesson, Word
from nidan.terminal.annotated import View
from nidan.terminal.layout import page
from nidan.terminal.lines import Lines, broken, side_by_side, unbroken
from nidan.terminal.ruby import Piece, Row, Ruby, Unit, blanked, bracketed, led, phrases, plain_units
from tests.budget import examples
from tests.nidan.texts import japanese

SENTENCE = japanese(("食", "た"), ("べ", None), ("物", "もの"), ("は、", None), ("魚", "さかな"), ("が", None))


def _row(*pieces: tuple[str, ...]) -> Row:
    return Row().plus(tuple(Piece(*piece) for piece in pieces), Ruby.ABOVE)


def _word(start: int, length: int, pos: str) -> Word:
    return Word(start=start, length=length, surface="", reading="", lemma="", pos=pos, gloss=None, level=None)


# --- a row ------------------------------------------------------------------------------------------------------


def test_two_kana_over_a_kanji_between_kana_need_no_room() -> None:
    row = _row(("食", "た"), ("べ",), ("物", "もの"), ("は",))
    assert (row.over, row.base) == ("た もの", "食べ物は")


def test_a_long_reading_gets_room_but_for_a_cell_over_the_kana_on_either_side() -> None:
    row = _row(("は",), ("魚", "さかな"), ("が",))
    assert row.over == " さかな"
    assert row.base == "は 魚 が"


def test_beside_anything_but_kana_no_reading_reaches_over() -> None:
    row = _row(("a",), ("志", "こころざし"), ("x",))
    assert row.over == " こころざし"
    assert row.base == "a    志    x"


def test_two_readings_never_touch() -> None:
    row = _row(("日本", "にほん"), ("語", "ご"), ("学校", "がっこう"))
    assert row.over == "にほん ご がっこう"
    assert row.base == " 日本  語   学校 "


def test_a_reading_stands_in_the_middle_of_wider_kanji_and_of_half_wide_digits() -> None:
    assert _row(("昨日今日", "に")).over == "   に"
    clock = _row(("3時", "さんじ"), ("に",))
    assert (clock.over, clock.base) == ("さんじ", " 3時 に")


_PIECES = st.lists(
    st.one_of(
        st.builds(Piece, st.text("かなカナ、。", min_size=1, max_size=4)),
        st.builds(Piece, st.sampled_from(["a", "T", " ", "（", "漢"])),
        st.builds(Piece, st.text("漢字語3", min_size=1, max_size=3), st.text("よみが", min_size=1, max_size=6)),
    ),
    max_size=12,
)


@pytest.mark.deep
@settings(max_examples=examples(80, 1000), deadline=None)
@given(_PIECES)
def test_every_reading_stands_over_its_kanji_and_at_most_one_cell_over_kana(pieces: list[Piece]) -> None:
    row = Row()
    for piece in pieces:
        row = row.plus((piece,), Ruby.ABOVE)
    assert _without_room(row.base) == _without_room("".join(piece.text for piece in pieces))
    assert row.over.split() == [piece.ruby for piece in pieces if piece.ruby]
    readings, bases = list(_spans(row.over.split(), row.over)), _base_spans(pieces, row.base)
    for (over_start, over_end), (start, end) in zip(readings, bases, strict=True):
        assert abs((over_start + over_end) - (start + end)) <= 1  # their middles agree, to the half of a cell
        cells = _cells(row.base)
        for cell in [*range(over_start, start), *range(end, over_end)]:
            beside = cells[cell] if cell < len(cells) else " "
            assert beside in " かなカナ、。"
        assert sum(cells[cell] != " " for cell in range(over_start, min(start, len(cells)))) <= 1


def _without_room(text: str) -> str:
    return text.replace(" ", "")


def _cells(text: str) -> list[str]:
    return [char for char in text for _ in range(cell_len(char))]


def _spans(words: list[str], line: str) -> Iterator[tuple[int, int]]:
    at = 0
    for word in words:
        at = line.index(word, at)
        yield cell_len(line[:at]), cell_len(line[: at + len(word)])
        at += len(word)


def _base_spans(pieces: list[Piece], base: str) -> list[tuple[int, int]]:
    """The cells of each piece that has a reading."""
    found, at = [], 0
    for piece in pieces:
        first = None
        for char in piece.text.replace(" ", ""):
            at = base.index(char, at)
            first = at if first is None else first
            at += 1
        if piece.ruby and first is not None:
            found.append((cell_len(base[:first]), cell_len(base[:at])))
    return found


# --- where a line may end ---------------------------------------------------------------------------------------


def test_a_line_ends_before_a_phrase_and_never_in_a_word_or_before_a_particle() -> None:
    words = (_word(0, 3, "noun"), _word(3, 1, "particle"), _word(5, 1, "noun"), _word(6, 1, "particle"))
    text = SENTENCE.model_copy(update={"words": words})
    assert [bracketed([unit]) for unit in unbroken(phrases(text))] == ["食[た]べ物[もの]は、", "魚[さかな]が"]


def test_a_prefix_stays_with_its_noun_and_an_auxiliary_with_its_verb() -> None:
    words = (_word(0, 1, "prefix"), _word(1, 1, "noun"), _word(2, 1, "particle"), _word(3, 2, "verb"))
    text = japanese(("ご", None), ("飯", "はん"), ("を", None), ("食", "た"), ("べます", None))
    text = text.model_copy(update={"words": (*words, _word(5, 2, "auxiliary"))})
    assert [bracketed([unit]) for unit in phrases(text)] == ["ご飯[はん]を", "食[た]べます"]


def test_japanese_that_is_quoted_in_another_language_stays_whole() -> None:
    assert "ごちそうさまでした" in [
        bracketed([unit]) for unit in plain_units("Many people say ごちそうさまでした then.")
    ]


@pytest.mark.parametrize("ruby", Ruby)
@pytest.mark.parametrize("width", [24, 40, 57, 80])
def test_in_a_lesson_no_line_breaks_a_word_or_parts_a_reading_from_its_kanji(
    lesson: Lesson, width: int, ruby: Ruby
) -> None:
    for text in (text for section in lesson.sections for text in section.texts):
        rows = broken(phrases(text), width, ruby)
        assert all(row.width <= width for row in rows)
        ends = _ends(rows, ruby)
        whole = phrases(text)
        inner = {len("".join(piece.text for unit in whole[:at] for piece in unit)) for at in range(len(whole) + 1)}
        assert ends <= inner, text.kanji
        over = [reading for row in rows for reading in row.over.split()]
        expected = [segment.ruby for segment in text.furigana if segment.ruby] if ruby is Ruby.ABOVE else []
        assert over == expected


def _ends(rows: list[Row], ruby: Ruby) -> set[int]:
    """After how many characters of the text lines end."""
    found, at = set(), 0
    for row in rows:
        base = row.base.replace(" ", "")
        if ruby is Ruby.BRACKETS:
            base = "".join(
                part.partition("]")[2] if "]" in part else part for part in base.replace("[", "\0[").split("\0")
            )
        at += len(base)
        found.add(at)
    return found


@pytest.mark.deep
@settings(max_examples=examples(60, 600), deadline=None)
@given(_PIECES, st.integers(6, 30), st.sampled_from(Ruby), st.integers(0, 3))
def test_breaking_loses_nothing_but_white_space_and_keeps_the_width(
    pieces: list[Piece], width: int, ruby: Ruby, hang: int
) -> None:
    units: list[Unit] = [(piece,) for piece in pieces]
    rows = broken(units, width, ruby, hang)
    told = "".join(piece.text for piece in pieces) if ruby is not Ruby.BRACKETS else bracketed(units)
    base = "".join(row.base for row in rows)
    over = "".join(row.over for row in rows)
    assert all(row.width <= width for row in rows)
    if "[" not in base or ruby is Ruby.BRACKETS:  # a reading that is wider than the line comes in brackets
        assert _without_room(base) == _without_room(told)
    if ruby is Ruby.ABOVE and "[" not in base:
        assert _without_room(over) == "".join(piece.ruby for piece in pieces)


# --- gaps, leads, rows side by side -----------------------------------------------------------------------------


def test_a_gap_shows_neither_its_kanji_nor_a_reading_that_reaches_into_it() -> None:
    text = japanese(("大好", "だいす"), ("きです", None))
    assert bracketed(blanked(text, [(1, 2)])) == "大＿＿＿です"
    assert bracketed(blanked(text, [(0, 2)])) == "＿＿＿きです"
    assert bracketed(blanked("魚が好き", [(0, 1), (1, 1)])) == "(1)＿＿＿(2)＿＿＿好き"


def test_without_readings_the_text_is_the_same() -> None:
    assert bracketed(phrases(SENTENCE, with_ruby=False)) == "食べ物は、魚が"
    assert bracketed(phrases(SENTENCE)) == "食[た]べ物[もの]は、魚[さかな]が"


def test_a_letter_stays_with_what_it_marks() -> None:
    assert bracketed(led("a) ", phrases(SENTENCE))[:1]).startswith("a) 食[た]")
    assert bracketed(led("a) ", [])) == "a) "


def test_cells_of_a_row_get_headroom_when_one_of_them_has_readings_above() -> None:
    plain, marked = Lines("a", ruby=Ruby.ABOVE), Lines(phrases(SENTENCE), ruby=Ruby.ABOVE)
    assert side_by_side(plain, plain) == (plain, plain)
    left, right = side_by_side(plain, marked)
    assert left is not plain
    assert right.has_ruby_above


@pytest.mark.parametrize("width", [60, 80, 100])
def test_names_and_turns_stand_on_one_base_with_furigana_above(lesson: Lesson, width: int) -> None:
    lines = page(lesson, width, False, View(ruby=Ruby.ABOVE)).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("    小林    アンナさん、"))
    assert lines[at - 1].startswith("  こばやし ")
    assert "きょう" in lines[at - 1]
    kanji = cell_len(lines[at].partition("今日")[0])
    kana = cell_len(lines[at - 1].partition("きょう")[0])
    assert kana in (kanji - 1, kanji)


def test_no_text_is_an_empty_row() -> None:
    assert phrases(SENTENCE.model_copy(update={"furigana": ()})) == []
    assert broken([], 40) == [Row()]
