"""Random models, made from their own type hints; the few with rules across fields are made by hand."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel

from lesson.answers import choice_form
from lesson.characters import character_problem
from lesson.fields import bare, fields, is_kind, is_union, without_none
from lesson.models import (
    SECTION_TYPES,
    ChoicePractice,
    Comprehension,
    ComprehensionMode,
    FuriganaSegment,
    Gap,
    GappedSentence,
    JapaneseText,
    MatchingPractice,
    OrderingPractice,
    Pair,
    PracticeKind,
    Reading,
    SectionName,
)

_ALPHABET = st.characters(exclude_categories=["C", "Z", "Mn"])
JAPANESE = st.text(st.sampled_from("今日は食べ物を３個買う。、！ー々カレーAnna「」（）?"), min_size=1, max_size=12)
TEXT = st.one_of(JAPANESE, st.text(_ALPHABET, min_size=1, max_size=8)).filter(
    lambda text: bool(text.strip()) and not character_problem(text)
)
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
    datetime: st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds have no zone
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
    readable = PROSE.filter(lambda text: bool(text.strip()) and not character_problem(text))
    return st.fixed_dictionaries(plain | {"text": readable}).map(lambda kw: Reading(**kw))


def distinct(low: int, high: int) -> st.SearchStrategy[list[str]]:
    """Texts that a learner can tell apart."""
    return st.lists(STRIPPED, min_size=low, max_size=high, unique_by=choice_form)


@st.composite
def _comprehension(draw: st.DrawFn) -> Comprehension:
    choices = draw(distinct(0, 4))
    forms = {choice_form(choice) for choice in choices}
    other = st.none() | STRIPPED.filter(lambda text: choice_form(text) not in forms)
    return Comprehension(
        question=draw(STRIPPED),
        choices=tuple(choices),
        answer=draw(st.one_of(other, st.sampled_from(choices)) if choices else other),
        evidence=draw(st.none() | STRIPPED),
        mode=draw(st.sampled_from(ComprehensionMode)),
    )


@st.composite
def _choice(draw: st.DrawFn) -> ChoicePractice:
    choices = draw(distinct(2, 4))
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
    choices = draw(distinct(0, 3))
    wrong = [choice for choice in choices if choice_form(choice) != choice_form(word)]
    gap = Gap(start=start, length=length, accepted=(word,), choices=(*wrong, word) if wrong else ())
    return GappedSentence(text=text, gaps=(gap,))


@st.composite
def _matching(draw: st.DrawFn) -> MatchingPractice:
    left = draw(distinct(2, 4))
    right = draw(distinct(len(left), len(left)))
    return MatchingPractice(
        kind=PracticeKind.MATCHING,
        instruction=draw(STRIPPED),
        target_refs=(),
        pairs=tuple(Pair(left=a, right=b) for a, b in zip(left, right, strict=True)),
    )


@st.composite
def _ordering(draw: st.DrawFn) -> OrderingPractice:
    pieces = draw(st.lists(JAPANESE, min_size=2, max_size=4))
    orders = draw(st.lists(st.permutations(pieces), min_size=1, max_size=3))
    return OrderingPractice(
        kind=PracticeKind.ORDERING,
        instruction=draw(STRIPPED),
        target_refs=(),
        pieces=tuple(pieces),
        answers=tuple("".join(order) for order in orders),
    )


@st.composite
def _japanese_text(draw: st.DrawFn) -> JapaneseText:
    values = {field.name: draw(of(field.hint)) for field in fields(JapaneseText)}
    segments = tuple(FuriganaSegment(text=text, ruby=None) for text in draw(st.lists(STRIPPED, min_size=1, max_size=3)))
    return JapaneseText(**values | {"furigana": segments, "kanji": "".join(segment.text for segment in segments)})


_BY_HAND: dict[type[BaseModel], Callable[[], st.SearchStrategy[Any]]] = {
    Reading: _reading,
    Comprehension: _comprehension,
    ChoicePractice: _choice,
    GappedSentence: _gapped,
    MatchingPractice: _matching,
    OrderingPractice: _ordering,
    JapaneseText: _japanese_text,
    Gap: lambda: _gapped().map(lambda sentence: sentence.gaps[0]),
}
