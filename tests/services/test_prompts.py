"""What the stages send: the level's row and grammar, a fragment in its tone, and a version that follows every word."""

from __future__ import annotations

import re

import pytest

from content_service import prompts as stage1
from enhancer_service import prompts as stage2
from enhancer_service.japanese.annotate import annotate
from lesson.japanese.grammar import NOT_ALLOWED, not_yet
from lesson.japanese.levels import LEVEL_TABLE
from lesson.models import EnhancementMode, Level, SectionName
from tests.trio import analyser


@pytest.mark.parametrize("level", Level)
def test_the_level_follows_the_static_part_with_its_grammar_and_a_fragment(level: Level) -> None:
    static, _, told = stage1.system_prompt(level, with_shape=False).partition("# The level: ")
    assert static == stage1.system_prompt(Level.A1, with_shape=False).partition("# The level: ")[0]
    row = LEVEL_TABLE[level]
    assert told.startswith(f"{level}\nreading: {row.reading_characters} characters")
    for wanted in (*row.text_types, str(row.turns), f"{row.grammar_points} grammar points", "Grammar: "):
        assert wanted in told
    assert ("Not to be used yet" in told) == (level in NOT_ALLOWED)
    for form in NOT_ALLOWED.get(level, ()):
        assert form.name in told
    assert len(re.findall(r"^\w+: .+$", told[told.index("A fragment") :], re.MULTILINE)) == 3


@pytest.mark.parametrize("level", NOT_ALLOWED)
def test_the_fragment_of_a_level_uses_nothing_that_the_level_does_not(level: Level) -> None:
    told = stage1.system_prompt(level, with_shape=False)
    turns = re.findall(r"^\w+: (.+)$", told[told.index("A fragment") :], re.MULTILINE)
    assert [form for turn in turns for form in not_yet(level, annotate(analyser(), turn).words)] == []


def test_the_versions_name_themselves_and_what_they_send() -> None:
    assert re.fullmatch(r"stage1-\d+\+[0-9a-f]{8}", stage1.prompt_version())
    assert re.fullmatch(r"stage2-\d+\+[0-9a-f]{8}", stage2.prompt_version())


def test_the_shape_is_spelt_out_only_where_a_model_is_not_held_to_a_schema() -> None:
    for section in SectionName:
        assert f'"{section.json_key}": ' in stage1.system_prompt(Level.A1, with_shape=True)
    assert '"frame": ' not in stage1.system_prompt(Level.A1, with_shape=False)
    for mode in EnhancementMode:
        assert '"items": ' in stage2.system_prompt(mode, with_shape=True)
        assert '"items": ' not in stage2.system_prompt(mode, with_shape=False)


def test_schemas_are_built_once() -> None:
    assert stage1.sections_schema((SectionName.FRAME,)) is stage1.sections_schema((SectionName.FRAME,))
    assert stage2.answer_schema(EnhancementMode.REVIEW) is stage2.answer_schema(EnhancementMode.REVIEW)
