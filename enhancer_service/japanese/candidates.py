"""Which readings a word can have where it stands, by dictionary, by rule and kanji by kanji."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from enhancer_service.japanese.align import align, spoken
from enhancer_service.japanese.lexicon import Lexicon
from enhancer_service.japanese.number_variants import is_counted, number_readings
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.script import folded, has_kanji, is_kana, is_ruby, takes_ruby
from enhancer_service.japanese.token import Token

_LONGEST_WORD: Final = 40
_LEARNED_WHOLE: Final = frozenset(
    {"今年", "今朝", "果物", "田舎", "土産", "風邪", "七夕", "浴衣", "景色", "眼鏡", "真面目"}
)
"""Words learned whole: a learner takes other dictionary readings (こんねん, がんきょう) for the kanji one by one."""
_EXTRA: Final = {
    "十分": frozenset({"じゅっぷん", "じっぷん"}),
    "一行": frozenset({"いちぎょう", "いっこう"}),
    "その後": frozenset({"そのご"}),
    "この後": frozenset({"このご"}),
}
"""Right readings that no dictionary here has."""


class Readings:
    """Readings of words and kanji: the analyser's dictionary has every form, the lexicon has common words."""

    def __init__(self, analyser: Analyser, lexicon: Lexicon) -> None:
        self._analyser = analyser
        self._lexicon = lexicon

    def of(self, surface: str, form: str = "") -> frozenset[str]:
        """Readings of one word with this surface, in hiragana; with `form` only those in that conjugation form."""
        if len(surface) > _LONGEST_WORD:
            return frozenset()
        return self._analyser.readings(surface, form) | self._lexicon.readings(surface)

    def are_listed(self, name: Token) -> bool:
        """Whether an ordinary dictionary lists the name with its readings: a country or a city, not a person."""
        return "人名" not in name.pos and bool(self._lexicon.readings(name.surface))

    def of_kanji(self, kanji: str) -> frozenset[str]:
        """Readings of one character, whole and without its okurigana."""
        return self._lexicon.kanji_readings(kanji) | self._analyser.readings(kanji)


_JOINING: Final = frozenset({"名詞", "代名詞", "形状詞", "接頭辞", "接尾辞"})
_POLITE: Final = frozenset({"お", "ご", "御"})


class Candidates:
    """The possible readings of one text's words in their context."""

    def __init__(self, tokens: Sequence[Token], readings: Readings) -> None:
        self._tokens = tokens
        self._readings = readings
        self._known: dict[int, frozenset[str]] = {}

    def share(self, first: int, last: int, reading: str) -> bool:
        """Whether the words [first, last) together can have this share of a longer reading.

        A surname and a given name have no shares of their own unless a dictionary gives them.
        """
        run = self._tokens[first:last]
        if any(token.binding or is_counted(token) for token in run):
            return len(run) == 1 and self.word(first, reading)
        if len(run) == 1 and not (_is_name(run[0]) and any(map(_is_name, self._around(first)))):
            return self.word(first, reading)
        known = self._readings.of("".join(token.surface for token in run))
        return reading in {*known, folded("".join(token.reading for token in run))} or (
            len(run) > 1 and all(map(_is_name, run))
        )

    def word(self, index: int, reading: str) -> bool:
        """Whether one word can have this reading: from a dictionary, else kanji by kanji if none has the word."""
        token = self._tokens[index]
        if reading == folded(token.reading):
            return True
        if token.binding or not is_ruby(reading) or token.surface in _LEARNED_WHOLE:
            return False
        if is_counted(token):
            return reading in number_readings(token)
        if _is_name(token) and not self._readings.are_listed(token):
            return _leaves_kana(token.surface, reading)
        return has_kanji(token.reading) or self._spoken(index, reading)  # the analyser has no reading to set against it

    def _spoken(self, index: int, reading: str) -> bool:
        token = self._tokens[index]
        if index not in self._known:
            self._known[index] = self._listed(index)
        known = self._known[index]
        if not known:
            return composed(token.surface, reading, self._readings)
        return reading in known or _as_nihon(reading) in {_as_nihon(other) for other in known}

    def _listed(self, index: int) -> frozenset[str]:
        """The dictionaries' readings; a voiced one (ばこ of 箱) only behind a word that it can join."""
        token = self._tokens[index]
        form = "" if token.pos[5] == "*" else token.pos[5]
        found = self._readings.of(token.surface, form) | _EXTRA.get(token.surface, frozenset())
        if not (index and _joins(self._tokens[index - 1])):
            found = frozenset(way for way in found if not _unvoiced(way) & found)
        if len(token.surface) == 1 and not form and self._in_compound(index):
            found = found | self._readings.of_kanji(token.surface)
        return frozenset(folded(spoken(token.surface, reading)) for reading in found)

    def _in_compound(self, index: int) -> bool:
        token = self._tokens[index]
        return any(has_kanji(other.surface[-1 if other.start < token.start else 0]) for other in self._around(index))

    def _around(self, index: int) -> Sequence[Token]:
        return [*self._tokens[max(0, index - 1) : index], *self._tokens[index + 1 : index + 2]]


def _is_name(token: Token) -> bool:
    return token.pos[1] == "固有名詞"


def _joins(before: Token) -> bool:
    """Whether a word can form a compound with the next: nouns and stems can, polite お cannot."""
    stem = before.pos[5].startswith(("連用形", "語幹")) and before.pos[0] in {"動詞", "形容詞"}
    return stem or (before.pos[0] in _JOINING and before.surface not in _POLITE)


def _as_nihon(reading: str) -> str:
    """Folds にっぽん to にほん: 日本 has both, and a dictionary lists a longer word with only one of them."""
    return reading.replace("にっぽん", "にほん")


def _leaves_kana(surface: str, reading: str) -> bool:
    """Whether the reading contains the surface's own kana."""
    return len(align(surface, reading)) > 1 or not any(map(is_kana, surface))


# --- Kanji by kanji ---------------------------------------------------------------------------------------------------

_GEMINATED: Final = tuple("くちつきう")
_DAKUTEN, _HANDAKUTEN = "\u3099", "\u309a"


def composed(surface: str, reading: str, readings: Readings, *, inside: bool = False) -> bool:
    """Whether the kanji's readings, with the sound changes inside a word, join to this reading.

    With `inside` the surface is part of a longer word. A kanji without a known reading matches any kana.
    """
    if len(surface) > _LONGEST_WORD:
        return False
    ends = {0}
    for place, character in enumerate(surface):
        ways = _ways(surface, place, readings)
        if ways and (place or inside):
            ways = ways | {voiced for way in ways for voiced in _voiced(way)}
        if ways and (place < len(surface) - 1 or inside) and has_kanji(character):
            ways = ways | {f"{way[:-1]}っ" for way in ways if way.endswith(_GEMINATED)}
        if ways:
            ends = {end + len(way) for end in ends for way in ways if reading.startswith(way, end)}
        else:
            ends = set(range(min(ends, default=len(reading)) + 1, len(reading) + 1))
    return len(reading) in ends


def _ways(surface: str, place: int, readings: Readings) -> frozenset[str]:
    character = surface[: place + 1].rstrip("々")[-1:] or "々"
    if character in "ヶヵ":
        return frozenset("かがこけ")
    if has_kanji(character):
        return readings.of_kanji(character)
    if takes_ruby(character):
        return frozenset()
    return frozenset({folded(character) if is_kana(character) else ""})


def _voiced(reading: str) -> Iterator[str]:
    """The voiced and plosive forms of a reading after another word: はこ -> ばこ, ぱこ."""
    for mark in (_DAKUTEN, _HANDAKUTEN):
        first = unicodedata.normalize("NFC", reading[:1] + mark)
        if len(first) == 1:
            yield first + reading[1:]


def _unvoiced(reading: str) -> set[str]:
    """The unvoiced form of a voiced reading: ばこ -> はこ."""
    letters = unicodedata.normalize("NFD", reading[:1])
    return {letters[0] + reading[1:]} if len(letters) > 1 else set()
