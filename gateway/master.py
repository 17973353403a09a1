"""The shape of the master lesson: the uiVersion 2 JSON that the web client reads. Its JSON Schema is made from here.

Every Japanese string is a `Text`: with its reading, its translation where there is one, and where both came from.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lesson.levels import Verdict
from lesson.models import FuriganaSegment, Model, Word


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


class Comprehension(Model):
    q: str
    a: str | None
    question: Text
    answer: Text | str | None
    choices: tuple[Text | str, ...]
    evidence_span: str | None
    mode: str


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
    """The section's own fields (grammar point, practice, plan step) with every Japanese string a Text."""


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
    exercises: tuple[dict[str, Any], ...]
    extracted_entities: Entities
    readability: Readability
    pdf: Pdf
