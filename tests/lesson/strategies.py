"""Random models, made from their own type hints; the few with rules across fields are made by hand."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

from lesson.hints import bare, fields, is_kind, is_union, without_none
from lesson.models import (
    SECTION_TYPES,
    ChoicePractice,
    FuriganaSegment,
    Gap,
    GappedSentence,
    JapaneseText,
    MatchingPractice,
    Pair,
    PracticeKind,
    Reading,
    SectionName,
)

_ALPHABET = st.characters(blacklist_categories=["Cs", "Cc", "Zs", "Zl", "Zp"])
JAPANESE = st.text(st.sampled_from("今日は食べ物を３個買う。、！ー々カレーAnna「」（）?"), min_size=1, max_size=12)
TEXT = st.one_of(JAPANESE, st.text(_ALPHABET, min_size=1, max_size=8)).filter(lambda text: bool(text.strip()))
STRIPPED = TEXT.map(str.strip)
PROSE = st.lists(st.one_of(JAPANESE, st.sampled_from(["\n", "　", "。", "\n\n"])), min_size=1, max_size=8).map("".join)


def of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type as the models spell it."""
    inner, optional = without_none(hint)
    inner = bare(inner)
    strategy = _of(inner)
    return st.none() | strategy if optional else strategy


def _of(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is tuple:
        return st.lists(of(get_args(hint)[0]), min_size=2, max_size=3).map(tuple)
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if is_union(hint):
        return st.one_of([of(member) for member in get_args(hint)])
    if is_kind(hint, enum.Enum):
        return st.sampled_from(list(hint))
    if is_kind(hint, BaseModel):
        return model(hint)
    return _SCALARS[hint]


_SCALARS: dict[type, st.SearchStrategy[Any]] = {
    str: STRIPPED,
    int: st.integers(0, 600),
    float: st.floats(0, 1e6, allow_nan=False),
    bool: st.booleans(),
}


@cache
def model(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Models of a class."""
    if kind in _BY_HAND:
        return _BY_HAND[kind]()
    return st.fixed_dictionaries({field.name: of(field.hint) for field in fields(kind)}).map(lambda kw: kind(**kw))


def section(name: SectionName) -> st.SearchStrategy[Any]:
    """A section's value."""
    return of(SECTION_TYPES[name])


def _reading() -> st.SearchStrategy[Reading]:
    plain = {field.name: of(field.hint) for field in fields(Reading)}
    readable = PROSE.filter(lambda text: bool(text.strip()))
    return st.fixed_dictionaries(plain | {"text": readable}).map(lambda kw: Reading(**kw))


@st.composite
def _choice(draw: st.DrawFn) -> ChoicePractice:
    choices = draw(st.lists(STRIPPED, min_size=2, max_size=4, unique=True))
    return ChoicePractice(
        kind=draw(st.sampled_from([PracticeKind.CHOICE, PracticeKind.LISTENING])),
        instruction=draw(STRIPPED),
        target_refs=tuple(draw(st.lists(STRIPPED, max_size=2))),
        prompt=draw(STRIPPED),
        choices=tuple(choices),
        answer=draw(st.sampled_from(choices)),
    )


@st.composite
def _gapped(draw: st.DrawFn) -> GappedSentence:
    text = draw(STRIPPED)
    start = draw(st.integers(0, len(text) - 1))
    length = draw(st.integers(1, len(text) - start))
    word = text[start : start + length]
    if word != word.strip():
        start, length, word = 0, len(text), text
    gap = Gap(start=start, length=length, accepted=(word,), choices=())
    return GappedSentence(text=text, gaps=(gap,))


@st.composite
def _matching(draw: st.DrawFn) -> MatchingPractice:
    left = draw(st.lists(STRIPPED, min_size=2, max_size=4, unique=True))
    right = draw(st.lists(STRIPPED, min_size=len(left), max_size=len(left), unique=True))
    return MatchingPractice(
        kind=PracticeKind.MATCHING,
        instruction=draw(STRIPPED),
        target_refs=(),
        pairs=tuple(Pair(left=a, right=b) for a, b in zip(left, right, strict=True)),
    )


@st.composite
def _japanese_text(draw: st.DrawFn) -> JapaneseText:
    values = {field.name: draw(of(field.hint)) for field in fields(JapaneseText)}
    segments = tuple(FuriganaSegment(text=text, ruby=None) for text in draw(st.lists(STRIPPED, min_size=1, max_size=3)))
    return JapaneseText(**values | {"furigana": segments, "kanji": "".join(segment.text for segment in segments)})


_BY_HAND: dict[type[BaseModel], Callable[[], st.SearchStrategy[Any]]] = {
    Reading: _reading,
    ChoicePractice: _choice,
    GappedSentence: _gapped,
    MatchingPractice: _matching,
    JapaneseText: _japanese_text,
    Gap: lambda: _gapped().map(lambda sentence: sentence.gaps[0]),
}
