"""Kana to Modified Hepburn letters, one written word at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from enhancer_service.japanese.script import hiragana, plain_kana, remembered

Style = Literal["macron", "double", "kana"]
"""gakkō, gakkoo or gakkou."""

_ROWS: Final = {
    "": "あいうえお", "k": "かきくけこ", "g": "がぎぐげご", "s": "さ すせそ", "z": "ざ ずぜぞ", "t": "た  てと",
    "d": "だ  でど", "n": "なにぬねの", "h": "はひ へほ", "b": "ばびぶべぼ", "p": "ぱぴぷぺぽ", "m": "まみむめも",
    "y": "や ゆ よ", "r": "らりるれろ", "w": "わ", "v": "  ゔ",
}  # fmt: skip
_ODD: Final = """し shi じ ji ち chi ぢ ji つ tsu づ zu ふ fu を o ゐ i ゑ e ぁ a ぃ i ぅ u ぇ e ぉ o ゃ ya ゅ yu ょ yo
    ゎ wa ゕ ka ゖ ke"""
_FOREIGN: Final = """うぃ wi うぇ we うぉ wo いぇ ye ゔぁ va ゔぃ vi ゔぇ ve ゔぉ vo ゔゅ vyu くぁ kwa くぃ kwi くぇ kwe
    くぉ kwo くゎ kwa ぐぁ gwa ぐゎ gwa しぇ she じぇ je ちぇ che つぁ tsa つぃ tsi つぇ tse つぉ tso てぃ ti でぃ di
    てゅ tyu でゅ dyu とぅ tu どぅ du ふぁ fa ふぃ fi ふぇ fe ふぉ fo ふゅ fyu すぃ si ずぃ zi"""
_GLIDES: Final = {
    "き": "ky", "ぎ": "gy", "に": "ny", "ひ": "hy", "び": "by", "ぴ": "py", "み": "my", "り": "ry",
    "し": "sh", "じ": "j", "ち": "ch", "ぢ": "j",
}  # fmt: skip


def _pairs(table: str) -> dict[str, str]:
    words = table.split()
    return dict(zip(words[::2], words[1::2], strict=True))


_SYLLABLES: Final = (
    {
        kana: onset + vowel
        for onset, row in _ROWS.items()
        for kana, vowel in zip(row, "aiueo", strict=False)
        if kana != " "
    }
    | _pairs(_ODD)
    | _pairs(_FOREIGN)
    | {
        kana + small: onset + vowel
        for kana, onset in _GLIDES.items()
        for small, vowel in zip("ゃゅょ", "auo", strict=True)
    }
)
_LONG: Final = frozenset({("a", "a"), ("u", "u"), ("e", "e"), ("o", "o"), ("o", "u")})
_MACRON: Final = dict(zip("aiueo", "āīūēō", strict=True))
_MARKS: Final = {"っ": "tsu", "ー": "-", "ん": "n"}
# Iteration marks and ligatures, written out.
_WRITTEN_OUT: Final = str.maketrans(
    {"ヷ": "ゔぁ", "ヸ": "ゔぃ", "ヹ": "ゔぇ", "ヺ": "ゔぉ", "ゟ": "より", "ヿ": "こと"}
)
_SMALL_KATAKANA: Final = str.maketrans("ㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿ", "クシストヌハヒフヘホムラリルレロ")
_REPEAT = re.compile(r"(.)[ゝゞ]")


@dataclass(slots=True)
class _Syllable:
    onset: str
    vowel: str
    long: str = ""
    """The kana's own second vowel once this one is long; ー doubles the vowel."""


def letters(morphemes: Iterable[str], style: Style = "macron") -> str:
    """The letters of one written word, given as the kana of its parts; vowels do not grow long across a part's border.

    Never empty for kana; characters that are no kana are left out.
    """
    return _letters_of("/".join(morphemes), style)


@remembered
def _letters_of(morphemes: str, style: Style) -> str:
    """Of parts with a stroke between, which is no kana."""
    spelt = [list(_syllables(kana)) for kana in morphemes.split("/")]
    merged = [syllable for part in spelt for syllable in _lengthened(part)]
    text = "".join(_written(merged, index, style) for index in range(len(merged)))
    return text or "".join(_MARKS.get(syllable.onset, "") for syllable in merged)[:3]


def _syllables(kana: str) -> Iterator[_Syllable]:
    text = hiragana(plain_kana(kana).translate(_WRITTEN_OUT).translate(_SMALL_KATAKANA))
    text = _REPEAT.sub(r"\1\1", text)
    place = 0
    while place < len(text):
        pair = text[place : place + 2]
        unit = pair if pair in _SYLLABLES else text[place]
        place += len(unit)
        if unit in _MARKS:
            yield _Syllable(unit, "")
        elif unit in _SYLLABLES:
            yield _Syllable(_SYLLABLES[unit][:-1], _SYLLABLES[unit][-1])


def _lengthened(part: list[_Syllable]) -> list[_Syllable]:
    result: list[_Syllable] = []
    for syllable in part:
        before = result[-1] if result else None
        if before and _lengthens(before, syllable):
            before.long = syllable.vowel or before.vowel
        else:
            result.append(syllable)
    return result


def _lengthens(before: _Syllable, syllable: _Syllable) -> bool:
    if before.long or not before.vowel:
        return syllable.onset == "ー" and bool(before.long)
    return syllable.onset == "ー" or (not syllable.onset and (before.vowel, syllable.vowel) in _LONG)


def _written(syllables: list[_Syllable], index: int, style: Style) -> str:
    syllable = syllables[index]
    after = syllables[index + 1] if index + 1 < len(syllables) else _Syllable("", "")
    if syllable.onset == "っ":
        return "t" if after.onset == "ch" else after.onset[:1] if after.onset not in _MARKS else ""
    if syllable.onset == "ん":
        return "n'" if after.vowel and after.onset in {"", "y"} else "n"
    return "" if syllable.onset == "ー" else syllable.onset + _vowel(syllable, style)


def _vowel(syllable: _Syllable, style: Style) -> str:
    if not syllable.long:
        return syllable.vowel
    if style == "macron":
        return _MACRON[syllable.vowel]
    return syllable.vowel + (syllable.long if style == "kana" else syllable.vowel)
