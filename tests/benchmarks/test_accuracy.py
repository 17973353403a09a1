"""The judging code on rows written by hand: what it accepts, what it counts as wrong, what it refuses to judge by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.accuracy import (
    FLOORS,
    SETS,
    AccuracyError,
    Annotated,
    Score,
    System,
    below_floors,
    by_words,
    gold,
    gold_set,
    latin_letters,
    latin_words,
    miss_table,
    misses,
    one_ruby,
    ours,
    raw_sudachi,
    right_measures,
    score,
    score_table,
    spoken,
    written,
)
from enhancer_service.japanese.furigana import Segments, parse_brackets, to_brackets
from enhancer_service.japanese.reading import Analyser

SCHOOL = gold(["学校に行く。", "がっこうにいく。", "学校[がっこう]に行[い]く。", "gakkō ni iku."])
RAIN = gold(
    [
        "明日は雨だ。",
        "あしたはあめだ。",
        "明日[あした]は雨[あめ]だ。",
        "ashita wa ame da.",
        "明日[あす];明日[みょうにち]",
    ]
)


def segments(bracketed: str, sentence: str) -> Segments:
    parsed = parse_brackets(bracketed, sentence)
    assert parsed is not None
    return parsed


def annotation(bracketed: str, sentence: str, reading: str, romaji: str) -> Annotated:
    return Annotated(segments(bracketed, sentence), reading, romaji)


RIGHT = annotation("学校[がっこう]に行[い]く。", "学校に行く。", "がっこうにいく。", "gakkō ni iku.")
ALL_RIGHT = dict.fromkeys(FLOORS, True)


def test_what_the_gold_says_is_right() -> None:
    assert right_measures(SCHOOL, RIGHT) == ALL_RIGHT


def test_a_wrong_reading_is_wrong_in_every_measure() -> None:
    wrong = annotation("学校[がっこ]に行[い]く。", "学校に行く。", "がっこにいく。", "gakko ni iku.")
    assert right_measures(SCHOOL, wrong) == dict.fromkeys(FLOORS, False)


def test_each_measure_is_scored_by_itself() -> None:
    assert right_measures(SCHOOL, replace(RIGHT, segments=segments("学校[がっこう]に行[ゆ]く。", "学校に行く。"))) == {
        **ALL_RIGHT,
        "segments": False,
    }
    assert right_measures(SCHOOL, replace(RIGHT, reading="がっこうにゆく。")) == {**ALL_RIGHT, "reading": False}
    assert right_measures(SCHOOL, replace(RIGHT, romaji="gakkōni iku.")) == {**ALL_RIGHT, "romaji words": False}


def test_a_measure_that_a_system_does_not_have_is_not_scored() -> None:
    assert right_measures(SCHOOL, Annotated(None, None, "gakkō ni iku.")) == {
        "romaji letters": True,
        "romaji words": True,
    }
    assert set(right_measures(SCHOOL, replace(RIGHT, romaji=None))) == {"segments", "reading"}


# --- alternatives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kana", "latin"), [("あした", "ashita"), ("あす", "asu"), ("みょうにち", "myōnichi")])
def test_every_listed_reading_is_right_in_every_measure(kana: str, latin: str) -> None:
    came = annotation(f"明日[{kana}]は雨[あめ]だ。", "明日は雨だ。", f"{kana}はあめだ。", f"{latin} wa ame da.")
    assert right_measures(RAIN, came) == ALL_RIGHT


def test_a_reading_that_is_not_listed_is_wrong() -> None:
    came = annotation("明日[あけひ]は雨[あめ]だ。", "明日は雨だ。", "あけひはあめだ。", "akehi wa ame da.")
    assert not any(right_measures(RAIN, came).values())


def test_an_alternative_takes_the_place_of_several_segments_and_of_one_of_two_words() -> None:
    row = gold(
        ["七日、七日。", "なのか、なのか。", "七[なの]日[か]、七日[なのか]。", "nanoka, nanoka.", "七日[なぬか]"]
    )
    assert [to_brackets(variant) for variant in row.segments] == [
        "七[なの]日[か]、七日[なのか]。",
        "七日[なぬか]、七日[なぬか]。",
        "七日[なぬか]、七日[なのか]。",
        "七[なの]日[か]、七日[なぬか]。",
    ]
    assert {"なのか、なのか。", "なぬか、なのか。", "なのか、なぬか。", "なぬか、なぬか。"} == set(row.readings)
    assert {"nanoka, nanoka.", "nanuka, nanoka.", "nanoka, nanuka."} <= set(row.romaji)


@pytest.mark.parametrize(
    ("also", "why"),
    [
        ("明後日[あさって]", "no word"),
        ("雨だ[さめだ]", "no word"),
        ("あした", "must be words like"),
        ("明日[あす]、雨[さめ]", "must be words like"),
    ],
)
def test_an_alternative_that_fits_nowhere_is_refused_by_name(also: str, why: str) -> None:
    with pytest.raises(AccuracyError, match=f"明日は雨だ.*{why}"):
        gold(["明日は雨だ。", "あしたはあめだ。", "明日[あした]は雨[あめ]だ。", "ashita wa ame da.", also])


def test_an_alternative_whose_letters_the_romaji_does_not_have_is_refused() -> None:
    with pytest.raises(AccuracyError, match="no word"):
        gold(["明日。", "あした。", "明日[あした]。", "asu.", "明日[あす]"])


def test_furigana_of_another_sentence_is_refused() -> None:
    with pytest.raises(AccuracyError, match="another sentence"):
        gold(["学校に行く。", "がっこうへいく。", "学校[がっこう]へ行[い]く。", "gakkō e iku."])


# --- folding ------------------------------------------------------------------------------------------------------


def test_ruby_kanji_by_kanji_is_the_same_as_ruby_word_by_word() -> None:
    by_kanji = segments("学[がっ]校[こう]に行[い]く。", "学校に行く。")
    assert right_measures(SCHOOL, Annotated(by_kanji, None, None)) == {"segments": True}
    assert one_ruby(by_kanji) == [("学校", "がっこう"), ("に", ""), ("行", "い"), ("く。", "")]


def test_ruby_in_the_wrong_place_stays_wrong() -> None:
    row = gold(["食べ物", "たべもの", "食[た]べ物[もの]", "tabemono"])
    assert right_measures(row, Annotated(segments("食[たべ]べ物[もの]", "食べ物"), None, None)) == {"segments": False}
    assert right_measures(row, Annotated(segments("食べ物[もの]", "食べ物"), None, None)) == {"segments": False}


def test_katakana_and_hiragana_read_alike_and_punctuation_is_not_read() -> None:
    row = gold(["Tシャツだ。", "てぃーしゃつだ。", "T[ティー]シャツだ。", "tīshatsu da."])
    for reading in ("ティーシャツだ。", "てぃーしゃつだ", "てぃー しゃつ だ！"):
        assert right_measures(row, Annotated(None, reading, None)) == {"reading": True}
    assert right_measures(row, Annotated(None, "てぃしゃつだ。", None)) == {"reading": False}
    assert right_measures(row, Annotated(None, "Tシャツだ。", None)) == {"reading": False}
    assert right_measures(row, Annotated(segments("T[てぃー]シャツだ。", "Tシャツだ。"), None, None)) == {
        "segments": True
    }


@pytest.mark.parametrize("latin", ["gakkou ni iku.", "gakkoo ni iku", "Gakkō ni iku."])
def test_a_system_that_spells_long_vowels_out_is_scored_alike(latin: str) -> None:
    assert right_measures(SCHOOL, Annotated(None, None, latin), spells_out=True) == {
        "romaji letters": True,
        "romaji words": True,
    }


def test_a_short_vowel_stays_wrong_however_long_ones_are_spelt() -> None:
    for spells_out in (False, True):
        came = right_measures(SCHOOL, Annotated(None, None, "gakko ni iku."), spells_out)
        assert came == {"romaji letters": False, "romaji words": False}


def test_a_system_with_macrons_is_held_to_them() -> None:
    for latin in ("gakkou ni iku.", "gakkoo ni iku."):
        assert not any(right_measures(SCHOOL, Annotated(None, None, latin)).values())
    omou = gold(["思う。", "おもう。", "思[おも]う。", "omou."])
    assert not any(right_measures(omou, Annotated(None, None, "omō.")).values())


def test_signs_inside_words_count_only_for_those_who_write_them() -> None:
    row = gold(["田中さん、本屋。", "たなかさん、ほんや。", "田中[たなか]さん、本屋[ほんや]。", "tanaka-san, hon'ya."])
    plain = Annotated(None, None, "tanaka san, honya.")
    assert right_measures(row, plain, spells_out=True) == {"romaji letters": True, "romaji words": True}
    assert right_measures(row, plain) == {"romaji letters": True, "romaji words": False}
    assert right_measures(row, Annotated(None, None, "tanaka-san , hon'ya")) == {
        "romaji letters": True,
        "romaji words": True,
    }


def test_letters_are_what_is_left_of_the_words() -> None:
    assert latin_words('"Hai," to tanaka-san.', spells_out=False) == ("hai", "to", "tanaka-san")
    assert latin_letters(("hon'ya", "tanaka-san", "35")) == "honyatanakasan35"


# --- a system's words over the sentence ---------------------------------------------------------------------------


def test_a_words_reading_is_hiragana_and_kana_stand_for_themselves() -> None:
    assert spoken("学校", "ガッコウ") == "がっこう"
    assert spoken("は", "ワ") == "は"
    assert spoken("ケーキ", "ケエキ") == "ケーキ"
    assert spoken("8", None) == "8"
    assert spoken("。", "、") == "。"
    assert spoken("%", "パーセント") == "ぱーせんと"


@pytest.mark.parametrize(
    ("sentence", "words", "bracketed", "reading"),
    [
        ("学校だ。", [("学校", "がっこう"), ("だ", "だ"), ("。", "。")], "学校[がっこう]だ。", "がっこうだ。"),
        ("Tシャツ", [("Ｔシャツ", "てぃーしゃつ")], "T[ティー]シャツ", "てぃーしゃつ"),
        (
            "今月、20日だ。",
            [("今月", "こんげつ"), ("、", "、"), ("二十日", "はつか"), ("だ", "だ"), ("。", "。")],
            "今月[こんげつ]、20日[はつか]だ。",
            "こんげつ、はつかだ。",
        ),
        (
            "最近、800円だ。",
            [("最近", "さいきん"), ("、", "、"), ("八", "はっ"), ("百", "ぴゃく"), ("円", "えん"), ("だ。", "だ。")],
            "最近[さいきん]、800[はっぴゃく]円[えん]だ。",
            "さいきん、はっぴゃくえんだ。",
        ),
        ("六ヶ月", [("六", "ろっ"), ("ヶ月", "かげつ")], "六[ろっ]ヶ月[かげつ]", "ろっかげつ"),
        ("8分", [("8", "8"), ("分", "ふん")], "8[]分[ふん]", "8ふん"),
    ],
)
def test_words_are_laid_over_the_sentence(
    sentence: str, words: list[tuple[str, str]], bracketed: str, reading: str
) -> None:
    made, read = by_words(sentence, words)
    assert "".join(segment.text for segment in made) == sentence
    assert (to_brackets(made), read) == (bracketed, reading)


# --- scores and what is told of them ------------------------------------------------------------------------------


def scripted(said: dict[str, Annotated]) -> System:
    return System("scripted", said.__getitem__)


HALF = scripted({SCHOOL.sentence: RIGHT, RAIN.sentence: replace(RIGHT, romaji="asu wa ame da!")})


def test_a_score_is_right_sentences_of_all() -> None:
    scores = score([SCHOOL, RAIN], HALF)
    assert {measure: (one.right, one.of) for measure, one in scores.items()} == {
        "segments": (1, 2),
        "reading": (1, 2),
        "romaji letters": (2, 2),
        "romaji words": (2, 2),
    }
    table = "\n".join(score_table({"few": {"scripted": scores, "silent": {}}}))
    assert "| few | scripted | 1 of 2 (50.0 %) | 1 of 2 (50.0 %) | 2 of 2 (100.0 %) | 2 of 2 (100.0 %) |" in table
    assert "| few | silent | – | – | – | – |" in table


def test_every_miss_is_told_with_what_was_expected_and_what_came() -> None:
    found = list(misses("few", [SCHOOL, RAIN], HALF))
    assert [(miss.measure, miss.expected, miss.came) for miss in found] == [
        ("segments", "明日[あした]は雨[あめ]だ。", "学校[がっこう]に行[い]く。"),
        ("reading", "あしたはあめだ。", "がっこうにいく。"),
    ]
    assert miss_table(found)[-1] == "| few | reading |  | あしたはあめだ。 | がっこうにいく。 |"
    assert miss_table([]) == ["Nothing that ours says differs from the gold."]


def test_a_set_below_a_floor_is_named_and_one_at_the_floor_passes() -> None:
    floor = {measure: Score(round(percent), 100) for measure, percent in FLOORS.items()}
    assert below_floors({"a": floor}) == []
    for measure, score_at_floor in floor.items():
        below = {**floor, measure: Score(score_at_floor.right - 1, 100)}
        assert len(misses := below_floors({"a": floor, "b": below})) == 1
        assert misses[0].startswith(f"b, {measure}: ")


def test_the_document_keeps_all_but_what_stands_between_its_marks() -> None:
    document = "head\n<!-- a -->\nold\n<!-- end -->\nmiddle\n<!-- b -->\n<!-- end -->\ntail\n"
    assert written(document, {"b": ["2"], "a": ["1", "1"]}) == (
        "head\n<!-- a -->\n1\n1\n<!-- end -->\nmiddle\n<!-- b -->\n2\n<!-- end -->\ntail\n"
    )
    with pytest.raises(AccuracyError, match="no place <!-- c -->"):
        written(document, {"c": []})


# --- the real things ----------------------------------------------------------------------------------------------


def test_every_row_of_every_set_can_be_judged_and_its_own_answers_are_right() -> None:
    for path in SETS:
        rows = gold_set(path)
        assert len({row.sentence for row in rows}) == len(rows) >= 46
        for row in rows:
            for spells_out in (False, True):
                assert (
                    right_measures(row, Annotated(row.segments[0], row.readings[0], row.romaji[0]), spells_out)
                    == ALL_RIGHT
                )


def test_the_rules_make_the_difference_to_raw_sudachi() -> None:
    row = gold(
        [
            "鉛筆を三本買う。",
            "えんぴつをさんぼんかう。",
            "鉛筆[えんぴつ]を三本[さんぼん]買[か]う。",
            "enpitsu o sanbon kau.",
        ]
    )
    assert right_measures(row, ours(Analyser.load()).read(row.sentence)) == ALL_RIGHT
    raw = raw_sudachi().read(row.sentence)
    assert raw.reading == "えんぴつをさんぽんかう。"
    assert not any(right_measures(row, raw).values())
    assert right_measures(SCHOOL, raw_sudachi().read(SCHOOL.sentence)) == ALL_RIGHT
