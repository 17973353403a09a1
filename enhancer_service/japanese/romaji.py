"""Romaji: Modified Hepburn from the accepted reading, with spaces where a learner's textbook puts them.

Policy: docs/lesson-content.md, "Romaji". は へ を are wa e o only as particles; auxiliaries join, です か ね are
separate; a number and its counter join, 円 is separate; -san takes a hyphen; no macron crosses morphemes or covers a
verb's final う.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from enhancer_service.japanese.align import align
from enhancer_service.japanese.hepburn import Style, letters
from enhancer_service.japanese.script import has_kanji, is_kana, is_ruby, plain_kana
from enhancer_service.japanese.token import Token

# Words that contain a particle, and one that is two words.
_SET_PHRASES: Final = {
    "こんにちは": ["こんにちわ"],
    "こんばんは": ["こんばんわ"],
    "または": ["またわ"],
    "あるいは": ["あるいわ"],
    "もしくは": ["もしくわ"],
    "おはようございます": ["おはよう", " ", "ございます"],
    "主に": ["おも", " ", "に"],
    "生ビール": ["なま", " ", "ビール"],
}
_PARTICLES: Final = {"は": "わ", "へ": "え"}
# Words with vowels on both sides of a morpheme border that the spelling does not show.
_SEAMS: Final = {
    "湖": ["みず", "うみ"], "みずうみ": ["みず", "うみ"], "場合": ["ば", "あい"], "ばあい": ["ば", "あい"],
    "おうち": ["お", "うち"], "井上": ["いの", "うえ"], "松浦": ["まつ", "うら"], "女王": ["じょ", "おう"],
    "小売": ["こ", "うり"], "子牛": ["こ", "うし"], "不運": ["ふ", "うん"], "影絵": ["かげ", "え"],
}  # fmt: skip
_HONORIFICS: Final = frozenset({"さん", "さま", "様", "ちゃん", "くん", "君", "氏", "殿"})
_NOT_NAMES: Final = frozenset(
    {"皆", "みな", "みんな", "ごちそう", "御馳走", "ご馳走", "お疲れ", "疲れ", "苦労", "ご苦労", "お客", "客"}
    | {"おじ", "おば", "叔父", "叔母", "伯父", "伯母", "おじい", "おばあ", "お爺", "お婆", "お祖父", "お祖母"}
    | {"お子", "お孫", "お嬢", "奥", "お巡り", "おまわり"}
)
_APART: Final = frozenset({"助動詞-デス", "助動詞-ダ", "助動詞-ラシイ", "文語助動詞-ベシ", "助動詞-ヤ", "助動詞-ジャ"})
_JOINING: Final = frozenset({"て", "で", "ば", "ちゃ", "じゃ", "つつ", "ながら", "たり", "だり"})
_INFLECTED: Final = frozenset({"動詞", "形容詞", "助動詞", "接尾辞"})
_SOMEBODY: Final = frozenset({"何", "なに", "誰", "だれ", "どこ", "いつ", "どれ", "いくつ", "どなた"})
_POLITE_HELPERS: Final = frozenset({"くださる", "下さる", "いたす", "致す"})
"""Separate words after a stem (お待ち ください, お送り いたします), unlike 始める, which joins it."""
_AFTER_A_NUMBER: Final = frozenset({"後", "前", "薬", "とも", "ずつ"})
_SMALL: Final = tuple("ぁぃぅぇぉゃゅょァィゥェォャュョー")
_MARKS: Final = {
    "。": ".", "、": ",", "．": ".", "，": ",", "…": "...", "‥": "..", "・": " ", "〜": "~", "～": "~", "—": "-",
    "―": "-", "–": "-", "‐": "-", "「": '"', "」": '"', "『": '"', "』": '"', "“": '"', "”": '"', "‘": "'", "’": "'",
    "〈": "<", "〉": ">", "【": "[", "】": "]", "〔": "[", "〕": "]",
}  # fmt: skip
_CLOSING: Final = tuple(".,?!)]>:;…‥。、？！：；）］」』”’")
_OPENING: Final = tuple("([<（［「『“‘【〈〔")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9 !-/:-@\[-`{-~]")


__all__ = ["Style", "romaji"]


def romaji(tokens: Sequence[Token], style: Style = "macron") -> str:
    """Latin letters, spaces and ASCII punctuation for a text's words as read.

    Not empty where there is kana. An unreadable kanji becomes "?"; emoji and other scripts are dropped.
    """
    line = _Line()
    for word in _words(tokens):
        line.add(*_spelled(word, style))
    return line.text()


Word = list[Token]


def _words(tokens: Sequence[Token]) -> list[Word]:
    """Groups tokens into written words."""
    words: list[Word] = []
    for token in tokens:
        if words and (_joins(words[-1][-1], token) or _opens_with_demo(words, token)):
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _opens_with_demo(words: list[Word], token: Token) -> bool:
    """でも at the start of a sentence is one word."""
    heads = len(words) == 1 or words[-2][-1].is_symbol
    return heads and token.surface == "も" and words[-1][0].surface == "で"


def _joins(before: Token, token: Token) -> bool:
    if before.is_symbol or token.is_symbol:
        return False
    kind = token.pos[0]
    if kind == "助動詞":
        return _auxiliary_joins(before, token)
    if kind == "助詞":
        return _particle_joins(before, token) or _continues_the_word(before, token)
    if kind == "接尾辞":
        return not (before.is_number and token.surface in _AFTER_A_NUMBER) and token.reading != "あめ"
    if token.reading == "ぶくろ":  # voiced like any second part of a compound: rejibukuro
        return True
    return before.pos[0] == "接頭辞" or _compounds(before, token) or _continues_the_word(before, token)


def _continues_the_word(before: Token, token: Token) -> bool:
    """Pieces of a word that the dictionary does not have: すごぉい, ざっし."""
    return token.surface.startswith(_SMALL) or (before.surface.endswith("っ") and before.pos[0] != "感動詞")


def _auxiliary_joins(before: Token, token: Token) -> bool:
    if before.pos[1] == "準体助詞":  # ので is one word, のです two
        return before.surface == "の" and token.surface == "で"
    return token.pos[4] not in _APART and before.pos[0] in _INFLECTED


def _particle_joins(before: Token, token: Token) -> bool:
    if before.pos[1] == "準体助詞":  # のに
        return before.surface == "の" and token.surface == "に"
    if before.pos[1] == "副助詞" and before.surface == "か":  # かもしれない
        return token.surface == "も"
    if token.surface == "か" and token.pos[1] == "副助詞" and before.surface in _SOMEBODY:  # nanika, dokoka
        return True
    if token.surface == "で" and before.reading == "なん":  # nande, why; nani de, by what
        return True
    inflection = token.pos[1] == "接続助詞" or token.surface in {"たり", "だり"}
    return inflection and token.surface in _JOINING and before.pos[0] in _INFLECTED


def _compounds(before: Token, token: Token) -> bool:
    """食べ+始める, 高+すぎる, おいし+そう, 高く+ない; not 勉強 する nor 降る そう."""
    kind, form = before.pos[0], before.pos[5]
    if token.lemma == "ない" and token.pos[1] == "非自立可能":
        return kind in {"形容詞", "助動詞"} and form.startswith("連用形-一般")
    stem = form.startswith("語幹") or (kind in {"動詞", "助動詞"} and form.startswith("連用形-一般"))
    if token.pos[0] == "動詞":
        joins = token.pos[1] == "非自立可能" and not token.pos[4].startswith("サ行変格")
        return stem and joins and token.lemma not in _POLITE_HELPERS
    return stem and token.pos[0] == "形状詞" and token.surface == "そう"


# --- One word -----------------------------------------------------------------------------------------------------


def _spelled(word: Word, style: Style) -> tuple[str, str]:
    """The word in Latin letters, and its surface."""
    surface = "".join(token.surface for token in word)
    if word[0].is_symbol:
        return "".join(map(_punctuation, surface)), surface
    parts: list[list[str]] = [[]]
    for index, token in enumerate(word):
        if _hyphened(word, index):
            parts.append([])
        parts[-1] += _morphemes(token)
    return "-".join(filter(None, (_letters(part, style) for part in parts))), surface


def _hyphened(word: Word, index: int) -> bool:
    """Whether a hyphen comes before this token: 田中-san, but not in お母さん and 皆さん."""
    if not index or word[index].pos[0] != "接尾辞" or word[index].surface not in _HONORIFICS:
        return False
    return "".join(token.surface for token in word[:index]) not in _NOT_NAMES


def _letters(morphemes: list[str], style: Style) -> str:
    """Kana runs as Latin letters, other text unchanged; a space separates 円 from its number."""
    result: list[str] = []
    kana: list[str] = []
    for morpheme in [*morphemes, ""]:
        if is_kana(morpheme):
            kana.append(morpheme)
            continue
        result += [letters(kana, style), _foreign(morpheme)]
        kana = []
    return "".join(result)


def _morphemes(token: Token) -> list[str]:
    """The kana of a token's morphemes as pronounced; no long vowel crosses their borders."""
    if token.pos[0] == "助詞" and token.surface in _PARTICLES:
        return [_PARTICLES[token.surface]]
    if token.surface in _SET_PHRASES:
        return _SET_PHRASES[token.surface]
    if token.is_number:
        return _counted(token)
    if "".join(_SEAMS.get(token.surface, ())) == token.reading:
        return _SEAMS[token.surface]
    parts = [ruby if ruby is not None else plain_kana(text) for text, ruby in align(token.surface, token.reading)]
    return _without_final_u(parts) if _ends_in_u(token) else parts


def _counted(token: Token) -> list[str]:
    """Separates 円, and splits ごおく into go and oku, so that it does not become gōku."""
    reading, yen = (token.reading[:-2], [" ", "えん"]) if token.surface.endswith("円") else (token.reading, [])
    return [*re.split("(?=おく)", reading), *yen]


def _ends_in_u(token: Token) -> bool:
    """Whether the token is a verb in う in dictionary form (omou, suu), unlike the volitional ikō."""
    return token.pos[4].startswith("五段-ワア行") and token.pos[5].startswith(("終止形", "連体形"))


def _without_final_u(parts: list[str]) -> list[str]:
    *front, last = parts
    return [*front, last[:-1], "う"] if last.endswith("う") and len(last) > 1 else parts


# --- Everything but words ---------------------------------------------------------------------------------------


def _punctuation(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    return " " if character.isspace() else _foreign(character)


def _foreign(text: str) -> str:
    """Lower-case letters without accents; nothing for other scripts, a question mark for an unreadable kanji."""
    return "".join(map(_character, text))


def _character(character: str) -> str:
    if is_kana(character):
        return letters([character])
    if is_ruby(wide := unicodedata.normalize("NFKC", character)):
        return letters([wide])
    if has_kanji(character):
        return "?"
    return _NOT_ALLOWED.sub("", unicodedata.normalize("NFKD", character.casefold()))


@dataclass(frozen=True, slots=True)
class _Placed:
    text: str
    surface: str


class _Line:
    """Joins words with the spaces of Latin writing."""

    def __init__(self) -> None:
        self._words: list[_Placed] = []

    def add(self, text: str, surface: str) -> None:
        if text:
            self._words.append(_Placed(text, surface))

    def text(self) -> str:
        pieces = [word.text for word in self._words[:1]]
        for before, word in itertools.pairwise(self._words):
            pieces += [" " if _needs_space(before, word) else "", word.text]
        return " ".join("".join(pieces).split())


def _needs_space(before: _Placed, word: _Placed) -> bool:
    if word.surface.startswith(_CLOSING) or before.surface.endswith(_OPENING):
        return False
    signs = not before.text[-1].isalnum() or not word.text[0].isalnum()
    return not (signs and before.surface[-1].isascii() and word.surface[0].isascii())  # ASCII text keeps its spacing
