"""Japanese texts made in a line."""

from __future__ import annotations

from lesson.models import FuriganaSegment, JapaneseText, ReadingProvenance, TranslationProvenance


def japanese(*segments: tuple[str, str | None], item_id: str = "x", translation: str | None = None) -> JapaneseText:
    """A text of these segments, each with its reading."""
    return JapaneseText(
        id=item_id,
        kanji="".join(text for text, _ in segments),
        reading="".join(ruby or text for text, ruby in segments),
        romaji="",
        furigana=tuple(FuriganaSegment(text=text, ruby=ruby) for text, ruby in segments),
        translation=translation,
        needs_translation=True,
        words=(),
        reading_provenance=ReadingProvenance.MODEL,
        translation_provenance=TranslationProvenance.MODEL if translation else TranslationProvenance.NONE,
        reading_model="",
        translation_model="",
        alternatives=(),
        notes=(),
    )
