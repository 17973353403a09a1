"""Makes sections and outcome of what the stages gave. Pure: same input, same lesson.

What wins where:
    text            Stage 1's, always; an annotation that spells another text is not used
    reading, romaji the enhancer's annotation; where there is none, the bare text with provenance `none`
    translation     the enhancer's, or none; never a placeholder
    section state   computed from the items, never claimed
Nothing of Stage 1 is lost, however little Stage 2 gave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lesson.models import (
    REQUIRED_SECTIONS,
    EnhancedSection,
    FuriganaSegment,
    Item,
    JapaneseText,
    Outcome,
    ReadingProvenance,
    SectionName,
    SectionState,
    TranslationProvenance,
)


def enhanced_section(
    name: SectionName, items: Sequence[Item], texts: Iterable[JapaneseText], revision: int = 1, reason: str = ""
) -> EnhancedSection:
    """A written section with one annotation for each item. `reason` is why the enhancer fell short, when it did."""
    by_id = {text.id: text for text in texts}
    kept = tuple(_annotation(item, by_id.get(item.id)) for item in items)
    state = _state(kept)
    told = "" if state is SectionState.ENHANCED else _shortfall(kept, reason)
    return EnhancedSection(name=name, state=state, reason=told, revision=revision, items=tuple(items), texts=kept)


def missing_section(name: SectionName, reason: str) -> EnhancedSection:
    return EnhancedSection(name=name, state=SectionState.MISSING, reason=reason, revision=0, items=(), texts=())


def outcome_of(sections: Iterable[EnhancedSection]) -> Outcome:
    """COMPLETE when all are enhanced; FAILED when one that a lesson needs is missing; else PARTIAL."""
    states = {section.name: section.state for section in sections}
    if any(states.get(name, SectionState.MISSING) is SectionState.MISSING for name in REQUIRED_SECTIONS):
        return Outcome.FAILED
    whole = all(states.get(name) is SectionState.ENHANCED for name in SectionName)
    return Outcome.COMPLETE if whole else Outcome.PARTIAL


def _annotation(item: Item, text: JapaneseText | None) -> JapaneseText:
    """The enhancer's annotation if it is of this very text; else the text alone, saying that it is alone."""
    if text is not None and text.kanji == item.text == "".join(segment.text for segment in text.furigana):
        return text
    return JapaneseText(
        id=item.id,
        kanji=item.text,
        reading="",
        romaji="",
        furigana=(FuriganaSegment(text=item.text, ruby=None),),
        translation=None,
        needs_translation=item.needs_translation,
        words=(),
        reading_provenance=ReadingProvenance.NONE,
        translation_provenance=TranslationProvenance.NONE,
        reading_model="",
        translation_model="",
        alternatives=(),
        notes=(),
    )


def _state(texts: Sequence[JapaneseText]) -> SectionState:
    if all(text.complete for text in texts):
        return SectionState.ENHANCED
    needing = [text for text in texts if text.needs_translation]
    return SectionState.PLAIN if needing and not any(text.translation for text in needing) else SectionState.DEGRADED


def _shortfall(texts: Sequence[JapaneseText], reason: str) -> str:
    unread = sum(text.reading_provenance is ReadingProvenance.NONE for text in texts)
    untranslated = sum(text.needs_translation and not text.translation for text in texts)
    parts = [f"{unread} of {len(texts)} items have no reading"] if unread else []
    parts += [f"{untranslated} of {len(texts)} items lack a translation"] if untranslated else []
    return "; ".join([*parts, reason] if reason else parts)
