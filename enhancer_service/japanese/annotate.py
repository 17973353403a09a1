"""Annotates a whole text: consistent furigana, reading, romaji and words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from enhancer_service.annotator import Annotation
from enhancer_service.japanese import furigana
from enhancer_service.japanese.furigana import Segments
from enhancer_service.japanese.hepburn import Style
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.romaji import romaji
from enhancer_service.japanese.script import has_kanji, is_kana, plain_kana
from enhancer_service.japanese.token import NOUN, PERSON, Token
from enhancer_service.japanese.words import words

if TYPE_CHECKING:
    from enhancer_service.japanese.lexicon import Lexicon

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_BETWEEN_NAMES = re.compile(r"[\s・=＝]+")


def annotate(
    analyser: Analyser,
    text: str,
    names: Mapping[str, str] = _NONE,
    style: Style = "macron",
) -> Annotation:
    """Annotates any text by analyser and rules alone. `names` maps a name as written to its kana."""
    tokens = tokens_of(analyser, text, names)
    return annotation(tokens, furigana.segments(tokens), style)


def tokens_of(
    analyser: Analyser, text: str, names: Mapping[str, str] = _NONE, overrides: Mapping[str, str] = _NONE
) -> tuple[Token, ...]:
    """The text's words with their readings. A name beats an override; both beat rules and analyser."""
    bound = {surface: _Bound(kana, "override") for surface, kana in overrides.items()}
    bound |= {name: _Bound(kana, "frame") for name, kana in _name_readings(names).items()}
    return _bound_tokens(bound, analyser, text)


def annotation(tokens: Sequence[Token], segments: Segments, style: Style, lexicon: Lexicon | None = None) -> Annotation:
    """The annotation of one text's tokens and furigana; `reading` keeps unreadable characters."""
    reading = "".join(token.reading for token in tokens)
    return Annotation(segments, reading, romaji(tokens, style), words(tokens, lexicon))


def _name_readings(names: Mapping[str, str]) -> dict[str, str]:
    """Names with kanji and their kana, whole and, if both have equally many, by parts (山田 花子 / やまだ はなこ)."""
    result: dict[str, str] = {}
    for name, kana in names.items():
        parts, readings = _BETWEEN_NAMES.split(name.strip()), _BETWEEN_NAMES.split(plain_kana(kana).strip())
        pairs = zip(parts, readings, strict=False) if len(parts) == len(readings) else ()
        result |= dict(pairs) | {name: "".join(readings), "".join(parts): "".join(readings)}
    return {name: kana for name, kana in result.items() if has_kanji(name) and is_kana(kana)}


@dataclass(frozen=True)
class _Bound:
    """A binding reading and its source."""

    reading: str
    by: Literal["frame", "override"]


def _bound_tokens(bound: Mapping[str, _Bound], analyser: Analyser, text: str) -> tuple[Token, ...]:
    """The tokens with each bound surface as one token; analyses the text around it again where it cuts a word."""
    tokens = analyser.tokens(text)
    if not bound:
        return tokens
    borders = {0, *(token.end for token in tokens)}
    places = dict(_places(text, bound, borders))
    if not all(place in borders for span in places.items() for place in span):
        tokens = tuple(_reread(analyser, text, places))
    return tuple(_with_bound(text, tokens, places, bound))


def _places(text: str, bound: Mapping[str, _Bound], borders: set[int]) -> Iterator[tuple[int, int]]:
    """Spans of the bound surfaces, longest first. A part of one longer word is no name: 花 in 花火, 健太 in 健太郎."""
    for match in re.finditer("|".join(map(re.escape, sorted(bound, key=len, reverse=True))), text):
        cut_by_the_tokeniser = not borders.isdisjoint(range(match.start() + 1, match.end()))
        if cut_by_the_tokeniser or borders.issuperset(match.span()):
            yield match.span()


def _reread(analyser: Analyser, text: str, places: Mapping[int, int]) -> Iterator[Token]:
    place = 0
    for start, end in [*places.items(), (len(text), len(text))]:
        for at, piece in ((place, text[place:start]), (start, text[start:end])):
            yield from (replace(token, start=at + token.start) for token in analyser.tokens(piece))
        place = end


def _with_bound(
    text: str, tokens: tuple[Token, ...], places: Mapping[int, int], bound: Mapping[str, _Bound]
) -> Iterator[Token]:
    done = 0
    for token in tokens:
        if token.start < done:
            continue
        done = places.get(token.start, token.end)
        yield _token(text[token.start : done], token, bound) if token.start in places else token


def _token(surface: str, first: Token, bound: Mapping[str, _Bound]) -> Token:
    laid = bound[surface]
    if laid.by == "override" and surface == first.surface:
        return replace(first, reading=laid.reading, binding=laid.by)
    kind = PERSON if laid.by == "frame" else NOUN
    return Token(surface, laid.reading, surface, kind, first.start, binding=laid.by)
