"""The Stage 1 prompt, from `prompt.toml`: a static system part, the level's part, then one block of data.

Everything that a caller wrote stays inside that block, as JSON marked as data, so it cannot act as an instruction.
"""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from pydantic import TypeAdapter

from lesson.japanese.grammar import NOT_ALLOWED
from lesson.japanese.levels import LEVEL_TABLE, WORD_LEVELS, LevelRow
from lesson.models import SECTION_TYPES, Brief, Content, Issue, Level, SectionName
from servicekit.llm.data_block import data_block
from servicekit.llm.schema import outline, strict_schema

SCHEMA_VERSION = "lesson-1"

_SHAPE = "\n# The shape of the answer (| null may be left out)\n"
_FRAGMENT = "A fragment of another lesson of this level, for its tone alone; use none of its people, words or events:"


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(resources.files("content_service").joinpath("prompt.toml").read_text(encoding="utf-8"))


@cache
def system_prompt(level: Level, with_shape: bool) -> str:
    """Static per level. Spells out the shape only for models that do not take a strict schema."""
    shape = _SHAPE + outline(sections_schema(tuple(SectionName))) + "\n" if with_shape else ""
    return f"{_data()['system'].lstrip()}{shape}\n{_level(level)}"


@cache
def prompt_version() -> str:
    """The version's name and a hash of everything that the prompt can send."""
    sent = "".join(system_prompt(level, with_shape) for level in Level for with_shape in (False, True))
    return f"{_data()['version']}+{hashlib.sha256(sent.encode()).hexdigest()[:8]}"


def _level(level: Level) -> str:
    """The level's row of the table, its allowed and forbidden grammar, and a sample of the tone."""
    row, texts = LEVEL_TABLE[level], _data()["levels"][level.value]
    lines = [f"# The level: {level}", *_row(row), f"Grammar: {texts['grammar']}."]
    if level in WORD_LEVELS:
        hardest = WORD_LEVELS[level].least[-1][0]
        lines.append(f"Words beside the target words: nearly all within JLPT {hardest}; the hardest are target words.")
    if level in NOT_ALLOWED:
        lines.append(f"Not to be used yet, anywhere: {'; '.join(form.name for form in NOT_ALLOWED[level])}.")
    return "\n".join((*lines, _FRAGMENT, texts["fragment"].strip(), ""))


def _row(row: LevelRow) -> list[str]:
    longest = f", each of at most {row.sentence_max}" if row.sentence_max else ""
    mean = f" ({row.sentence_mean} on average)" if row.sentence_mean else ""
    turn = f", each of at most {row.turn_max} characters" if row.turn_max else ""
    return [
        f"reading: {row.reading_characters} characters in {row.reading_sentences} sentences{longest}{mean}.",
        f"textType: {', '.join(row.text_types)}.",
        f"dialogue: {row.turns} turns{turn}.",
        f"{row.target_words} targetWords, {row.grammar_points} grammar points.",
    ]


def user_prompt(
    brief: Brief, wanted: tuple[SectionName, ...], confirmed: Content, reask_reasons: tuple[Issue, ...]
) -> str:
    """The data of this attempt: brief, wanted sections, confirmed sections, reasons for a re-ask."""
    data: dict[str, Any] = {
        "brief": brief.model_dump(mode="json", by_alias=True),
        "sections": [name.json_key for name in wanted],
    }
    if confirmed.written:
        names = {name.value for name in confirmed.written}
        data["confirmed"] = confirmed.model_dump(mode="json", by_alias=True, include=names)
    if reask_reasons:
        data["reask"] = list(map(str, reask_reasons))
    return f"Write the sections named in the data.\n{data_block(data)}"


@cache
def sections_schema(wanted: tuple[SectionName, ...]) -> dict[str, Any]:
    """The strict JSON Schema of an answer with these sections, in this order."""
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for name in wanted:
        schema = TypeAdapter(SECTION_TYPES[name]).json_schema(by_alias=True)
        definitions |= schema.pop("$defs", {})
        properties[name.json_key] = schema
    return strict_schema({"type": "object", "properties": properties, "$defs": definitions})
