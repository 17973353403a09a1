"""The base of the models: their class, the marks on text fields, levels, section names, the brief."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


class Model(BaseModel):
    """Frozen, with lowerCamelCase keys in JSON. Ignores unknown keys."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class ItemKind(enum.StrEnum):
    """The kind of a Japanese string. It decides who annotates the string and whether it needs a translation."""

    TITLE = "title"
    SENTENCE = "sentence"
    TURN = "turn"
    PATTERN = "pattern"
    EXAMPLE = "example"
    QUESTION = "question"
    ANSWER = "answer"
    PROMPT = "prompt"
    MODEL_ANSWER = "model_answer"
    PHRASE = "phrase"
    CHOICE = "choice"
    PAIR = "pair"
    PIECE = "piece"
    NAME = "name"
    WORD = "word"

    @property
    def translated(self) -> bool:
        """Whether a learner needs a translation. Patterns, words and pairs stand next to their meaning."""
        return self in _TRANSLATED

    @property
    def analyser_only(self) -> bool:
        """Whether the item never goes to a model: the analyser reads it, at no cost."""
        return self in _ANALYSER_ONLY


_ANALYSER_ONLY = {ItemKind.CHOICE, ItemKind.PAIR, ItemKind.PIECE, ItemKind.NAME, ItemKind.WORD}
_TRANSLATED = set(ItemKind) - _ANALYSER_ONLY - {ItemKind.PATTERN}


@dataclass(frozen=True)
class Japanese:
    """Marks a field with Japanese that a learner sees. `lesson.items` extracts these fields.

    `sentences` splits running text into its sentences. `may_be_learner_text` is for fields in either language (the
    right side of a pair), which are items only when they hold Japanese.
    """

    kind: ItemKind
    sentences: bool = False
    may_be_learner_text: bool = False


@dataclass(frozen=True)
class LearnerText:
    """Marks a field in the learner's language."""


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# Running text keeps its white space, because its joined sentences must equal it.
Prose = Annotated[str, Field(pattern=r"\S")]
Learner = Annotated[Text, LearnerText()]


class Level(enum.StrEnum):
    A1 = "A1"
    A2 = "A2"
    B1 = "B1"
    B2 = "B2"
    C1 = "C1"
    C2 = "C2"

    @property
    def number(self) -> int:
        """1 (A1) to 6 (C2), the web client's scale."""
        return list(Level).index(self) + 1


class SectionName(enum.StrEnum):
    """The sections in the order in which Stage 1 writes them: the frame, which Stage 2 needs, first; the plan last."""

    FRAME = "frame"
    READING = "reading"
    DIALOGUE = "dialogue"
    GRAMMAR = "grammar"
    CULTURE = "culture"
    PRACTICE = "practice"
    LESSON_PLAN = "lesson_plan"

    @property
    def json_key(self) -> str:
        """The section's key in Stage 1's JSON."""
        return to_camel(self.value)


# Without one of these the run fails (docs/architecture.md, "States and outcomes").
REQUIRED_SECTIONS = (SectionName.FRAME, SectionName.READING, SectionName.DIALOGUE, SectionName.GRAMMAR)
# `sections_enhanced` counts these, 0 to 5.
COUNTED_SECTIONS = (
    SectionName.READING,
    SectionName.DIALOGUE,
    SectionName.GRAMMAR,
    SectionName.CULTURE,
    SectionName.PRACTICE,
)


class Brief(Model):
    """What the lesson teaches: a Can-do from the catalogue or from the caller."""

    can_do_id: str
    topic: str
    level: Level
    learner_language: str
    """BCP-47 tag of every explanation and translation."""
    can_do_text: str
    """The Can-do in the learner's or the catalogue's language; empty when only topic and level are known."""
    can_do_text_ja: str
    activity: str
    """reception, production, interaction, or empty."""
