"""Stage 2: what the enhancer says of every Japanese item."""

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
        """Whether a model is asked: choices, names and single words are the analyser's alone, at no tokens.

        Mode ANALYSER asks for translations only, so not for what needs none.
        """
        return not self.kind.analyser_only and (self.needs_translation or mode is not EnhancementMode.ANALYSER)


class ReadingProvenance(enum.StrEnum):
    """Who stands behind a reading, most trusted first."""

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
    """Kana over `text`; None where nothing is to be written above."""


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
    """An item annotated. Joined segment texts equal `kanji`, which equals the item's text, character for character."""

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
    """What was done to this text and why. Strings, not issues: people read them beside the text, and no code does."""

    @property
    def complete(self) -> bool:
        """Has all it needs: furigana, romaji and, where one is needed, a translation."""
        read = self.reading_provenance is not ReadingProvenance.NONE
        return read and (bool(self.translation) or not self.needs_translation)

    @property
    def provenance(self) -> ReadingProvenance:
        """The reading's provenance or, where a translation is needed, the weaker of the two."""
        if not self.needs_translation:
            return self.reading_provenance
        translation = ReadingProvenance(self.translation_provenance.value)
        order = list(ReadingProvenance)
        return max(self.reading_provenance, translation, key=order.index)


class EnhancedItem(Model):
    text: JapaneseText
    issues: tuple[Issue, ...]
    """What a re-ask must mend; empty when the item stands."""


class EnhancementMode(enum.StrEnum):
    """What the Stage 2 model is asked for."""

    MODEL = "model"
    REVIEW = "review"
    ANALYSER = "analyser"
