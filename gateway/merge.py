"""Assembles a lesson from the results of the stages. Pure and total: every draft gives a lesson.

Which source wins:
    text            always Stage 1's; an annotation of another text is ignored
    reading, romaji the enhancer's annotation; without one, the bare text with provenance `none`
    translation     the enhancer's, or none; never a placeholder
    section state   computed from the items, never taken from a stage
The lesson keeps everything from Stage 1, even without Stage 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.draft import Draft
from lesson.models import (
    REQUIRED_SECTIONS,
    Attempt,
    EnhancedSection,
    FuriganaSegment,
    Item,
    JapaneseText,
    Lesson,
    Outcome,
    ReadingProvenance,
    SectionName,
    SectionState,
    TranslationProvenance,
    Versions,
)
from servicekit.llm.capabilities import Provider

TOO_LATE = "the deadline came first"


def assemble(draft: Draft, attempts: Sequence[Attempt], versions: Versions) -> Lesson:
    """The draft as a lesson. Its outcome is FAILED where `can_succeed` is False."""
    sections = tuple(section_of(draft, name) for name in SectionName)
    return Lesson(
        lesson_id=draft.lesson_id,
        brief=draft.brief,
        learner_level=draft.learner_level,
        outcome=outcome_of(sections),
        sample=any(attempt.provider == Provider.OFFLINE.value for attempt in attempts),
        sample_note=draft.origin,
        created_at=draft.created_at,
        content=draft.content(),
        sections=sections,
        attempts=tuple(attempts),
        versions=versions,
        notes=tuple(draft.notes),
        duration_seconds=draft.duration_seconds,
        stage1_seconds=draft.stage1_seconds,
        stage2_seconds=draft.stage2_seconds,
    )


def can_succeed(draft: Draft) -> bool:
    """Whether the draft holds every section that a lesson must have."""
    return all(name in draft.sections for name in REQUIRED_SECTIONS)


def section_of(draft: Draft, name: SectionName) -> EnhancedSection:
    """The current state of one section, which may be missing or unfinished."""
    section = draft.sections.get(name)
    if section is None:
        return missing_section(name, draft.missing_reasons.get(name, TOO_LATE))
    reason = section.shortfall or ("" if section.done else TOO_LATE)
    texts = [item.text for item in section.best.values()]
    return enhanced_section(name, section.items, texts, section.revision, reason)


def enhanced_section(
    name: SectionName, items: Sequence[Item], texts: Iterable[JapaneseText], revision: int = 1, reason: str = ""
) -> EnhancedSection:
    """A written section with one annotation per item. `reason` explains why annotations are incomplete, if they are."""
    by_id = {text.id: text for text in texts}
    kept = tuple(_annotation(item, by_id.get(item.id)) for item in items)
    state = _state(kept)
    shortfall = "" if state is SectionState.ENHANCED else _shortfall(kept, reason)
    return EnhancedSection(name=name, state=state, reason=shortfall, revision=revision, items=tuple(items), texts=kept)


def missing_section(name: SectionName, reason: str) -> EnhancedSection:
    return EnhancedSection(name=name, state=SectionState.MISSING, reason=reason, revision=0, items=(), texts=())


def outcome_of(sections: Iterable[EnhancedSection]) -> Outcome:
    """COMPLETE when all sections are enhanced; FAILED when a required one is missing; else PARTIAL."""
    states = {section.name: section.state for section in sections}
    if any(states.get(name, SectionState.MISSING) is SectionState.MISSING for name in REQUIRED_SECTIONS):
        return Outcome.FAILED
    whole = all(states.get(name) is SectionState.ENHANCED for name in SectionName)
    return Outcome.COMPLETE if whole else Outcome.PARTIAL


def _annotation(item: Item, text: JapaneseText | None) -> JapaneseText:
    """The enhancer's annotation if it is of exactly this text; else the bare text with provenance `none`."""
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
