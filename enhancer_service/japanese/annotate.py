"""A text annotated whole: furigana, reading, romaji and words that all say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from enhancer_service.japanese import furigana
from enhancer_service.japanese.furigana import Segments
from enhancer_service.japanese.hepburn import Style
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.romaji import romaji
from enhancer_service.japanese.script import has_kanji, is_kana, plain_kana
from enhancer_service.japanese.token import PERSON, Token
from enhancer_service.japanese.words import words
from lesson.models import Word

_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
_BETWEEN_NAMES = re.compile(r"[\s・=＝]+")


@dataclass(frozen=True)
class Annotation:
    """Joined segments equal the text; `reading` is the text in kana, with what cannot be read as it stands."""

    segments: Segments
    reading: str
    romaji: str
    words: tuple[Word, ...]


def annotate(
    analyser: Analyser,
    text: str,
    names: Mapping[str, str] = _NO_NAMES,
    accepted: Segments | None = None,
    style: Style = "macron",
) -> Annotation:
    """Reads a text, whatever is in it. Raises ValueError only if `accepted` does not join to the text.

    `names` maps a name as written to its kana and beats both model and analyser. `accepted` is a model's furigana that
    passed `verify.problems`: reading, romaji and words then follow it, with the analyser's word borders.
    """
    tokens = _named(analyser, text, _readings(names))
    segments = furigana.segments(tokens)
    if accepted is not None:
        tokens, segments = furigana.adopt(tokens, accepted)
    reading = "".join(token.reading for token in tokens)
    return Annotation(segments, reading, romaji(tokens, segments, style), words(tokens))


def _readings(names: Mapping[str, str]) -> dict[str, str]:
    """Names with kanji and their kana: whole and, where both have as many, by parts (山田 花子 / やまだ はなこ)."""
    result: dict[str, str] = {}
    for name, kana in names.items():
        parts, readings = _BETWEEN_NAMES.split(name.strip()), _BETWEEN_NAMES.split(plain_kana(kana).strip())
        pairs = zip(parts, readings, strict=False) if len(parts) == len(readings) else ()
        result |= dict(pairs) | {name: "".join(readings), "".join(parts): "".join(readings)}
    return {name: kana for name, kana in result.items() if has_kanji(name) and is_kana(kana)}


def _named(analyser: Analyser, text: str, names: Mapping[str, str]) -> tuple[Token, ...]:
    """The tokens with each name as one; where a name cuts through a word, the text around the names is read anew."""
    tokens = analyser.tokens(text)
    if not names:
        return tokens
    borders = {0, *(token.end for token in tokens)}
    places = dict(_places(text, names, borders))
    if not all(place in borders for span in places.items() for place in span):
        tokens = tuple(_reread(analyser, text, places))
    return tuple(_bound(text, tokens, places, names))


def _places(text: str, names: Mapping[str, str], borders: set[int]) -> Iterator[tuple[int, int]]:
    """Where names stand, longest first. Inside one longer word there is no name: 花 in 花火, 健太 in 健太郎."""
    for match in re.finditer("|".join(map(re.escape, sorted(names, key=len, reverse=True))), text):
        cut_by_the_tokeniser = not borders.isdisjoint(range(match.start() + 1, match.end()))
        if cut_by_the_tokeniser or borders.issuperset(match.span()):
            yield match.span()


def _reread(analyser: Analyser, text: str, places: Mapping[int, int]) -> Iterator[Token]:
    place = 0
    for start, end in [*places.items(), (len(text), len(text))]:
        for at, piece in ((place, text[place:start]), (start, text[start:end])):
            yield from (replace(token, start=at + token.start) for token in analyser.tokens(piece))
        place = end


def _bound(
    text: str, tokens: tuple[Token, ...], places: Mapping[int, int], names: Mapping[str, str]
) -> Iterator[Token]:
    done = 0
    for token in tokens:
        if token.start < done:
            continue
        done = places.get(token.start, token.end)
        name = text[token.start : done]
        yield Token(name, names[name], name, PERSON, token.start, binding=True) if token.start in places else token
