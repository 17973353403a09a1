"""The words of an item for a learner's word list, with English names for parts of speech."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from enhancer_service.japanese.align import align
from enhancer_service.japanese.script import hiragana
from enhancer_service.japanese.token import Token
from lesson.models import Word

if TYPE_CHECKING:
    from enhancer_service.japanese.lexicon import Lexicon

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


_GRAMMAR: Final = frozenset({"助詞", "助動詞"})


def words(tokens: Sequence[Token], lexicon: Lexicon | None = None) -> tuple[Word, ...]:
    """One word per token, without punctuation and white space; with gloss and level if the lexicon has them.

    Particles, auxiliaries and names have neither: a word list's entry for the same kana is another word.
    """
    return tuple(_word(token, lexicon) for token in tokens if token.pos[0] not in _SKIPPED)


def _word(token: Token, lexicon: Lexicon | None) -> Word:
    known = lexicon if token.pos[0] not in _GRAMMAR and token.pos[1] != "固有名詞" and not token.is_number else None
    reading = _lemma_reading(token)
    return Word(
        start=token.start,
        length=len(token.surface),
        surface=token.surface,
        reading=token.reading,
        lemma=token.lemma,
        pos=part_of_speech(token),
        gloss=known.gloss(token.lemma, reading) if known else None,
        level=known.level(token.lemma, reading) if known else None,
    )


def _lemma_reading(token: Token) -> str:
    """Carries the accepted reading over to the dictionary form: 空いて read すいて gives 空く read すく.

    The stem is the common prefix of surface and lemma; the rest of the lemma is kana.
    """
    surface, lemma, reading = token.surface, token.lemma, hiragana(token.reading)
    if surface == lemma:
        return reading
    pairs = zip(surface, lemma, strict=False)
    stem = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    pieces = align(surface[:stem], reading[: len(reading) - len(surface) + stem]) if stem else ()
    return hiragana("".join(ruby or text for text, ruby in pieces) + lemma[stem:])


def part_of_speech(token: Token) -> str:
    """noun, verb, adjective, adverb, particle, auxiliary, pronoun, conjunction, interjection, number, counter, prefix,
    suffix, name or symbol; from UniDic's classes."""
    if token.pos[0] == "接尾辞" and token.pos[2] == "助数詞":
        return "counter"
    return _SUBKINDS.get(token.pos[1]) or _KINDS.get(token.pos[0], "symbol")
