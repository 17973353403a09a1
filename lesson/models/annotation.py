"""Stage 2: the annotations of Japanese items."""

from __future__ import annotations

import enum

from lesson.models.base import ItemKind, Model
from lesson.models.issue import Issue


class Item(Model):
    """A Japanese string that a learner sees. `id` is its path: section, field, index (dialogue.turns.3.text)."""

    id: str
    text: str
    kind: ItemKind
    needs_translation: bool

    def needs_model(self, mode: EnhancementMode) -> bool:
        """Whether the item goes to a model. The analyser alone reads choices, names and single words, at no cost.

        In mode ANALYSER the model only translates, so it gets only items that need a translation.
        """
        return not self.kind.analyser_only and (self.needs_translation or mode is not EnhancementMode.ANALYSER)


class ReadingProvenance(enum.StrEnum):
    """The source of a reading, most trusted first."""

    OVERRIDE = "override"
    FRAME = "frame"
    MODEL = "model"
    REPAIRED = "repaired"
    ANALYSER = "analyser"
    NONE = "none"


class TranslationProvenance(enum.StrEnum):
    MODEL = "model"
    NONE = "none"


class FuriganaSegment(Model):
    text: str
    ruby: str | None
    """Kana to print above `text`; None for none."""


class Word(Model):
    """A word of an item; `start` and `length` count code points of its text."""

    start: int
    length: int
    surface: str
    reading: str
    lemma: str
    pos: str
    gloss: str | None
    level: str | None


class JapaneseText(Model):
    """An annotated item. The joined segment texts equal `kanji`, which equals the item's text exactly."""

    id: str
    kanji: str
    reading: str
    """Kana; katakana kept."""
    romaji: str
    furigana: tuple[FuriganaSegment, ...]
    translation: str | None
    needs_translation: bool
    words: tuple[Word, ...]
    reading_provenance: ReadingProvenance
    translation_provenance: TranslationProvenance
    reading_model: str
    translation_model: str
    alternatives: tuple[str, ...]
    notes: tuple[str, ...]
    """Changes to this text, each with its reason. Strings, not issues, because only people read them."""

    @property
    def complete(self) -> bool:
        """Whether the text has furigana, romaji and, if it needs one, a translation."""
        read = self.reading_provenance is not ReadingProvenance.NONE
        return read and (bool(self.translation) or not self.needs_translation)

    @property
    def provenance(self) -> ReadingProvenance:
        """The reading's provenance or, for a text that needs a translation, the less trusted of the two."""
        if not self.needs_translation:
            return self.reading_provenance
        translation = ReadingProvenance(self.translation_provenance.value)
        order = list(ReadingProvenance)
        return max(self.reading_provenance, translation, key=order.index)


class EnhancedItem(Model):
    text: JapaneseText
    issues: tuple[Issue, ...]
    """Faults that a re-ask must mend; empty when the item is good."""


class EnhancementMode(enum.StrEnum):
    """The task of the Stage 2 model: write all readings, review the analyser's, or only translate."""

    MODEL = "model"
    REVIEW = "review"
    ANALYSER = "analyser"
