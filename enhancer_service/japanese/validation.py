"""Validates a model's furigana: a possible reading stands, any other gives way to the analyser's reading.

Authority, highest first: names of the lesson's frame, overrides, then the rules for numbers and the model for other
words (docs/lesson-content.md, "Readings").
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from enhancer_service.japanese.align import align, spoken
from enhancer_service.japanese.candidates import Candidates, Readings, composed
from enhancer_service.japanese.furigana import Segments, blocks, merge_plain, segments
from enhancer_service.japanese.number_variants import is_counted, number_readings
from enhancer_service.japanese.script import (
    BASE,
    LATIN,
    folded,
    has_kanji,
    hiragana,
    is_ruby,
    katakana,
    plain_kana,
    takes_ruby,
)
from enhancer_service.japanese.token import PERSON, Token, joined
from lesson.models import FuriganaSegment

_MOST_TOKENS, _LONGEST_RUBY = 6, 40
"""Limits for one ruby over several words: nobody writes more, and the search for the words' shares stays short."""
_IN_NAMES: Final = frozenset({"名詞", "接頭辞", "接尾辞"})
_HONORIFICS: Final = frozenset({"さん", "さま", "様", "ちゃん", "くん", "君", "氏"})


@dataclass(frozen=True)
class Verdict:
    """The furigana to show, and the analyser's words with the accepted readings.

    `repairs` are replaced readings: "三本: さんほん -> さんぼん (numbers follow the rules)".
    `differences` are accepted readings that are not the analyser's: "人気: ひとけ (analyser: にんき)". Changes of
    layout alone (ruby over kana, 食べ物[たべもの] in one piece, bare digits) are in neither.
    """

    segments: Segments
    tokens: tuple[Token, ...]
    repairs: tuple[str, ...]
    differences: tuple[str, ...]


def validate(source: str, tokens: Sequence[Token], proposed: Segments, readings: Readings) -> Verdict:
    """Validates a text's proposed furigana word by word against the analyser's words, with names bound, of that text.

    Accepts its own verdict unchanged. Raises ValueError if tokens or furigana do not join to the source.
    """
    if not source == _text(proposed) == "".join(token.surface for token in tokens):
        raise ValueError("tokens and furigana must join to the text")
    validator = ReadingValidator(tokens, readings)
    decisions = tuple(validator.decisions(0, len(tokens), tuple(_tidied(proposed))))
    return Verdict(
        segments=merge_plain(itertools.chain.from_iterable(decision.segments for decision in decisions)),
        tokens=tuple(itertools.chain.from_iterable(decision.tokens for decision in decisions)),
        repairs=tuple(decision.repair for decision in decisions if decision.repair),
        differences=tuple(itertools.chain.from_iterable(decision.differences for decision in decisions)),
    )


def _text(parts: Iterable[FuriganaSegment]) -> str:
    return "".join(part.text for part in parts)


# --- The proposed furigana --------------------------------------------------------------------------------------------

_ONE_RUN = re.compile(BASE)
_SIGNS: Final = "%％‰℃"
_GAP = re.compile(rf"{BASE}|[ヶヵ{_SIGNS}]")
_LATIN_ONLY = re.compile(rf"[{LATIN}]+")
_SIGN = re.compile(rf"[{_SIGNS}]")
_SPELT_IN_KATAKANA = re.compile(rf"[{LATIN}{_SIGNS}]")


def _tidied(proposed: Segments) -> Iterator[FuriganaSegment]:
    """Drops ruby over text that needs none and spells the rest as it is shown."""
    for part in proposed:
        readable = takes_ruby(part.text) or _SIGN.fullmatch(part.text)
        if part.ruby is None or not readable or not (part.ruby or has_kanji(part.text)):
            yield FuriganaSegment(text=part.text, ruby=None)
        else:
            yield FuriganaSegment(text=part.text, ruby=_shown(part.text, plain_kana(part.ruby)))


def _shown(base: str, ruby: str) -> str:
    """Ruby in hiragana; over Latin letters, which Japanese reads as loan words, in katakana."""
    if _LATIN_ONLY.fullmatch(base):
        return katakana(ruby)
    return ruby if _SPELT_IN_KATAKANA.search(base) else hiragana(ruby)


def _fault(parts: Iterable[FuriganaSegment]) -> str:
    """A fault that needs no dictionary; empty where there is none."""
    for part in parts:
        if not part.ruby and has_kanji(part.text):
            return "kanji without a reading"
        if part.ruby and not is_ruby(part.ruby):
            return "the reading is not kana"
    return ""


class _GivenReading:
    """The reading that some furigana gives, with gaps for bare digits, letters and signs."""

    def __init__(self, parts: Iterable[FuriganaSegment]) -> None:
        self._pieces = [""]
        for part in parts:
            first, *more = [part.ruby] if part.ruby else _GAP.split(part.text)
            self._pieces[-1] += folded(first)
            self._pieces += map(folded, more)

    @property
    def whole(self) -> str:
        """The reading, if it has no gap; else empty."""
        return self._pieces[0] if len(self._pieces) == 1 else ""

    def fits(self, reading: str) -> bool:
        """Whether this reading matches, with at least one kana for each gap."""
        first, *more = self._pieces
        if not more or not reading.startswith(first):
            return reading == first
        place = len(first)
        for piece in more[:-1]:
            place = reading.find(piece, place + 1)
            if place < 0:
                return False
            place += len(piece)
        return reading.endswith(more[-1]) and len(reading) - len(more[-1]) > place


# --- The validator ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Decision:
    """The accepted furigana of some words, with a line for each repair and each difference from the analyser."""

    tokens: Sequence[Token]
    segments: Sequence[FuriganaSegment]
    repair: str = ""
    differences: Sequence[str] = ()


class ReadingValidator:
    """Decides on the furigana of one text's words, each in its context."""

    def __init__(self, tokens: Sequence[Token], readings: Readings) -> None:
        self._tokens = tokens
        self._candidates = Candidates(tokens, readings)
        self._readings = readings

    def decisions(self, first: int, last: int, parts: Segments, *, ours: bool = False) -> Iterator[_Decision]:
        """Yields a decision for each shortest run of the words [first, last) that no ruby crosses.

        `ours` says that the cuts in the furigana are not the model's.
        """
        for block, own_parts in blocks(self._tokens[first:last], parts):
            end = first + len(block)
            yield from self._decide(first, end, tuple(own_parts), ours=ours)
            first = end

    def _decide(self, first: int, last: int, parts: Segments, *, ours: bool) -> Iterator[_Decision]:
        block = self._tokens[first:last]
        own, given, fault = segments(block), _GivenReading(parts), _fault(parts)
        if _folds_to(parts, own):
            yield _Decision(block, own)
        elif fault:
            yield _repaired(block, parts, fault)
        elif given.fits(_reading(block)):
            yield _Decision(block, self._layout(block, parts, ours=ours))
        elif not any(part.ruby for part in parts):
            yield _Decision(block, own)
        elif (cut := tuple(_over_kanji(parts))) != parts:
            yield from self.decisions(first, last, cut, ours=True)
        elif read := self._accepted(first, last, given):
            yield _Decision(read, self._layout(read, parts, ours=ours), differences=tuple(_differences(block, read)))
        else:
            yield _repaired(block, parts, _repair_reason(block))

    def _layout(self, block: Sequence[Token], parts: Segments, *, ours: bool) -> Sequence[FuriganaSegment]:
        """The model's furigana where its cuts are allowed or the words have none; else the words' own."""
        own = segments(block)
        unread = any(part.ruby is None and has_kanji(part.text) for part in own)
        return parts if unread or (not ours and all(self._cuts_allowed(block, parts))) else own

    def _cuts_allowed(self, block: Sequence[Token], parts: Segments) -> Iterator[bool]:
        """Whether each ruby is the reading of its own base, whole words or kanji; 今[きょ]日[う] is not."""
        starts, place = {token.start for token in block}, block[0].start
        for part in parts:
            end = place + len(part.text)
            inside = [token for token in block if place <= token.start and token.end <= end]
            if not part.ruby:
                yield _GAP.search(part.text) is None
            elif place in starts and inside and inside[-1].end == end:
                yield _ONE_RUN.fullmatch(part.text) is not None and _reading(inside) == folded(part.ruby)
            else:
                yield composed(part.text, folded(part.ruby), self._readings, inside=True)
            place = end

    def _accepted(self, first: int, last: int, given: _GivenReading) -> Sequence[Token]:
        """The words with the given reading, if they can have it; else an empty list."""
        if last - first == 1:
            token = self._tokens[first]
            ways = [given.whole] if given.whole else [way for way in number_readings(token) if given.fits(way)]
            return [_with_reading(token, way) for way in ways if self._candidates.word(first, way)][:1]
        many = last - first > _MOST_TOKENS or len(given.whole) > _LONGEST_RUBY
        if many or not given.whole:
            return []
        return self._split_over(first, last, given.whole, set()) or self._as_name(first, last, given.whole)

    def _as_name(self, first: int, last: int, given: str) -> list[Token]:
        """A name that the tokeniser cut into several words (心愛さん); like every name it can have any reading."""
        run, after = self._tokens[first:last], self._tokens[last : last + 1]
        if not any(token.surface in _HONORIFICS for token in after):
            return []
        free = all(token.pos[0] in _IN_NAMES and not token.binding and not is_counted(token) for token in run)
        return [joined(run, given, PERSON)] if free and all(has_kanji(token.surface) for token in run) else []

    def _split_over(self, first: int, last: int, given: str, dead: set[tuple[int, int]]) -> list[Token]:
        """Splits the reading over the words, or over runs that a dictionary has as one word; empty if none fits."""
        if (first, len(given)) in dead:
            return []
        for end, length in itertools.product(range(first + 1, last + 1), range(1, len(given) + 1)):
            if (end == last) != (length == len(given)) or not self._candidates.share(first, end, given[:length]):
                continue
            run = self._tokens[first:end]
            token = run[0] if len(run) == 1 else joined(run, "", run[-1].pos)
            rest = self._split_over(end, last, given[length:], dead) if end < last else []
            if rest or end == last:
                return [_with_reading(token, given[:length]), *rest]
        dead.add((first, len(given)))
        return []


def _kana(tokens: Iterable[Token]) -> str:
    return "".join(token.reading for token in tokens)


def _reading(tokens: Iterable[Token]) -> str:
    """The words' reading in hiragana, for comparison."""
    return folded(_kana(tokens))


def _differences(block: Sequence[Token], read: Sequence[Token]) -> Iterator[str]:
    for token in read:
        own = [other for other in block if token.start <= other.start < token.end]
        if _reading([token]) != _reading(own):
            yield f"{token.surface}: {token.reading} (analyser: {_kana(own)})"


def _with_reading(token: Token, reading: str) -> Token:
    return token if _reading([token]) == reading else token.read(spoken(token.surface, reading))


def _over_kanji(parts: Segments) -> Iterator[FuriganaSegment]:
    """Moves ruby over a word with kana to its kanji: 食べ物[たべもの] -> 食[た]べ物[もの]."""
    for part in parts:
        pieces = align(part.text, folded(part.ruby)) if part.ruby else ()
        if len(pieces) < 2:
            yield part
        for text, ruby in pieces if len(pieces) > 1 else ():
            yield FuriganaSegment(text=text, ruby=_shown(text, ruby) if ruby else None)


def _repaired(block: Sequence[Token], parts: Segments, why: str) -> _Decision:
    """The analyser's reading, reported as a repair unless the model gave no reading of a bound name."""
    if all(token.binding for token in block) and not any(part.ruby for part in parts):
        return _Decision(block, segments(block))
    proposed = "".join(part.ruby or part.text for part in parts)
    return _Decision(block, segments(block), repair=f"{_text(parts)}: {proposed} -> {_kana(block)} ({why})")


def _folds_to(parts: Segments, own: Segments) -> bool:
    """Whether both are the same furigana, in hiragana or katakana."""
    return [(part.text, folded(part.ruby or "")) for part in merge_plain(parts)] == [
        (part.text, folded(part.ruby or "")) for part in own
    ]


def _repair_reason(block: Sequence[Token]) -> str:
    bound = {token.binding for token in block}
    if "frame" in bound:
        return "the lesson's own name"
    if "override" in bound:
        return "a teacher's correction"
    return "numbers follow the rules" if any(map(is_counted, block)) else "it has no such reading"
