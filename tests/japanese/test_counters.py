from __future__ import annotations

import pytest

from enhancer_service.japanese import numbers
from enhancer_service.japanese.annotate import annotate
from enhancer_service.japanese.furigana import to_brackets
from enhancer_service.japanese.reading import Analyser


@pytest.mark.parametrize(
    ("written", "reading"),
    [
        ("300", "さんびゃく"),
        ("六百", "ろっぴゃく"),
        ("8,888", "はっせんはっぴゃくはちじゅうはち"),
        ("1万2千", "いちまんにせん"),
        ("10000000", "いっせんまん"),
        ("八兆", "はっちょう"),
        ("二〇二五", "にせんにじゅうご"),
        ("３．５", "さんてんご"),
        ("0.5", "れいてんご"),
        ("007", "ぜろぜろなな"),
        ("一千", "いっせん"),
    ],
)
def test_a_number_is_read_as_counted(written: str, reading: str) -> None:
    assert numbers.read(written).reading == reading


def test_a_number_too_long_to_count_is_read_digit_by_digit() -> None:
    assert numbers.read("1" * 5000).reading == "いち" * 5000
    assert numbers.read("十" * 5000).reading == "じゅう" * 5000


@pytest.mark.parametrize(
    "furigana",
    [
        "一本[いっぽん]と三本[さんぼん]と八本[はっぽん]と何本[なんぼん]",
        "4分[よんぷん]と六分[ろっぷん]と10分[じゅっぷん]",
        "一回[いっかい]と六回[ろっかい]と百回[ひゃっかい]",
        "三階[さんがい]と何階[なんがい]と十階[じゅっかい]",
        "一冊[いっさつ]と八冊[はっさつ]と六冊[ろくさつ]",
        "四時[よじ]と七時[しちじ]と九時[くじ]と14時[じゅうよじ]",
        "一人[ひとり]と二人[ふたり]と四人[よにん]と七人[しちにん]",
        "四月[しがつ]と九月[くがつ]",
        "2錠[にじょう]と六畳[ろくじょう]と一瓶[ひとびん]と2駅[ふたえき]",
        "3階建[さんがいだ]てと八脚[はっきゃく]と1社[いっしゃ]と3食[さんしょく]",
        "38度[さんじゅうはちど]5分[ごぶ]、5分[ごふん]",
        "8歳[はっさい]と20歳[はたち]",
        "一[ひと]つと三[みっ]つ目[め]",
        "3[さん]か月[げつ]と三ヶ月[さんかげつ]",
        "10[じゅっ]ページ",
        "3時半[さんじはん]、二年間[にねんかん]、五本目[ごほんめ]",
        "10分[じゅっぷん]前[まえ]と五時[ごじ]ごろ",
        "1,200円[せんにひゃくえん]と3千円[さんぜんえん]",
        "10:30[じゅうじさんじゅっぷん]に",
        "50%[ごじゅっパーセント]です",
        "2025年[にせんにじゅうごねん]4月[しがつ]1日[ついたち]",
        "一日[いちにち]に二回[にかい]",
        "三日[みっか]と二十日[はつか]と24日[にじゅうよっか]と17日[じゅうしちにち]",
        "何時[なんじ]と何曜日[なんようび]と何百円[なんびゃくえん]",
        "数日[すうじつ]と数人[すうにん]",
        "三分[さんぶん]の一[いち]",
        "もう十分[じゅうぶん]です。十分[じゅっぷん]待[ま]つ。",
        "四国[しこく]と千葉[ちば]と六本木[ろっぽんぎ]と八百屋[やおや]と一緒[いっしょ]",
    ],
)
def test_a_counted_number_is_one_segment_with_its_sound_changes(analyser: Analyser, furigana: str) -> None:
    plain = "".join(part.partition("[")[0] for part in furigana.split("]"))
    assert to_brackets(annotate(analyser, plain).segments) == furigana


def test_bare_digits_have_no_ruby_but_are_read_out(analyser: Analyser) -> None:
    annotation = annotate(analyser, "電話は03-1234-5678です。")
    assert to_brackets(annotation.segments) == "電話[でんわ]は03-1234-5678です。"
    assert annotation.reading == "でんわはぜろさん-いちにさんよん-ごろくななはちです。"


def test_a_counted_number_is_one_word(analyser: Analyser) -> None:
    (number,) = (word for word in annotate(analyser, "本を三冊買う").words if word.pos == "number")
    assert (number.surface, number.reading, number.start, number.length) == ("三冊", "さんさつ", 2, 2)
