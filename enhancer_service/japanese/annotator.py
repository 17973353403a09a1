"""The Japanese annotator: analyser, rules, lexicon and overrides, and the validation of proposed readings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enhancer_service.annotator import Annotation, Correction, ProposedReading
from enhancer_service.japanese import furigana
from enhancer_service.japanese.align import align
from enhancer_service.japanese.annotate import annotation, tokens_of
from enhancer_service.japanese.candidates import Readings
from enhancer_service.japanese.furigana import Segments, merge_plain, parse_brackets, to_brackets
from enhancer_service.japanese.hepburn import Style
from enhancer_service.japanese.lexicon import Lexicon
from enhancer_service.japanese.overrides import PACKAGED, Overrides, load_overrides
from enhancer_service.japanese.reading import Analyser
from enhancer_service.japanese.script import BASE, has_kanji, hiragana, is_ruby, plain_kana
from enhancer_service.japanese.token import Token
from enhancer_service.japanese.validation import validate
from lesson.models import FuriganaSegment, ReadingProvenance

_RULES_VERSION = "rules-3"
"""Raise this with every change of rules or validation that can change a reading."""
_REASKED = 2
"""This many impossible readings in one text are a fault to ask about again; fewer are only repaired."""
_LONGEST_RUBY = 20
_BASES = re.compile(BASE)
_RUBY = re.compile(r"[\[［][ぁ-ゖァ-ーー]*[\]］]")


class JapaneseAnnotator:
    """Annotates `ja`. Load it once per process: it maps a large dictionary."""

    language = "ja"

    def __init__(self, analyser: Analyser, lexicon: Lexicon, overrides: Overrides, style: Style) -> None:
        self._analyser = analyser
        self._lexicon = lexicon
        self._readings = Readings(analyser, lexicon)
        self._overrides = overrides
        self._style: Style = style

    @classmethod
    def load(
        cls, style: Style = "macron", overrides: Path | None = None, analyser: Analyser | None = None
    ) -> JapaneseAnnotator:
        """Loads all data files; `overrides` adds to the packaged overrides. Raises OverridesError."""
        mine = load_overrides(overrides).entries if overrides else ()
        entries = (*load_overrides(PACKAGED).entries, *mine)
        return cls(analyser or Analyser.load(), Lexicon.load(), Overrides(entries), style)

    @property
    def version(self) -> str:
        parts = (self._analyser.version, self._lexicon.version, _RULES_VERSION, self._overrides.version)
        return "+".join(parts)

    def bracketed(self, text: str, names: Mapping[str, str]) -> str:
        return to_brackets(furigana.segments(self._tokens(text, names)))

    def annotate(self, text: str, names: Mapping[str, str], proposed: ProposedReading | None = None) -> Annotation:
        tokens = self._tokens(text, names)
        validated = self._validated(text, tokens, proposed or ProposedReading())
        annotated = annotation(validated.tokens, validated.segments, self._style, self._lexicon)
        return replace(
            annotated,
            provenance=_provenance(text, names, validated),
            alternatives=validated.differences,
            notes=(*_override_notes(validated.tokens), *validated.repairs),
            faults=validated.faults,
        )

    def _tokens(self, text: str, names: Mapping[str, str]) -> tuple[Token, ...]:
        return tokens_of(self._analyser, text, names, self._overrides.for_text(text))

    def _validated(self, text: str, tokens: tuple[Token, ...], proposed: ProposedReading) -> _Validated:
        own = furigana.segments(tokens)
        if proposed.furigana is not None:
            brackets = _over_kanji_alone(proposed.furigana)
            given = parse_brackets(brackets, text) or _realigned(brackets, text)
            if given is None:
                return _Validated(tokens, own, faults=("furigana: does not spell the text, character for character",))
            return self._verdict(text, tokens, given, ReadingProvenance.MODEL, ReadingProvenance.REPAIRED)
        if not proposed.corrections:
            return _Validated(tokens, own)
        corrected, refused = _corrected(own, proposed.corrections)
        # An impossible correction leaves the analyser's reading in place, so nothing counts as repaired.
        verdict = self._verdict(text, tokens, corrected, proposed.source, proposed.source)
        if verdict.segments == own:
            verdict = replace(verdict, provenance=ReadingProvenance.ANALYSER)
        return replace(verdict, repairs=(*refused, *verdict.repairs))

    def _verdict(
        self,
        text: str,
        tokens: tuple[Token, ...],
        given: Segments,
        when_right: ReadingProvenance,
        when_repaired: ReadingProvenance,
    ) -> _Validated:
        verdict = validate(text, tokens, given, self._readings)
        return _Validated(
            verdict.tokens,
            verdict.segments,
            when_repaired if verdict.repairs else when_right,
            verdict.repairs,
            verdict.differences,
            tuple(f"furigana: {line}" for line in verdict.repairs) if len(verdict.repairs) >= _REASKED else (),
        )


@dataclass(frozen=True)
class _Validated:
    tokens: tuple[Token, ...]
    segments: Segments
    provenance: ReadingProvenance = ReadingProvenance.ANALYSER
    repairs: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def _provenance(text: str, names: Mapping[str, str], validated: _Validated) -> ReadingProvenance:
    """OVERRIDE only if overrides bind every word that needs a reading; notes name single overridden words."""
    if text in names:
        return ReadingProvenance.FRAME
    bindings = {token.binding for token in validated.tokens if has_kanji(token.surface)}
    return ReadingProvenance.OVERRIDE if bindings == {"override"} else validated.provenance


def _override_notes(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.binding == "override":
            yield f"{token.surface}: {token.reading} (a teacher's correction)"


def _corrected(own: Segments, corrections: Sequence[Correction]) -> tuple[Segments, tuple[str, ...]]:
    """The analyser's furigana with the corrections applied, and a line for each correction that fits nowhere."""
    refused: list[str] = []
    for correction in corrections:
        laid = _with_word(own, correction) if is_ruby(correction.reading) else None
        if laid is None:
            refused.append(f"{correction.word}: {correction.reading} (no word of the text, or no kana)")
        else:
            own = laid
    return own, tuple(refused)


def _with_word(segments: Segments, correction: Correction) -> Segments | None:
    """Applies the correction wherever the whole word occurs; None if it occurs nowhere."""
    text = "".join(segment.text for segment in segments)
    places = [match.start() for match in re.finditer(re.escape(correction.word), text)] if correction.word else []
    place = 0
    inside: set[int] = set()
    for segment in segments:
        end = place + len(segment.text)
        if segment.ruby is not None:
            inside.update(range(place + 1, end))
        place = end
    spans = [(start, start + len(correction.word)) for start in places]
    spans = [span for span in spans if not inside.intersection(span)]
    if not spans:
        return None
    pieces = [FuriganaSegment(text=piece, ruby=ruby) for piece, ruby in align(correction.word, correction.reading)]
    return merge_plain(_replaced(segments, spans, pieces))


def _replaced(
    segments: Segments, spans: Sequence[tuple[int, int]], pieces: Sequence[FuriganaSegment]
) -> Iterator[FuriganaSegment]:
    starts = {start for start, _ in spans}
    covered = {place for span in spans for place in range(*span)}
    place = 0
    for segment in segments:
        if segment.ruby is not None and place not in covered:
            yield segment
            place += len(segment.text)
            continue
        for character in segment.text:
            if place in starts:
                yield from pieces
            if place not in covered:
                yield FuriganaSegment(text=character, ruby=None)
            place += 1


def _over_kanji_alone(brackets: str) -> str:
    """Moves brackets over kana to the kanji: 食べ物[たべもの] becomes 食[た]べ物[もの]."""
    result: list[str] = []
    place = 0
    for group in _RUBY.finditer(brackets):
        stretch, ruby = brackets[place : group.start()], group[0][1:-1]
        place = group.end()
        cut = next(_word_starts(stretch, ruby), None)
        if cut is not None:
            base = "".join(text if kana is None else f"{text}[{kana}]" for text, kana in align(stretch[cut:], ruby))
            result += [stretch[:cut], base]
        elif ruby and hiragana(plain_kana(stretch)).endswith(hiragana(ruby)):
            result.append(stretch)
        else:
            result += [stretch, group[0]]
    return "".join((*result, brackets[place:]))


def _word_starts(stretch: str, ruby: str) -> Iterator[int]:
    """Starts of the words, kana included, that the ruby can read; the longest word first."""
    for run in _BASES.finditer(stretch):
        words = stretch[run.start() :]
        pieces = align(words, ruby)
        if len(words) <= _LONGEST_RUBY and run.end() < len(stretch) and len(pieces) > 1:
            yield run.start()


def _realigned(brackets: str, source: str) -> Segments | None:
    """Transfers a model's brackets to a source that differs only in spaces, widths or punctuation; else None."""
    plain = _RUBY.sub("", brackets)
    parsed = parse_brackets(brackets, plain)
    theirs, ours = _letters(plain), _letters(source)
    if parsed is None or [letter for _, letter in theirs] != [letter for _, letter in ours]:
        return None
    where = {index: ours[number][0] for number, (index, _) in enumerate(theirs)}
    result: list[FuriganaSegment] = []
    place = done = 0
    for segment in parsed:
        end = place + len(segment.text)
        if segment.ruby is not None:
            start, stop = where.get(place), where.get(end - 1)
            if start is None or stop is None or stop - start != len(segment.text) - 1:
                return None
            result.append(FuriganaSegment(text=source[done:start], ruby=None))
            result.append(FuriganaSegment(text=source[start : stop + 1], ruby=segment.ruby))
            done = stop + 1
        place = end
    return merge_plain((*result, FuriganaSegment(text=source[done:], ruby=None)))


def _letters(text: str) -> list[tuple[int, str]]:
    """Position and folded form of every character except white space and punctuation."""
    folded = ((place, unicodedata.normalize("NFKC", character)) for place, character in enumerate(text))
    return [(place, letter) for place, letter in folded if unicodedata.category(letter[0])[0] not in "PZSC"]
