"""Other right readings of a number with its counter: the rules give one, learners also hear 七日 as なぬか."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from enhancer_service.japanese import numbers
from enhancer_service.japanese.script import folded
from enhancer_service.japanese.token import Token

_COUNTED = re.compile(rf"第?(?:[何数幾].|{numbers.PATTERN})")
_ARABIC: Final = str.maketrans(numbers.KANJI_DIGITS, "00123456789")
# Surface (its digits as 0 to 9), the part of the rule's reading to replace, and the replacement that is right as well.
_VARIANTS: Final = tuple(
    (re.compile(surface), re.compile(heard), other)
    for surface, heard, other in (
        ("十分", "じゅっぷん$", "じゅうぶん"),
        ("7(?!月|日|時|つ)|7時間", "なな", "しち"),
        ("7(?!月|日|時|つ)|7時間", "しち", "なな"),
        ("7日", "なの", "なぬ"),
        ("9", "きゅう(?=にん|ねん|ばん|ど|$)", "く"),
        ("4", "よん$", "し"),
        ("4円", "よえん", "よんえん"),
        ("4泊", "よんぱく", "よんはく"),
        ("4番", "よんばん", "よばん"),
        ("8(?![百千万億])", "はっ(?=[かきくけこ])", "はち"),
        *(("8(?![百千万億])", f"はっ{p}", f"はち{h}") for p, h in zip("ぱぴぷぽ", "はひふほ", strict=True)),
        ("[68百]キロ|[68百]k", "っき", "くき"),
        ("8キロ|8k", "はちき", "はっき"),
        ("階", "がい", "かい"),
        ("軒", "げん", "けん"),
        ("足", "ぞく", "そく"),
        ("歩", "よんほ", "よんぽ"),
        ("3羽", "さんわ", "さんば"),
        ("6羽", "ろくわ", "ろっぱ"),
        ("8羽", "はちわ", "はっぱ"),
        ("羽", "じゅうわ", "じゅっぱ"),
        ("3(?:晩|皿|切れ|口|袋|束|粒|箱)", "^さん(?=[^ぱ])", "み"),
        ("箱", "さんぱこ", "さんばこ"),
        ("20歳|20才|2十歳|2十才", "はたち", "にじゅっさい"),
        ("1日", "いちにち$", "ついたち"),
        ("20日間|2十日間", "はつか", "にじゅうにち"),
        ("[12]人前", "いちにん", "ひとり"),
        ("[12]人前", "ににん", "ふたり"),
        ("[12]人分", "ひとり", "いちにん"),
        ("[12]人分", "ふたり", "ににん"),
        ("^1月", "いちがつ", "ひとつき"),
        ("^2月", "にがつ", "ふたつき"),
        ("^3月", "さんがつ", "みつき"),
        ("^1時$", "いちじ", "いっとき"),
        ("^1時$", "いちじ", "ひととき"),
        ("^1度$", "いちど", "ひとたび"),
        ("^3度$", "さんど", "みたび"),
        ("0", "ぜろ", "れい"),
        ("0", "れい", "ぜろ"),
        ("何人$", "なんにん|なんじん", "なにじん"),
        ("何人$", "なんにん|なにじん", "なんじん"),
        ("何人$", "なにじん", "なんにん"),
        ("何曜日", "なん", "なに"),
        ("数日間", "すうにち", "すうじつ"),
        ("何分$", "なんぷん", "なにぶん"),
        ("", "じゅっ", "じっ"),
    )
)


def is_counted(token: Token) -> bool:
    """Whether the token is a number that the rules read."""
    return token.is_number and _COUNTED.match(token.surface) is not None


def number_readings(token: Token) -> Sequence[str]:
    """The rule's hiragana reading of a number and its variants; empty for other words."""
    if not is_counted(token):
        return ()
    surface = unicodedata.normalize("NFKC", token.surface).translate(_ARABIC)
    found = {folded(token.reading): None}
    for written, heard, other in _VARIANTS:
        if written.search(surface):
            found |= dict.fromkeys(heard.sub(other, reading) for reading in tuple(found))
    return tuple(found)
