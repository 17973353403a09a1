"""A lesson is put together in one place: total over all drafts, and true to what each holds."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.draft import Draft, is_accepted
from gateway.merge import TOO_LATE, assemble, can_succeed
from lesson.items import extract_items
from lesson.models import (
    REQUIRED_SECTIONS,
    EnhancedItem,
    EnhancementMode,
    Lesson,
    Outcome,
    ReadingProvenance,
    SectionName,
    SectionState,
    Versions,
)
from tests.gateway.drafts import BRIEF, EPOCH, annotation, attempt, drafts
from tests.lesson.strategies import section

VERSIONS = Versions(prompt_stage1="1", prompt_stage2="2", lesson_schema="3", annotator="4")
few = settings(max_examples=40, deadline=None)


def lesson_of(draft: Draft) -> Lesson:
    return assemble(draft, (), VERSIONS)


@few
@given(drafts())
def test_any_draft_gives_a_lesson_that_loses_nothing_of_stage_1(draft: Draft) -> None:
    lesson = lesson_of(draft)
    assert [made.name for made in lesson.sections] == list(SectionName)
    for made in lesson.sections:
        written = draft.sections.get(made.name)
        assert lesson.content.section(made.name) == (written.value if written else None)
        items = extract_items(made.name, written.value) if written else ()
        assert made.items == items
        assert [(text.id, text.kanji) for text in made.texts] == [(item.id, item.text) for item in items]
        assert made.revision == (written.revision if written else 0)


@few
@given(drafts())
def test_states_come_from_the_items_and_each_shortfall_has_a_reason(draft: Draft) -> None:
    for made in lesson_of(draft).sections:
        complete = all(text.complete for text in made.texts)
        assert (made.state is SectionState.MISSING) == (made.name not in draft.sections)
        if made.state is not SectionState.MISSING:
            assert (made.state is SectionState.ENHANCED) == complete
            assert bool(made.reason) != complete
        if made.state is SectionState.PLAIN:
            assert not any(text.translation for text in made.texts)
        for text in made.texts:
            given_text = draft.sections[made.name].best.get(text.id)
            used = given_text is not None and given_text.text.kanji == text.kanji
            assert text == given_text.text if used and given_text else text.reading_provenance is ReadingProvenance.NONE


@few
@given(drafts())
def test_the_outcome_follows_from_the_states(draft: Draft) -> None:
    lesson = lesson_of(draft)
    states = {made.name: made.state for made in lesson.sections}
    assert can_succeed(draft) == (lesson.outcome is not Outcome.FAILED)
    assert can_succeed(draft) == all(states[name] is not SectionState.MISSING for name in REQUIRED_SECTIONS)
    assert (lesson.outcome is Outcome.COMPLETE) == (set(states.values()) == {SectionState.ENHANCED})


@few
@given(drafts())
def test_assembling_is_pure(draft: Draft) -> None:
    before = deepcopy(draft)
    assert lesson_of(draft) == lesson_of(draft)
    assert draft == before


@pytest.mark.parametrize(("provider", "sample"), [("openai", False), ("offline", True)])
def test_a_lesson_of_the_offline_model_is_a_sample(provider: str, sample: bool) -> None:
    lesson = assemble(Draft("1", BRIEF, None, EPOCH), [attempt(provider)], VERSIONS)
    assert (lesson.sample, lesson.cost_usd, lesson.versions) == (sample, 0.1, VERSIONS)


def test_an_empty_draft_is_a_failed_lesson_that_says_why() -> None:
    draft = Draft("1", BRIEF, None, EPOCH)
    draft.missing_reasons[SectionName.CULTURE] = "the model refused"
    lesson = lesson_of(draft)
    assert lesson.outcome is Outcome.FAILED
    reasons = {made.name: made.reason for made in lesson.sections}
    assert reasons.pop(SectionName.CULTURE) == "the model refused"
    assert set(reasons.values()) == {TOO_LATE}


@few
@given(section(SectionName.DIALOGUE), st.lists(st.sampled_from(["whole", "untranslated", "unread"]), max_size=4))
def test_an_annotation_is_only_ever_replaced_by_a_better_one(value: object, kinds: list[str]) -> None:
    draft = Draft("1", BRIEF, None, EPOCH)
    written = draft.put(SectionName.DIALOGUE, value, 0.0)  # type: ignore[arg-type] # of the strategy
    item = written.items[0]
    for kind in kinds:
        written.keep_better([EnhancedItem(text=annotation(item, kind), issues=())])
    kept = written.best.get(item.id)
    assert is_accepted(kept) == any(annotation(item, kind).complete for kind in kinds)
    assert (item.id in written.ids_needing_model(EnhancementMode.MODEL)) == (
        not is_accepted(kept) and (item.needs_model(EnhancementMode.MODEL) or not kinds)
    )


@few
@given(section(SectionName.CULTURE), section(SectionName.CULTURE))
def test_every_release_of_a_section_is_a_new_revision(first: object, second: object) -> None:
    draft = Draft("1", BRIEF, None, EPOCH)
    for number, value in enumerate((first, second), 1):
        written = draft.put(SectionName.CULTURE, value, 0.0)  # type: ignore[arg-type] # of the strategy
        assert (written.revision, draft.holds(SectionName.CULTURE, value)) == (number, True)  # type: ignore[arg-type]
    assert draft.content(without=[SectionName.CULTURE]).written == ()
    assert draft.frame is None
