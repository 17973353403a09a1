"""The shape of the master lesson: the uiVersion 2 JSON that the web client reads. Its JSON Schema is made from here.

Every Japanese string is a `Text`: with its reading, its translation where there is one, and where both came from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from lesson.japanese.levels import Verdict
from lesson.models import FuriganaSegment, Model, PracticeKind, Word


class Text(Model):
    """A Japanese string. Joined furigana equals `kanji`; `provenance` is the weaker of reading's and translation's."""

    id: str
    kanji: str
    reading: str
    romaji: str
    furigana: tuple[FuriganaSegment, ...]
    translation: str | None
    words: tuple[Word, ...]
    reading_provenance: str
    translation_provenance: str
    provenance: str
    reading_model: str
    translation_model: str
    alternatives: tuple[str, ...]
    notes: tuple[str, ...]


# A client in another language must be able to do as lesson.answers.typed_form does.
_NORMALISED = (
    "A typed answer is right when, normalised, it is one of these. To normalise: NFKC; lower case; 〜 (wave dash) as "
    r"~; NFKC again; without white space, control and format characters (\p{Z}, \p{Cc}, \p{Cf}); then without marks "
    r"(\p{P} and ~), but one between two digits 0-9 stays unless it is a comma, and where marks are all there is they "
    "stay; NFC; katakana as hiragana (U+30A1-30F6, 30FD, 30FE less 0x60; ー stays). The forms are of the answers as "
    "written and as read in kana, so either counts; romaji does not."
)
AcceptedForms = Annotated[tuple[str, ...], Field(description=_NORMALISED)]
AnswerIndex = Annotated[int | None, Field(description="The right one of `choices`; null when there are none.")]


class Comprehension(Model):
    """A question on the text. Without choices the answer is a good one: a typed one that differs may be right, too."""

    q: str
    a: str | None
    question: Text
    answer: Text | str | None
    choices: tuple[Text | str, ...]
    evidence_span: str | None
    mode: str
    answer_index: Annotated[
        int | None,
        Field(description="The right one of `choices`; null when there are none, or when none is the answer."),
    ]
    accepted_forms: AcceptedForms


class ReadingBody(Model):
    title: Text | None
    text_type: str | None
    content: Text
    """The sentences joined; translated only when every sentence is."""
    sentences: tuple[Text, ...]
    comprehension: tuple[Comprehension, ...]


class Character(Model):
    id: str
    name: Text
    label: str | None
    role: str
    relationship: str | None


class DialogueTurn(Model):
    speaker: str
    """The name to show."""
    speaker_id: str
    japanese: Text
    notes: str | None


class ChoiceExercise(Model):
    """One prompt, one right answer; of a listening the prompt is heard."""

    kind: Literal[PracticeKind.CHOICE, PracticeKind.LISTENING]
    instruction: str
    target_refs: tuple[str, ...]
    prompt: Text
    choices: tuple[Text | str, ...]
    answer: str
    answer_index: Annotated[int, Field(description="The right one of `choices`.")]
    accepted_forms: AcceptedForms


class Gap(Model):
    """A span of its sentence's `kanji`, in code points, blanked at display; with choices it is chosen, else typed."""

    start: int
    length: int
    accepted: tuple[Text, ...]
    choices: tuple[Text, ...]
    answer_index: AnswerIndex
    accepted_forms: AcceptedForms


class GappedSentence(Model):
    text: Text
    """Whole, blanks filled."""
    gaps: tuple[Gap, ...]


class GapExercise(Model):
    kind: Literal[PracticeKind.CLOZE, PracticeKind.DIALOGUE_GAP]
    instruction: str
    target_refs: tuple[str, ...]
    sentences: tuple[GappedSentence, ...]


class Pair(Model):
    left: Text
    right: Text | str


class MatchingExercise(Model):
    """Each pair as it belongs together: shuffle the right sides at display. No side stands twice."""

    kind: Literal[PracticeKind.MATCHING]
    instruction: str
    target_refs: tuple[str, ...]
    pairs: tuple[Pair, ...]


class OrderingExercise(Model):
    """Pieces as shown, and every order that is right. An order is checked by its pieces joined, as if typed."""

    kind: Literal[PracticeKind.ORDERING]
    instruction: str
    target_refs: tuple[str, ...]
    pieces: tuple[Text, ...]
    answers: tuple[Text, ...]
    accepted_orders: Annotated[
        tuple[tuple[int, ...], ...], Field(description="For each of `answers` the pieces that make it, by index.")
    ]
    accepted_forms: AcceptedForms


class ProductionExercise(Model):
    """A task with a model answer. The learner checks it against the list, whose last line is the Can-do."""

    kind: Literal[PracticeKind.ROLE_PLAY, PracticeKind.WRITING, PracticeKind.FREE]
    instruction: str
    target_refs: tuple[str, ...]
    task: str
    model_answer: tuple[Text, ...]
    checklist: tuple[str, ...]


Exercise = Annotated[
    ChoiceExercise | GapExercise | MatchingExercise | OrderingExercise | ProductionExercise,
    Field(discriminator="kind"),
]


class Body(Model):
    """Text of a card: Japanese in `jp`, the learner's language (Markdown) in `meta`."""

    jp: Text | None = None
    meta: str | None = None


class VocabularyEntry(Model):
    """A target word, or another word of reading or dialogue in its dictionary form, which is no Text of the lesson."""

    surface: str
    reading: str | None
    meaning: str
    """Written for the lesson; of another word, the dictionary's gloss."""
    pos: str | None
    level: str | None
    """N5 (easiest) to N1, when a list has the word."""
    japanese: Text | None


class Card(Model):
    """One card. Its id derives from its content, so two renderings of one lesson can be compared."""

    id: str
    kind: Literal["text", "reading", "dialogue"]
    title: str
    subtitle: str | None = None
    badges: tuple[str, ...] = ()
    body: Body | None = None
    bullets: tuple[Text, ...] = ()
    reading: ReadingBody | None = None
    setting: str | None = None
    characters: tuple[Character, ...] = ()
    dialogue_turns: tuple[DialogueTurn, ...] = Field(default=(), alias="dialogue_turns")
    comprehension: tuple[Comprehension, ...] = ()
    vocabulary: tuple[VocabularyEntry, ...] = ()
    detail: dict[str, Any] | None = None
    """The section's own fields (grammar point, plan step) with every Japanese string a Text; a practice's Exercise."""


class Section(Model):
    id: str
    type: Literal["intro", "teach", "vocabulary", "reading", "dialogue", "practice", "kanji", "check"]
    title: str
    state: str | None
    """MISSING, ENHANCED, PLAIN, DEGRADED; null for computed sections."""
    cards: tuple[Card, ...]


class Header(Model):
    title: str
    subtitle: str
    chips: tuple[str, ...]


class Ui(Model):
    header: Header
    sections: tuple[Section, ...]
    gallery: tuple[Any, ...]


class AttemptRow(Model):
    id: str
    stage: str
    section: str | None
    model: str
    kind: str
    outcome: str
    reason: str
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    usage_unknown: bool


class Durations(Model):
    total_seconds: float
    stage1_seconds: float
    stage2_seconds: float


class Provenance(Model):
    """How many items stand on what."""

    readings: dict[str, int]
    translations: dict[str, int]


class ModelNames(Model):
    stage1: tuple[str, ...]
    stage2: tuple[str, ...]


class Metadata(Model):
    topic: str
    language_code: Literal["ja"]
    learner_language: str
    multilingual_version: Literal[True]
    created_at: int
    """Unix seconds."""
    estimated_duration_min: int
    tags: tuple[str, ...]
    stage2_enhanced_map: dict[str, bool]
    outcome: Literal["COMPLETE", "PARTIAL"]
    section_states: dict[str, str]
    section_reasons: dict[str, str]
    """Why a section is not ENHANCED."""
    provenance: Provenance
    models: ModelNames
    sample: bool
    sample_note: str | None
    cost_usd: float | None
    """List price of all attempts; null when the price of one is not known."""
    durations: Durations
    attempts: tuple[AttemptRow, ...]
    versions: dict[str, str]
    notes: tuple[str, ...]
    attributions: tuple[str, ...]
    """Whose glosses and levels the words carry; empty when they carry none."""


class Entities(Model):
    words: tuple[str, ...]
    grammar_patterns: tuple[str, ...]


class WordShares(Model):
    """Shares of the content words at each list, 0 to 1; `none` is on no list."""

    n5: float
    n4: float
    n3: float
    n2: float
    n1: float
    none: float


class ReadabilityMetrics(Model):
    """Of the sentences of reading and dialogue, lengths in characters; target words are no content words."""

    chars: int
    sentences: int
    mean_sentence: float
    longest_sentence: int
    content_words: int
    shares: WordShares | None
    """Null when no level is known."""


class Readability(Model):
    """How hard the words are. The verdict is for the lesson's level; it and the estimate are null when unknown."""

    jlpt_estimate: str | None
    verdict: Verdict | None
    note: str
    """Empty unless the words are far too hard, or the level is above B1, where checks end."""
    metrics: ReadabilityMetrics


class Pdf(Model):
    render_template: str
    asset_paths: tuple[str, ...]


class MasterLesson(Model):
    ui_version: Literal[2]
    lesson_id: str
    can_do_id: str
    original_level: int
    """1 (A1) to 6 (C2)."""
    metadata: Metadata
    learning_objectives: tuple[str, ...]
    ui: Ui
    exercises: tuple[Exercise, ...]
    extracted_entities: Entities
    readability: Readability
    pdf: Pdf
