"""Drafts of every kind: any sections, annotated well, badly, of another text, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from gateway.draft import Draft
from lesson.models import (
    Attempt,
    AttemptKind,
    AttemptOutcome,
    Brief,
    EnhancedItem,
    FuriganaSegment,
    Item,
    JapaneseText,
    Level,
    ReadingProvenance,
    SectionName,
    Stage,
    TranslationProvenance,
)
from tests.lesson.strategies import section

BRIEF = Brief(
    can_do_id="JF:349", topic="食生活", level=Level.A1, learner_language="en", can_do_text="", can_do_text_ja="",
    activity="",
)  # fmt: skip
EPOCH = datetime.fromtimestamp(0, UTC)
REASONS = st.sampled_from(["", "gpt-5: timeout: too slow"])


def annotation(item: Item, kind: str) -> JapaneseText:
    """An annotation of the item: whole, untranslated, unread, or of another text."""
    text = item.text + "?" if kind == "other text" else item.text
    translated = item.needs_translation and kind != "untranslated"
    return JapaneseText(
        id=item.id, kanji=text, reading="よみ", romaji="yomi", furigana=(FuriganaSegment(text=text, ruby=None),),
        translation="a translation" if translated else None, needs_translation=item.needs_translation, words=(),
        reading_provenance=ReadingProvenance.NONE if kind == "unread" else ReadingProvenance.MODEL,
        translation_provenance=TranslationProvenance.MODEL if translated else TranslationProvenance.NONE,
        reading_model="m", translation_model="m" if translated else "", alternatives=(), notes=(),
    )  # fmt: skip


KINDS = st.sampled_from(["none", "whole", "whole", "untranslated", "unread", "other text"])


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Any draft that a run can have when its time is up."""
    draft = Draft("lesson-1", BRIEF, draw(st.none() | st.integers(1, 6)), EPOCH)
    for name in draw(st.sets(st.sampled_from(SectionName))):
        written = draft.put(name, draw(section(name)), 0.0)
        written.done, written.shortfall = draw(st.booleans()), draw(REASONS)
        kinds = st.just("whole") if draw(st.booleans()) else KINDS
        chosen = [(item, draw(kinds)) for item in written.items]
        written.keep_better(
            EnhancedItem(text=annotation(item, kind), issues=()) for item, kind in chosen if kind != "none"
        )
    draft.missing_reasons = {name: draw(REASONS) for name in draft.missing if draw(st.booleans())}
    return draft


def attempt(provider: str) -> Attempt:
    return Attempt(
        id="1", stage=Stage.STAGE1, section=None, provider=provider, model="m", kind=AttemptKind.FIRST,
        outcome=AttemptOutcome.OK, reason="", retry_after_seconds=None, usage=None, cost_usd=0.1,
        first_token_seconds=None, duration_seconds=1.0,
    )  # fmt: skip
