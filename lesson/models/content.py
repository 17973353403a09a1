"""Stage 1: the content that the model writes, and the rules that it must meet.

The rules here are hard: they refuse only content that would make a lesson useless or wrong. Counts, lengths and levels
only give notes (`lesson.japanese.levels`). Content fields have no defaults, so a misspelt key is an error and never an
empty section. `lesson.parsing` fills in optional fields that an answer leaves out, with a note.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from lesson.answers import choice_form, order_of
from lesson.models.base import ItemKind, Japanese, Learner, Model, Prose, SectionName, Text


class Register(enum.StrEnum):
    POLITE = "POLITE"
    PLAIN = "PLAIN"
    HONORIFIC = "HONORIFIC"
    SERVICE = "SERVICE"


class Role(enum.StrEnum):
    LEARNER = "learner"
    FRIEND = "friend"
    COLLEAGUE = "colleague"
    BOSS = "boss"
    STAFF = "staff"
    CUSTOMER = "customer"
    STRANGER = "stranger"
    FAMILY = "family"
    TEACHER = "teacher"
    OTHER = "other"


class ComprehensionMode(enum.StrEnum):
    READ = "read"
    LISTEN = "listen"


class PracticeKind(enum.StrEnum):
    CHOICE = "choice"
    CLOZE = "cloze"
    MATCHING = "matching"
    ORDERING = "ordering"
    DIALOGUE_GAP = "dialogue_gap"
    LISTENING = "listening"
    ROLE_PLAY = "role_play"
    WRITING = "writing"
    FREE = "free"


class PlanPhase(enum.StrEnum):
    WARM_UP = "WARM_UP"
    INPUT = "INPUT"
    NOTICE = "NOTICE"
    PRACTISE = "PRACTISE"
    PRODUCE = "PRODUCE"
    CHECK = "CHECK"


class Character(Model):
    id: Text
    name: Annotated[Text, Japanese(ItemKind.NAME)]
    kana: Text | None
    """The name's reading, binding for the enhancer."""
    label: Learner | None
    role: Role
    relationship: Learner | None


class TargetWord(Model):
    surface: Annotated[Text, Japanese(ItemKind.WORD)]
    reading: Text | None
    meaning: Learner
    pos: Text | None


class Frame(Model):
    """Who, where and why, and the words, patterns and phrases that the lesson teaches. Later sections build on it."""

    can_do_text: Learner
    scenario: Learner | None
    characters: tuple[Character, ...]
    register_: Annotated[Register, Field(alias="register")]
    target_words: tuple[TargetWord, ...]
    target_patterns: tuple[Annotated[Text, Japanese(ItemKind.PATTERN)], ...]
    objective: Learner
    key_phrases: tuple[Annotated[Text, Japanese(ItemKind.PHRASE)], ...]


class Comprehension(Model):
    question: Annotated[Text, Japanese(ItemKind.QUESTION)]
    choices: tuple[Annotated[Text, Japanese(ItemKind.CHOICE, may_be_learner_text=True)], ...]
    answer: Annotated[Text, Japanese(ItemKind.ANSWER, may_be_learner_text=True)] | None
    """None for an open question, or when the model gave no answer."""
    evidence: Text | None
    """The span of the text that proves the answer."""
    mode: ComprehensionMode


class Reading(Model):
    title: Annotated[Text, Japanese(ItemKind.TITLE)] | None
    text_type: Text | None
    text: Annotated[Prose, Japanese(ItemKind.SENTENCE, sentences=True)]
    comprehension: tuple[Comprehension, ...]


class Turn(Model):
    speaker_id: Text
    text: Annotated[Text, Japanese(ItemKind.TURN)]
    note: Learner | None


class Dialogue(Model):
    title: Annotated[Text, Japanese(ItemKind.TITLE)] | None
    setting: Learner | None
    learner_role: Text | None
    """The id of the learner's character."""
    register_: Annotated[Register | None, Field(alias="register")]
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]
    comprehension: tuple[Comprehension, ...]


class GrammarPoint(Model):
    pattern: Annotated[Text, Japanese(ItemKind.PATTERN)]
    meaning: Learner | None
    formation: tuple[Learner, ...]
    explanation: Learner
    register_: Annotated[Register | None, Field(alias="register")]
    notes: tuple[Learner, ...]
    examples: tuple[Annotated[Text, Japanese(ItemKind.EXAMPLE)], ...]
    anchor: Text | None
    """A sentence of this lesson that contains the pattern."""


class CultureNote(Model):
    title: Annotated[Text, Japanese(ItemKind.TITLE, may_be_learner_text=True)] | None
    body: Learner
    japanese: tuple[Annotated[Text, Japanese(ItemKind.SENTENCE)], ...]
    question: Learner | None


def _require_distinct(rule: str, texts: Iterable[str]) -> None:
    """Raises ValueError with the rule when two texts differ in spelling only, so that a learner could not choose."""
    forms = [choice_form(text) for text in texts]
    if len(set(forms)) < len(forms):
        raise ValueError(rule)


class ChoicePractice(Model):
    """One prompt with one right answer among distinct choices."""

    kind: Literal[PracticeKind.CHOICE, PracticeKind.LISTENING]
    instruction: Learner
    target_refs: tuple[Text, ...]
    prompt: Annotated[Text, Japanese(ItemKind.PROMPT)]
    choices: Annotated[
        tuple[Annotated[Text, Japanese(ItemKind.CHOICE, may_be_learner_text=True)], ...], Field(min_length=2)
    ]
    answer: Text
    """Exactly one of the choices."""

    @model_validator(mode="after")
    def _one_right_choice(self) -> ChoicePractice:
        _require_distinct("choices must be distinct", self.choices)
        if self.answer not in self.choices:
            raise ValueError("answer must be one of the choices")
        return self


class Gap(Model):
    """A span of its sentence. Only the display blanks it, so that readings stay right."""

    start: Annotated[int, Field(ge=0)]
    """Code points from the start of the sentence."""
    length: Annotated[int, Field(ge=1)]
    accepted: Annotated[tuple[Annotated[Text, Japanese(ItemKind.CHOICE)], ...], Field(min_length=1)]
    choices: tuple[Annotated[Text, Japanese(ItemKind.CHOICE)], ...]
    """Empty when the learner types the answer; else exactly one of them is accepted."""

    @model_validator(mode="after")
    def _one_right_choice(self) -> Gap:
        _require_distinct("choices must be distinct", self.choices)
        accepted = {choice_form(text) for text in self.accepted}
        right = [choice for choice in self.choices if choice_form(choice) in accepted]
        if self.choices and (len(right) != 1 or right[0] not in self.accepted):
            raise ValueError("exactly one of the choices must be accepted, letter for letter")
        return self


class GappedSentence(Model):
    text: Annotated[Text, Japanese(ItemKind.SENTENCE)]
    """The whole sentence with its blanks filled."""
    gaps: Annotated[tuple[Gap, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _gaps_are_spans(self) -> GappedSentence:
        end = 0
        for gap in sorted(self.gaps, key=lambda gap: gap.start):
            if gap.start < end or gap.start + gap.length > len(self.text):
                raise ValueError("gaps must lie inside the sentence and not overlap")
            end = gap.start + gap.length
            if self.text[gap.start : end] not in gap.accepted:
                raise ValueError("the words of a gap must be among its accepted answers")
        return self


class GapPractice(Model):
    kind: Literal[PracticeKind.CLOZE, PracticeKind.DIALOGUE_GAP]
    instruction: Learner
    target_refs: tuple[Text, ...]
    sentences: Annotated[tuple[GappedSentence, ...], Field(min_length=1)]


class Pair(Model):
    left: Annotated[Text, Japanese(ItemKind.PAIR)]
    right: Annotated[Text, Japanese(ItemKind.PAIR, may_be_learner_text=True)]


class MatchingPractice(Model):
    kind: Literal[PracticeKind.MATCHING]
    instruction: Learner
    target_refs: tuple[Text, ...]
    pairs: Annotated[tuple[Pair, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _unique_both_sides(self) -> MatchingPractice:
        for side in ([pair.left for pair in self.pairs], [pair.right for pair in self.pairs]):
            _require_distinct("pairs must be unique on both sides", side)
        return self


class OrderingPractice(Model):
    kind: Literal[PracticeKind.ORDERING]
    instruction: Learner
    target_refs: tuple[Text, ...]
    pieces: Annotated[tuple[Annotated[Text, Japanese(ItemKind.PIECE)], ...], Field(min_length=2)]
    answers: Annotated[tuple[Annotated[Text, Japanese(ItemKind.MODEL_ANSWER)], ...], Field(min_length=1)]
    """Every right order, as a whole sentence."""

    @model_validator(mode="after")
    def _made_of_the_pieces(self) -> OrderingPractice:
        for index, answer in enumerate(self.answers):
            if order_of(self.pieces, answer) is None:
                raise ValueError(f"answer {index} is not made of all the pieces, each once")
        return self


class ProductionPractice(Model):
    kind: Literal[PracticeKind.ROLE_PLAY, PracticeKind.WRITING, PracticeKind.FREE]
    instruction: Learner
    target_refs: tuple[Text, ...]
    task: Learner
    model_answer: tuple[Annotated[Text, Japanese(ItemKind.MODEL_ANSWER)], ...]
    checklist: tuple[Learner, ...]
    """The last line is the Can-do."""


Practice = Annotated[
    ChoicePractice | GapPractice | MatchingPractice | OrderingPractice | ProductionPractice,
    Field(discriminator="kind"),
]


class PlanStep(Model):
    phase: PlanPhase | None
    minutes: Annotated[int, Field(ge=0, le=600)] | None
    grouping: Text | None
    section_refs: tuple[Text, ...]
    student_task: Learner
    teacher_notes: Learner | None


SectionValue = (
    Frame
    | Reading
    | Dialogue
    | tuple[GrammarPoint, ...]
    | tuple[CultureNote, ...]
    | tuple[Practice, ...]
    | tuple[PlanStep, ...]
)

SECTION_TYPES: dict[SectionName, Any] = {
    SectionName.FRAME: Frame,
    SectionName.READING: Reading,
    SectionName.DIALOGUE: Dialogue,
    SectionName.GRAMMAR: Annotated[tuple[GrammarPoint, ...], Field(min_length=1)],
    SectionName.CULTURE: Annotated[tuple[CultureNote, ...], Field(min_length=1)],
    SectionName.PRACTICE: Annotated[tuple[Practice, ...], Field(min_length=1)],
    SectionName.LESSON_PLAN: Annotated[tuple[PlanStep, ...], Field(min_length=1)],
}
"""The type of each section's value, as Stage 1 writes it."""

_ADAPTERS: dict[SectionName, TypeAdapter[SectionValue]] = {
    name: TypeAdapter(kind) for name, kind in SECTION_TYPES.items()
}


def validate_section(name: SectionName, value: object) -> SectionValue:
    """The section of that name. Raises `pydantic.ValidationError`, which names the path of every error."""
    return _ADAPTERS[name].validate_python(value)


class Content(Model):
    """What Stage 1 wrote, section by section. None or an empty tuple means that it did not write the section."""

    frame: Frame | None = None
    reading: Reading | None = None
    dialogue: Dialogue | None = None
    grammar: tuple[GrammarPoint, ...] = ()
    culture: tuple[CultureNote, ...] = ()
    practice: tuple[Practice, ...] = ()
    lesson_plan: tuple[PlanStep, ...] = ()

    def section(self, name: SectionName) -> SectionValue | None:
        """The section of that name, or None if Stage 1 did not write it."""
        value: SectionValue | None = getattr(self, name.value)
        return value or None

    def with_section(self, name: SectionName, value: SectionValue) -> Content:
        return self.model_copy(update={name.value: value})

    @property
    def written(self) -> tuple[SectionName, ...]:
        return tuple(name for name in SectionName if self.section(name))
