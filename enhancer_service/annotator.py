"""The interface between the stage and one language's annotator (docs/adr/0008-what-the-stage-2-model-is-asked.md).

A process makes one annotator at start. After that the annotator does no I/O. Its methods are pure and accept any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lesson.models import FuriganaSegment, ReadingProvenance, Word


@dataclass(frozen=True)
class Correction:
    """A reviewing model's reading of one word: the word as the text spells it and its whole reading in kana."""

    word: str
    reading: str


@dataclass(frozen=True)
class ProposedReading:
    """An unchecked reading of one text: the whole text with bracketed furigana, or corrections of single words."""

    furigana: str | None = None
    corrections: tuple[Correction, ...] = ()
    source: ReadingProvenance = ReadingProvenance.MODEL
    """MODEL, or FRAME for a target word. Accepted parts get this provenance."""


@dataclass(frozen=True)
class Annotation:
    """One text with consistent furigana, reading, romaji and words. The joined segments equal the text."""

    segments: tuple[FuriganaSegment, ...]
    reading: str
    romaji: str
    words: tuple[Word, ...]
    provenance: ReadingProvenance = ReadingProvenance.ANALYSER
    """Where the accepted reading came from."""
    alternatives: tuple[str, ...] = ()
    """Other possible readings: the analyser's, where the accepted reading differs."""
    notes: tuple[str, ...] = ()
    """Repairs, refused corrections and overrides, each with its reason."""
    faults: tuple[str, ...] = ()
    """Faults for a re-ask to mend; empty when the reading is good."""


class Annotator(Protocol):
    """Annotates texts of one language."""

    @property
    def language(self) -> str:
        """BCP-47 tag of the annotated language."""

    @property
    def version(self) -> str:
        """One version for dictionary, rules and overrides: equal versions give equal annotations."""

    def annotate(self, text: str, names: Mapping[str, str], proposed: ProposedReading | None = None) -> Annotation:
        """Annotates the text with the best available reading.

        `names` maps a name as written to its kana and is binding. `proposed` is validated before it is used; None means
        that the analyser reads the text alone.
        """

    def bracketed(self, text: str, names: Mapping[str, str]) -> str:
        """The text with the analyser's readings in brackets, 食[た]べ物[もの], for a model to review."""
