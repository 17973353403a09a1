"""What the stage needs of a language: one small interface, whatever stands behind it (docs/adr/0008).

An annotator is made once a process and does no I/O afterwards; its methods are pure, and raise for no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from lesson.models import FuriganaSegment, ReadingProvenance, Word


@dataclass(frozen=True)
class Correction:
    """A word of the text, as written, and its whole reading in kana: what a reviewing model says of one word."""

    word: str
    reading: str


@dataclass(frozen=True)
class Said:
    """What somebody said of one text's reading: the whole text in brackets (`furigana`), or single words."""

    furigana: str | None = None
    corrections: tuple[Correction, ...] = ()
    source: ReadingProvenance = ReadingProvenance.MODEL
    """Who said it: MODEL, or FRAME for a target word. What stands of it is theirs."""


@dataclass(frozen=True)
class Annotation:
    """A text annotated whole: furigana, reading, romaji and words all say the same. Joined segments equal the text."""

    segments: tuple[FuriganaSegment, ...]
    reading: str
    romaji: str
    words: tuple[Word, ...]
    provenance: ReadingProvenance = ReadingProvenance.ANALYSER
    """Who stands behind the reading as it is."""
    alternatives: tuple[str, ...] = ()
    """Readings that are possible, too, and were not taken."""
    notes: tuple[str, ...] = ()
    """What was repaired or refused, and why."""
    faults: tuple[str, ...] = ()
    """What a re-ask should mend; empty when the reading stands."""


class Annotator(Protocol):
    """Annotates texts of one language."""

    @property
    def language(self) -> str:
        """BCP-47 tag of the language that is annotated."""

    @property
    def version(self) -> str:
        """Of dictionary, rules and overrides together: equal versions annotate alike."""

    def annotate(self, text: str, names: Mapping[str, str], said: Said | None = None) -> Annotation:
        """The best reading there is. `names` maps a name as written to its kana, and binds.

        What was `said` is checked before it is believed; None: nobody was asked, or said nothing.
        """

    def bracketed(self, text: str, names: Mapping[str, str]) -> str:
        """The text with its own readings in brackets, 食[た]べ物[もの], for a model to review."""
