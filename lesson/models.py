"""The vocabulary of a lesson: all that the services say to each other, and every rule a model's answer must meet.

Rules here are hard: they refuse only what would make a lesson useless or wrong. Counts, lengths and levels are soft
notes and live in `lesson.levels`. Content fields have no defaults, so a misspelt key is a fault and never an empty
section; what an answer may leave out is filled in explicitly by `lesson.intake`, with a note.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator
from pydantic.alias_generators import to_camel

from lesson.answers import choice_form, order_of


class Model(BaseModel):
    """Frozen, lowerCamelCase in JSON, deaf to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class ItemKind(enum.StrEnum):
    """What a Japanese string is, and so who annotates it and whether it needs a translation."""

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
        """Whether a learner needs a translation; patterns, words and pairs carry their meaning beside them."""
        return self in _TRANSLATED


_ANALYSER_ONLY = {ItemKind.CHOICE, ItemKind.PAIR, ItemKind.PIECE, ItemKind.NAME, ItemKind.WORD}
_TRANSLATED = set(ItemKind) - _ANALYSER_ONLY - {ItemKind.PATTERN}


@dataclass(frozen=True)
class Japanese:
    """Marks a field that holds Japanese a learner sees: `lesson.items` cuts the section at these marks.

    `sentences` splits running text into sentences that partition it. `may_be_learner_text` is for fields that hold
    either language (the right side of a pair): they are items only when they hold Japanese.
    """

    kind: ItemKind
    sentences: bool = False
    may_be_learner_text: bool = False


@dataclass(frozen=True)
class LearnerText:
    """Marks a field written in the learner's language."""


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
# Running text keeps its own white space: sentences partition it, character for character.
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


class SectionName(enum.StrEnum):
    """The sections in the order Stage 1 writes them: what Stage 2 needs comes first, the plan (no items) last."""

    FRAME = "frame"
    READING = "reading"
    DIALOGUE = "dialogue"
    GRAMMAR = "grammar"
    CULTURE = "culture"
    PRACTICE = "practice"
    LESSON_PLAN = "lesson_plan"

    @property
    def json_key(self) -> str:
        """The key under which Stage 1 writes it."""
        return to_camel(self.value)


# A lesson without one of these is no lesson: the run fails (architecture.md, "Outcome").
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
    """What the lesson is to teach: a Can-do resolved in the catalogue, or given by the caller."""

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


# --- Stage 1: what the content model writes ------------------------------------------------------------------


class Character(Model):
    id: Text
    name: Annotated[Text, Japanese(ItemKind.NAME)]
    kana: Text | None
    """Binding for the enhancer: the name is read so."""
    label: Learner | None
    role: Role
    relationship: Learner | None


class TargetWord(Model):
    surface: Annotated[Text, Japanese(ItemKind.WORD)]
    reading: Text | None
    meaning: Learner
    pos: Text | None


class Frame(Model):
    """Who, where, why, and the words, patterns and phrases the lesson is about; every later section is given it."""

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
    """None: the question is open, or came from a model that gave no answers."""
    evidence: Text | None
    """A span of the text that the answer follows from."""
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
    """The id of the character whom the learner plays."""
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


def _tell_apart(rule: str, texts: Iterable[str]) -> None:
    """Raises ValueError with the rule when two of them differ in spelling only: nobody could choose between them."""
    forms = [choice_form(text) for text in texts]
    if len(set(forms)) < len(forms):
        raise ValueError(rule)


class ChoicePractice(Model):
    """One prompt, one right answer among distinct choices."""

    kind: Literal[PracticeKind.CHOICE, PracticeKind.LISTENING]
    instruction: Learner
    target_refs: tuple[Text, ...]
    prompt: Annotated[Text, Japanese(ItemKind.PROMPT)]
    choices: Annotated[
        tuple[Annotated[Text, Japanese(ItemKind.CHOICE, may_be_learner_text=True)], ...], Field(min_length=2)
    ]
    answer: Text
    """One of the choices, letter for letter."""

    @model_validator(mode="after")
    def _one_right_choice(self) -> ChoicePractice:
        _tell_apart("choices must be distinct", self.choices)
        if self.answer not in self.choices:
            raise ValueError("answer must be one of the choices")
        return self


class Gap(Model):
    """A span of its sentence, blanked only at display, so that readings stay right."""

    start: Annotated[int, Field(ge=0)]
    """Code points from the start of the sentence."""
    length: Annotated[int, Field(ge=1)]
    accepted: Annotated[tuple[Annotated[Text, Japanese(ItemKind.CHOICE)], ...], Field(min_length=1)]
    choices: tuple[Annotated[Text, Japanese(ItemKind.CHOICE)], ...]
    """Empty when the learner types; else exactly one of them is accepted."""

    @model_validator(mode="after")
    def _one_right_choice(self) -> Gap:
        _tell_apart("choices must be distinct", self.choices)
        accepted = {choice_form(text) for text in self.accepted}
        right = [choice for choice in self.choices if choice_form(choice) in accepted]
        if self.choices and (len(right) != 1 or right[0] not in self.accepted):
            raise ValueError("exactly one of the choices must be accepted, letter for letter")
        return self


class GappedSentence(Model):
    text: Annotated[Text, Japanese(ItemKind.SENTENCE)]
    """The whole sentence, blanks filled."""
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
            _tell_apart("pairs must be unique on both sides", side)
        return self


class OrderingPractice(Model):
    kind: Literal[PracticeKind.ORDERING]
    instruction: Learner
    target_refs: tuple[Text, ...]
    pieces: Annotated[tuple[Annotated[Text, Japanese(ItemKind.PIECE)], ...], Field(min_length=2)]
    answers: Annotated[tuple[Annotated[Text, Japanese(ItemKind.MODEL_ANSWER)], ...], Field(min_length=1)]
    """Every order that is right, as a whole sentence."""

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
    """The section of that name; raises `pydantic.ValidationError` with the path of everything that is wrong."""
    return _ADAPTERS[name].validate_python(value)


class Content(Model):
    """What Stage 1 wrote, section by section; None or an empty tuple is a section not written."""

    frame: Frame | None = None
    reading: Reading | None = None
    dialogue: Dialogue | None = None
    grammar: tuple[GrammarPoint, ...] = ()
    culture: tuple[CultureNote, ...] = ()
    practice: tuple[Practice, ...] = ()
    lesson_plan: tuple[PlanStep, ...] = ()

    def section(self, name: SectionName) -> SectionValue | None:
        """The section of that name, or None when it was not written."""
        value: SectionValue | None = getattr(self, name.value)
        return value or None

    def with_section(self, name: SectionName, value: SectionValue) -> Content:
        return self.model_copy(update={name.value: value})

    @property
    def written(self) -> tuple[SectionName, ...]:
        return tuple(name for name in SectionName if self.section(name))


# --- Stage 2: what the enhancer says of every item ------------------------------------------------------------


class Item(Model):
    """A Japanese string that a learner sees. `id` is its path: section, field, index (dialogue.turns.3.text)."""

    id: str
    text: str
    kind: ItemKind
    needs_translation: bool

    def needs_model(self, mode: EnhancementMode) -> bool:
        """Whether a model is asked: choices, names and single words are the analyser's alone, at no tokens.

        Mode ANALYSER asks for translations only, so not for what needs none.
        """
        return self.kind not in _ANALYSER_ONLY and (self.needs_translation or mode is not EnhancementMode.ANALYSER)


class ReadingProvenance(enum.StrEnum):
    """Who stands behind a reading, most trusted first."""

    OVERRIDE = "override"
    FRAME = "frame"
    MODEL = "model"
    REPAIRED = "repaired"
    ANALYSER = "analyser"
    NONE = "none"


class TranslationProvenance(enum.StrEnum):
    MODEL = "model"
    NONE = "none"


class FuriganaSegment(Model):
    text: str
    ruby: str | None
    """Kana over `text`; None where nothing is to be written above."""


class Word(Model):
    """A word of an item; `start` and `length` count code points of its text."""

    start: int
    length: int
    surface: str
    reading: str
    lemma: str
    pos: str
    gloss: str | None
    level: str | None


class JapaneseText(Model):
    """An item annotated. Joined segment texts equal `kanji`, which equals the item's text, character for character."""

    id: str
    kanji: str
    reading: str
    """Kana; katakana kept."""
    romaji: str
    furigana: tuple[FuriganaSegment, ...]
    translation: str | None
    needs_translation: bool
    words: tuple[Word, ...]
    reading_provenance: ReadingProvenance
    translation_provenance: TranslationProvenance
    reading_model: str
    translation_model: str
    alternatives: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Has all it needs: furigana, romaji and, where one is needed, a translation."""
        read = self.reading_provenance is not ReadingProvenance.NONE
        return read and (bool(self.translation) or not self.needs_translation)

    @property
    def provenance(self) -> ReadingProvenance:
        """The reading's provenance or, where a translation is needed, the weaker of the two."""
        if not self.needs_translation:
            return self.reading_provenance
        translation = ReadingProvenance(self.translation_provenance.value)
        order = list(ReadingProvenance)
        return max(self.reading_provenance, translation, key=order.index)


class EnhancedItem(Model):
    text: JapaneseText
    faults: tuple[str, ...]
    """What a re-ask should mend; empty when the item stands."""


class EnhancementMode(enum.StrEnum):
    """What the Stage 2 model is asked for."""

    MODEL = "model"
    REVIEW = "review"
    ANALYSER = "analyser"


# --- Attempts, money, outcomes --------------------------------------------------------------------------------


class Stage(enum.StrEnum):
    STAGE1 = "stage1"
    STAGE2 = "stage2"


class AttemptKind(enum.StrEnum):
    FIRST = "first"
    RETRY = "retry"
    REASK = "reask"
    FALLBACK = "fallback"
    PROBE = "probe"


class AttemptOutcome(enum.StrEnum):
    """How one model call ended. Everything but OK may still have cost money and given sections."""

    OK = "ok"
    INVALID_JSON = "invalid_json"
    INVALID_SCHEMA = "invalid_schema"
    EMPTY = "empty"
    LENGTH = "length"
    REASONING_EXHAUSTED = "reasoning_exhausted"
    REFUSED = "refused"
    CONTENT_FILTER = "content_filter"
    TIMEOUT = "timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a token of text, not a secret
    STALLED = "stalled"
    BROKEN_STREAM = "broken_stream"
    CONNECTION = "connection"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    AUTH = "auth"
    UNKNOWN_MODEL = "unknown_model"
    BUDGET_TOO_SMALL = "budget_too_small"
    RETIRED = "retired"
    CANCELLED = "cancelled"
    UPSTREAM = "upstream"
    SHED = "shed"


class Usage(Model):
    """Billable tokens of one call: cached is a part of input, reasoning a part of output."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int


class Attempt(Model):
    """One model call, as the stage that made it reports it."""

    id: str
    stage: Stage
    section: SectionName | None
    """None for Stage 1, which writes them all."""
    provider: str
    model: str
    kind: AttemptKind
    outcome: AttemptOutcome
    reason: str
    """Empty when ok; else one line for people."""
    retry_after_seconds: float | None
    usage: Usage | None
    """None when the provider told none: the money is then unknown, not zero."""
    cost_usd: float | None
    """At list price; None when usage or price is unknown."""
    first_token_seconds: float | None
    duration_seconds: float


class CallReport(Protocol):
    """How a model call ended, as whoever made it tells it; each field as in Attempt."""

    @property
    def usage(self) -> Any: ...
    @property
    def cost_usd(self) -> float | None: ...
    @property
    def retry_after_seconds(self) -> float | None: ...
    @property
    def first_token_seconds(self) -> float | None: ...
    @property
    def duration_seconds(self) -> float: ...


def attempt_reported(
    report: CallReport,
    *,
    attempt_id: str,
    stage: Stage,
    section: SectionName | None,
    provider: str,
    model: str,
    outcome: AttemptOutcome,
    reason: str,
) -> Attempt:
    """The attempt that a call was. Its kind is FIRST: only whoever runs several knows better."""
    return Attempt(
        id=attempt_id,
        stage=stage,
        section=section,
        provider=provider,
        model=model,
        kind=AttemptKind.FIRST,
        outcome=outcome,
        reason="" if outcome is AttemptOutcome.OK else reason,
        retry_after_seconds=report.retry_after_seconds,
        usage=Usage(**vars(report.usage)) if report.usage else None,
        cost_usd=report.cost_usd,
        first_token_seconds=report.first_token_seconds,
        duration_seconds=report.duration_seconds,
    )


def unanswered_attempt(
    *,
    attempt_id: str,
    stage: Stage,
    section: SectionName | None,
    provider: str,
    model: str,
    outcome: AttemptOutcome,
    reason: str,
    retry_after_seconds: float | None = None,
    duration_seconds: float = 0.0,
) -> Attempt:
    """The attempt of a call that no stage reported on: what it used, if anything, nobody told."""
    return Attempt(
        id=attempt_id,
        stage=stage,
        section=section,
        provider=provider,
        model=model,
        kind=AttemptKind.FIRST,
        outcome=outcome,
        reason=reason,
        retry_after_seconds=retry_after_seconds,
        usage=None,
        cost_usd=None,
        first_token_seconds=None,
        duration_seconds=duration_seconds,
    )


class SectionState(enum.StrEnum):
    """The first that fits."""

    MISSING = "missing"
    ENHANCED = "enhanced"
    PLAIN = "plain"
    DEGRADED = "degraded"


class Outcome(enum.StrEnum):
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class EnhancedSection(Model):
    """A section of the finished lesson: its state, why, and its items in order."""

    name: SectionName
    state: SectionState
    reason: str
    """Empty when enhanced; else what is missing, for people."""
    revision: int
    items: tuple[Item, ...]
    texts: tuple[JapaneseText, ...]


class Versions(Model):
    """What made the lesson beside the models: part of its fingerprint."""

    prompt_stage1: str
    prompt_stage2: str
    lesson_schema: str
    annotator: str


class Lesson(Model):
    """A whole lesson: the plain content of Stage 1, the annotations of Stage 2 by item id, and the truth about both."""

    lesson_id: str
    brief: Brief
    learner_level: int | None
    """1 to 6, display only."""
    outcome: Outcome
    sample: bool
    """Written by hand for the offline model, not by a language model for this request."""
    sample_note: str
    """Where a sample comes from, for people, and whether a teacher has reviewed it; empty when it is none."""
    created_at: float
    """Unix seconds."""
    content: Content
    sections: tuple[EnhancedSection, ...]
    attempts: tuple[Attempt, ...]
    versions: Versions
    notes: tuple[str, ...]
    duration_seconds: float
    stage1_seconds: float
    stage2_seconds: float

    def state(self, name: SectionName) -> SectionState:
        return next((section.state for section in self.sections if section.name is name), SectionState.MISSING)

    @property
    def sections_enhanced(self) -> int:
        return sum(self.state(name) is SectionState.ENHANCED for name in COUNTED_SECTIONS)

    @property
    def cost_usd(self) -> float:
        """The sum over attempts whose cost is known."""
        return sum(attempt.cost_usd or 0.0 for attempt in self.attempts)
