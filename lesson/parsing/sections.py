"""Parses the sections of a model's answer: lenient in form, strict in substance.

The parser fills in optional fields as explicitly absent. It accepts other spellings, the earlier system's simpler shape
and slips of form. Each such step leaves a note. A defect that makes a section useless is a fault with its path, for a
re-ask. The parser invents nothing: every derived value comes from the answer or the brief.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from pydantic import ValidationError

from lesson.characters import character_problem
from lesson.items import extract_items
from lesson.models import (
    SECTION_TYPES,
    Brief,
    Character,
    Content,
    Dialogue,
    Frame,
    Issue,
    IssueSeverity,
    Register,
    Role,
    SectionName,
    SectionValue,
    issue_at,
    validate_section,
)
from lesson.parsing.answer_keys import mend_keys
from lesson.parsing.fit import Fit
from lesson.parsing.spellings import SHAPERS

MAX_FAULTS = 5
"""The most faults in one re-ask. More would cost tokens without helping the model."""
MAX_ITEMS = 200
MAX_JAPANESE = 1600
MAX_WRITTEN = 12_000
"""The limits of a section: items, characters of Japanese in them, characters of its whole JSON.

More than twice the longest built-in lesson. They bound the cost of Stage 2, and a lesson with every section at its
limit still fits into a gRPC message (4 MiB)."""


@dataclass
class SectionRead:
    """One parsed section: its value if usable, notes on derived and ignored parts, and faults for a re-ask."""

    name: SectionName
    value: SectionValue | None = None
    notes: list[Issue] = field(default_factory=list)
    faults: list[Issue] = field(default_factory=list)


def read_section(name: SectionName, raw: object, brief: Brief) -> SectionRead:
    """Parses one section's JSON value. Never raises: an unusable section has faults instead of a value."""
    read = SectionRead(name)
    if not raw:
        read.faults.append(issue_at(name.value, "empty", IssueSeverity.FAULT))
        return read
    shaped = SHAPERS[name](raw, brief, read.notes)
    fitted = Fit(read.notes).fit(SECTION_TYPES[name], shaped, name.value)
    read.faults.extend(islice(_bad_characters(fitted, name.value), MAX_FAULTS))
    if read.faults:
        return read
    mend_keys(fitted, name.value, read.notes)
    try:
        value = validate_section(name, fitted)
    except ValidationError as error:
        read.faults.extend(faults_of(name, error))
        return read
    read.faults.extend(_too_long(name, value))
    if not read.faults:
        read.value = value
    return read


def _bad_characters(value: object, path: str) -> Iterator[Issue]:
    """A fault for each text that holds what no text may hold (`lesson.characters`)."""
    if isinstance(value, str):
        if problem := character_problem(value, lines=True):
            yield issue_at(path, f"holds {problem}; write the text anew", IssueSeverity.FAULT)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _bad_characters(part, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _bad_characters(part, f"{path}.{number}")


def _too_long(name: SectionName, value: SectionValue) -> Iterator[Issue]:
    items = extract_items(name, value)
    parts = value if isinstance(value, tuple) else (value,)
    sizes = (
        (len(items), MAX_ITEMS, "Japanese texts"),
        (sum(len(item.text) for item in items), MAX_JAPANESE, "characters of Japanese"),
        (sum(len(part.model_dump_json()) for part in parts), MAX_WRITTEN, "characters"),
    )
    for size, most, what in sizes:
        if size > most:
            yield issue_at(
                name.value, f"{size:,} {what}, at most {most:,} are wanted; write a shorter one", IssueSeverity.FAULT
            )


def faults_of(name: SectionName, error: ValidationError) -> list[Issue]:
    """At most MAX_FAULTS faults for a re-ask. They do not repeat the input."""
    return [
        issue_at(
            ".".join([name.value, *map(str, entry["loc"])]),
            entry["msg"].removeprefix("Value error, "),
            IssueSeverity.FAULT,
        )
        for entry in error.errors(include_url=False, include_input=False)[:MAX_FAULTS]
    ]


def derive_frame(brief: Brief, content: Content, objective: str = "") -> Frame:
    """The frame for an answer without one. Its characters are the speakers; it has no target words."""
    dialogue = content.dialogue
    goal = objective or brief.can_do_text or brief.can_do_text_ja or brief.topic
    return Frame(
        can_do_text=brief.can_do_text or brief.can_do_text_ja or goal,
        scenario=dialogue.setting if dialogue else None,
        characters=_speakers(dialogue) if dialogue else (),
        register_=(dialogue.register_ if dialogue else None) or Register.POLITE,
        target_words=(),
        target_patterns=tuple(point.pattern for point in content.grammar),
        objective=goal,
        key_phrases=(),
    )


def _speakers(dialogue: Dialogue) -> tuple[Character, ...]:
    names = dict.fromkeys(turn.speaker_id for turn in dialogue.turns)
    return tuple(
        Character(id=name, name=name, kana=None, label=None, role=Role.OTHER, relationship=None) for name in names
    )
