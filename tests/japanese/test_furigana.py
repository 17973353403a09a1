from __future__ import annotations

import unicodedata

import pytest

from enhancer_service.annotator import ProposedReading
from enhancer_service.japanese.align import align
from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.annotator import JapaneseAnnotator
from enhancer_service.japanese.furigana import merge_plain, parse_brackets, to_brackets
from enhancer_service.japanese.reading import Analyser
from lesson.models import FuriganaSegment


def _segments(*pairs: tuple[str, str | None]) -> tuple[FuriganaSegment, ...]:
    return tuple(FuriganaSegment(text=text, ruby=ruby) for text, ruby in pairs)


@pytest.mark.parametrize(
    ("surface", "reading", "pieces"),
    [
        ("食べ物", "たべもの", [("食", "た"), ("べ", None), ("物", "もの")]),
        ("引っ越し", "ひっこし", [("引", "ひ"), ("っ", None), ("越", "こ"), ("し", None)]),
        ("言い伝え", "いいつたえ", [("言", "い"), ("い", None), ("伝", "つた"), ("え", None)]),
        ("今日", "きょう", [("今日", "きょう")]),
        ("人々", "ひとびと", [("人々", "ひとびと")]),
        ("霞ヶ関", "かすみがせき", [("霞ヶ関", "かすみがせき")]),
        ("山ノ内", "やまのうち", [("山", "やま"), ("ノ", None), ("内", "うち")]),
        ("Tシャツ", "てぃーしゃつ", [("T", "ティー"), ("シャツ", None)]),
        ("モー娘。", "もーむすめ", [("モー", None), ("娘", "むすめ"), ("。", None)]),
        ("食べ物", "ごはん", [("食べ物", "ごはん")]),
    ],
)
def test_kana_match_themselves_and_the_rest_is_ruby(
    surface: str, reading: str, pieces: list[tuple[str, str | None]]
) -> None:
    assert list(align(surface, reading)) == pieces


@pytest.mark.parametrize(
    "word", ["今日", "明日", "大人", "一人", "二十歳", "二十日", "上手", "部屋", "友達", "果物", "七夕", "時計"]
)
def test_words_read_as_a_whole_are_never_split(analyser: Analyser, word: str) -> None:
    (segment,) = annotate(analyser, word).segments
    assert segment.text == word


def test_no_ruby_reaches_over_a_words_border(analyser: Analyser) -> None:
    assert to_brackets(annotate(analyser, "毎日料理").segments) == "毎日[まいにち]料理[りょうり]"


def test_letters_have_ruby_inside_a_japanese_word_and_as_initials(analyser: Analyser) -> None:
    assert to_brackets(annotate(analyser, "TシャツとCD").segments) == "T[ティー]シャツとCD[シーディー]"
    assert to_brackets(annotate(analyser, "ＯＫだよ、SNSもUSBも。").segments) == (
        "ＯＫ[オーケー]だよ、SNS[エスエヌエス]もUSB[ユーエスビー]も。"
    )


@pytest.mark.parametrize("word", ["STOP", "Anna", "SALE", "A", "usb", "WATERS", "ABCDEF"])
def test_words_in_latin_letters_stay_as_they_are(analyser: Analyser, word: str) -> None:
    assert annotate(analyser, word).segments == _segments((word, None))


def test_neighbouring_plain_text_is_one_segment() -> None:
    pieces = _segments(("の", None), ("", None), ("を", None), ("本", "ほん"), ("が", None))
    assert merge_plain(pieces) == _segments(("のを", None), ("本", "ほん"), ("が", None))


def test_brackets_apply_to_the_run_before_them() -> None:
    source = "食べ物が1,200円、3ヶ月、人々。"
    bracketed = "食[た]べ物[もの]が1,200円[せんにひゃくえん]、3ヶ月[さんかげつ]、人々［ひとびと］。"
    parsed = parse_brackets(bracketed, source)
    assert parsed == _segments(
        ("食", "た"), ("べ", None), ("物", "もの"), ("が", None), ("1,200円", "せんにひゃくえん"), ("、", None),
        ("3ヶ月", "さんかげつ"), ("、", None), ("人々", "ひとびと"), ("。", None),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bracketed", "source"),
    [
        ("本[ほん]が好[す]き", "本が嫌い"),
        ("本[ほん]", "本。"),
        ("本[ほん]。", "本"),
        ("本[book]", "本"),
        ("ほん[ほん]", "ほん"),
        ("本[ほん", "本"),
        ("", "本"),
    ],
)
def test_brackets_of_another_text_are_refused(bracketed: str, source: str) -> None:
    assert parse_brackets(bracketed, source) is None


def test_brackets_of_the_source_stay_text() -> None:
    source = "[注]本[か]と「漢字［かんじ］」"
    assert parse_brackets("[注[ちゅう]]本[ほん][か]と「漢字[かんじ]［かんじ］」", source) == _segments(
        ("[", None), ("注", "ちゅう"), ("]", None), ("本", "ほん"), ("[か]と「", None), ("漢字", "かんじ"),
        ("［かんじ］」", None),
    )  # fmt: skip
    assert parse_brackets(source, source) == _segments((source, None))


def test_an_empty_pair_separates_a_bare_run_from_the_next() -> None:
    segments = _segments(("DVD", None), ("店", "てん"))
    assert to_brackets(segments) == "DVD[]店[てん]"
    assert parse_brackets("DVD[]店[てん]", "DVD店") == segments


def test_the_sources_own_spelling_is_kept_where_only_the_normal_form_differs() -> None:
    source = unicodedata.normalize("NFD", "本がだいすき")
    assert parse_brackets("本[ほん]がだいすき", source) == _segments((source[:1], "ほん"), (source[1:], None))


def test_a_models_furigana_decides_the_reading(annotator: JapaneseAnnotator) -> None:
    proposed = "明日[あす]は日本人[にっぽんじん]の人気[にんき]のある市場[しじょう]へ"
    annotation = annotator.annotate("明日は日本人の人気のある市場へ", {}, ProposedReading(furigana=proposed))
    assert to_brackets(annotation.segments) == proposed
    assert annotation.reading == "あすはにっぽんじんのにんきのあるしじょうへ"
    assert annotation.romaji == "asu wa nipponjin no ninki no aru shijō e"


def test_a_counted_number_left_half_bare_keeps_its_rule(annotator: JapaneseAnnotator) -> None:
    annotation = annotator.annotate("4時に来た", {}, ProposedReading(furigana="4時[じ]に来[き]た"))
    assert to_brackets(annotation.segments) == "4時[よじ]に来[き]た"
