"""The words of an item for a learner's list, with English names for their kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from enhancer_service.japanese.token import Token
from lesson.models import Word

_SKIPPED: Final = frozenset({"補助記号", "空白"})
_KINDS: Final = {
    "名詞": "noun",
    "動詞": "verb",
    "形容詞": "adjective",
    "形状詞": "adjective",
    "連体詞": "adjective",
    "副詞": "adverb",
    "助詞": "particle",
    "助動詞": "auxiliary",
    "代名詞": "pronoun",
    "接続詞": "conjunction",
    "感動詞": "interjection",
    "接頭辞": "prefix",
    "接尾辞": "suffix",
    "記号": "symbol",
}
_SUBKINDS: Final = {"数詞": "number", "固有名詞": "name"}


def words(tokens: Sequence[Token]) -> tuple[Word, ...]:
    """One word a token, without punctuation and white space; gloss and level are for a dictionary to fill in."""
    return tuple(_word(token) for token in tokens if token.pos[0] not in _SKIPPED)


def _word(token: Token) -> Word:
    return Word(
        start=token.start,
        length=len(token.surface),
        surface=token.surface,
        reading=token.reading,
        lemma=token.lemma,
        pos=part_of_speech(token),
        gloss=None,
        level=None,
    )


def part_of_speech(token: Token) -> str:
    """noun, verb, adjective, adverb, particle, auxiliary, pronoun, conjunction, interjection, number, counter, prefix,
    suffix, name or symbol; from UniDic's classes."""
    if token.pos[0] == "接尾辞" and token.pos[2] == "助数詞":
        return "counter"
    return _SUBKINDS.get(token.pos[1]) or _KINDS.get(token.pos[0], "symbol")
