"""Reads what a language model wrote into the lesson's models, forgiving in form and strict in substance.

What an answer may leave out is filled in as explicitly absent; other spellings, the earlier system's simpler shape and
slips of form are read for what they say. Each such step is a note. What would make a section useless stays a fault,
with its path, for a re-ask. Nothing is invented: a derived value always comes from the answer or the brief.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

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
"""Faults told in one re-ask; more would cost tokens and help nobody."""
MAX_ITEMS = 200
MAX_JAPANESE = 1600
MAX_WRITTEN = 12_000
"""The most that a section may have: items, characters of Japanese in them, characters of its JSON in all.

More than twice the longest of the built-in lessons. Stage 2 is paid for each character, and a lesson with every section
at its limits still fits into a message of gRPC (4 MiB)."""


@dataclass
class SectionRead:
    """One section as read: the value when it is usable, what was derived or ignored, and what a re-ask should mend."""

    name: SectionName
    value: SectionValue | None = None
    notes: list[Issue] = field(default_factory=list)
    faults: list[Issue] = field(default_factory=list)


def read_section(name: SectionName, raw: object, brief: Brief) -> SectionRead:
    """Reads one section's JSON value. Never raises: a section that cannot be used has faults instead of a value."""
    read = SectionRead(name)
    if not raw:
        read.faults.append(issue_at(name.value, "empty", IssueSeverity.FAULT))
        return read
    shaped = SHAPERS[name](raw, brief, read.notes)
    fitted = Fit(read.notes).fit(SECTION_TYPES[name], shaped, name.value)
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
    """At most MAX_FAULTS faults, without the input, as a re-ask tells them."""
    return [
        issue_at(
            ".".join([name.value, *map(str, entry["loc"])]),
            entry["msg"].removeprefix("Value error, "),
            IssueSeverity.FAULT,
        )
        for entry in error.errors(include_url=False, include_input=False)[:MAX_FAULTS]
    ]


def derive_frame(brief: Brief, content: Content, objective: str = "") -> Frame:
    """The frame of an answer that has none: its people are those who speak, its words none."""
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
