"""A typed answer counts as kanji or kana, whatever its width, spaces and marks; two answers that differ do not meet."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesson.answers import accepted_forms, accepts, choice_form, normalised, order_of, typed_form

ANY = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=12)
KANA = st.text(st.sampled_from("あいうえおかがきぎさざたっだなはばぱまゃやよらんー"), min_size=1, max_size=8)
MARKS = st.text(st.sampled_from(" 　。、！？!?.,・「」『』（）()…〜～-—\t\n\u200b"), max_size=4)


@dataclass(frozen=True)
class Written:
    kanji: str
    reading: str


@given(ANY)
def test_what_is_normalised_stays_as_it_is(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert typed_form(typed_form(text)) == typed_form(text) == typed_form(normalised(text))


def _is_plain(char: str) -> bool:
    """A letter without case that stays as it is, or no character at all: most of Unicode."""
    plain = unicodedata.category(char) == "Lo" and unicodedata.normalize("NFKC", char) == char
    return plain or unicodedata.category(char) in ("Cn", "Co", "Cs")


def test_so_does_every_character_alone_between_digits_and_before_a_voicing_mark() -> None:
    changed = [
        text
        for char in map(chr, range(0x110000))
        if not _is_plain(char)
        for text in (char, f"1{char}2", f"あ{char}\u3099")
        if normalised(normalised(text)) != normalised(text)
    ]
    assert changed == []


@given(KANA, MARKS, MARKS, st.integers(0, 8))
def test_marks_and_spaces_count_for_nothing_wherever_they_stand(kana: str, one: str, other: str, at: int) -> None:
    assert normalised(one + kana[:at] + other + kana[at:]) == kana


@given(KANA)
def test_hiragana_katakana_and_narrow_katakana_are_typed_alike(kana: str) -> None:
    katakana = "".join(chr(ord(char) + 0x60) if "ぁ" <= char <= "ゖ" else char for char in kana)
    assert typed_form(katakana) == typed_form(kana) == kana
    assert typed_form(unicodedata.normalize("NFD", katakana)) == kana


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("ﾊﾟﾝ", "パン"),
        ("コーヒー", "コーヒー"),
        ("ｺｰﾋｰ", "コーヒー"),
        ("か゛くせい", "がくせい"),
        ("Ｔシャツ", "tシャツ"),
        ("はい、そうです。", "はいそうです"),
        (" すみません… ", "すみません"),
        ("ショッピング・センター", "ショッピングセンター"),
        ("３時", "3時"),
        ("1,200円", "1200円"),
        ("3.5", "3.5"),
        ("10：30", "10:30"),
        ("2、3日", "2、3日"),
        ("3〜5人", "3~5人"),
        ("3～5人", "3~5人"),
        ("～から～まで", "からまで"),
        ("人々", "人々"),
        ("○", "○"),
        ("。", "。"),
        (" ", ""),
    ],
)
def test_a_text_is_normalised_so(text: str, form: str) -> None:
    assert normalised(text) == form


FISH, BREAD = Written("魚", "さかな"), Written("パン", "パン")


@pytest.mark.parametrize("typed", ["魚", "さかな", "サカナ", "ｻｶﾅ", "「魚」。", " さ か な "])
def test_a_word_counts_in_kanji_and_in_kana(typed: str) -> None:
    assert accepts(typed, accepted_forms([FISH]))


@pytest.mark.parametrize("typed", ["", " ", "。", "sakana", "SAKANA", "さかなは", "さが", "肉"])
def test_nothing_romaji_and_other_words_do_not_count(typed: str) -> None:
    assert not accepts(typed, accepted_forms([FISH]))


def test_a_katakana_word_counts_in_hiragana_but_its_long_vowel_is_a_sound() -> None:
    assert accepts("ぱん", accepted_forms([BREAD]))
    assert accepts("こーひー", accepted_forms(["コーヒー"]))
    assert not accepts("コヒ", accepted_forms(["コーヒー"]))


def test_each_form_is_given_once_as_written_before_as_read() -> None:
    assert accepted_forms([FISH, BREAD, FISH, Written("さかな。", "さかな。"), "fish", ""]) == (
        "魚", "さかな", "ぱん", "fish",
    )  # fmt: skip


def test_choices_are_told_apart_by_script_and_by_asking_but_not_by_width_or_marks() -> None:
    assert len({choice_form(text) for text in ("魚", "さかな", "サカナ")}) == 3
    assert choice_form("ﾊﾟﾝ") == choice_form("パン。") == choice_form("パン")
    assert choice_form("食べる？") == choice_form("食べる?") != choice_form("食べる。")


@given(st.lists(KANA, min_size=1, max_size=6), st.data())
def test_an_order_that_is_found_says_the_answer_with_each_piece_once(pieces: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(pieces))
    order = order_of(pieces, "、".join(shuffled) + "。")
    assert order is not None
    assert sorted(order) == list(range(len(pieces)))
    assert "".join(pieces[index] for index in order) == "".join(shuffled)


@pytest.mark.parametrize(
    ("pieces", "answer", "order"),
    [
        (["食べます", "魚を", "夜は"], "夜は、魚を食べます。", (2, 1, 0)),
        (["か", "かか", "い"], "かかいか", (1, 2, 0)),
        (["。", "行きます", "学校へ"], "学校へ行きます。", (2, 1, 0)),
        (["2、", "3日", "行きます"], "2、3日行きます。", (0, 1, 2)),
        (["魚を", "食べます"], "魚を食べました。", None),
        (["魚を", "食べます", "夜は"], "魚を食べます。", None),
        (["魚を", "食べます"], "魚を魚を食べます。", None),
    ],
)
def test_pieces_are_laid_so(pieces: list[str], answer: str, order: tuple[int, ...] | None) -> None:
    assert order_of(pieces, answer) == order


def test_pieces_made_to_be_laid_in_countless_ways_are_given_up() -> None:
    pieces = [*("a" * length for length in range(1, 40)), "ba"]
    assert order_of(pieces, "a" * (sum(range(1, 40)) + 1) + "b") is None
