"""The level table and the soft checks of a lesson, which give notes and never refuse it.

The table is the project's own (docs/adr/0002). B2 and above keep B1's minima and have no upper bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lesson.answers import choice_form, normalised
from lesson.fields import fields, has_mark
from lesson.items import extract_items, sentences
from lesson.japanese.grammar import b1_notes
from lesson.models import (
    Comprehension,
    Content,
    CultureNote,
    Dialogue,
    Frame,
    GrammarPoint,
    Issue,
    ItemKind,
    LearnerText,
    Level,
    Model,
    OrderingPractice,
    Practice,
    ProductionPractice,
    Reading,
    SectionName,
    SectionValue,
    issue_at,
)
from lesson.script import has_japanese, mostly_japanese


@dataclass(frozen=True)
class Range:
    """An inclusive range. `high` None means no upper bound."""

    low: int
    high: int | None

    def __contains__(self, number: int) -> bool:
        return self.low <= number and (self.high is None or number <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


@dataclass(frozen=True)
class LevelRow:
    """The make-up of a lesson of one level. Lengths are in characters."""

    reading_characters: Range
    reading_sentences: Range
    sentence_mean: int | None
    sentence_max: int | None
    turns: Range
    turn_max: int | None
    target_words: Range
    grammar_points: Range
    text_types: tuple[str, ...]


_B1 = LevelRow(
    Range(300, 550),
    Range(10, 18),
    35,
    55,
    Range(8, 12),
    60,
    Range(12, 18),
    Range(2, 3),
    ("article", "opinion", "review"),
)
_ABOVE_B1 = LevelRow(
    Range(300, None), Range(10, None), None, None, Range(8, None), None, Range(12, None), Range(2, None), _B1.text_types
)
LEVEL_TABLE: dict[Level, LevelRow] = {
    Level.A1: LevelRow(
        Range(80, 160),
        Range(5, 9),
        18,
        25,
        Range(6, 8),
        28,
        Range(8, 12),
        Range(2, 2),
        ("message", "profile", "menu", "post"),
    ),
    Level.A2: LevelRow(
        Range(150, 280),
        Range(6, 10),
        28,
        42,
        Range(8, 10),
        40,
        Range(10, 15),
        Range(2, 3),
        ("e-mail", "notice", "blog"),
    ),
    Level.B1: _B1,
    Level.B2: _ABOVE_B1,
    Level.C1: _ABOVE_B1,
    Level.C2: _ABOVE_B1,
}

JLPT = ("N5", "N4", "N3", "N2", "N1")
"""The word lists, easiest first. They are not official, so a share of words is a signal and never a proof."""

Verdict = Literal["easy", "about right", "hard"]


@dataclass(frozen=True)
class WordLevels:
    """How hard a lesson's words may be, apart from target words. Shares are of its content words."""

    least: tuple[tuple[str, float], ...]
    """A lesson with a smaller share at the list or an easier one is hard."""
    known: str | None
    """A lesson with EASY_SHARE at the list or an easier one is easy. None means that no lesson is too easy."""
    reach: str
    """A lesson with more than FAR_OFF_SHARE beyond the list is hard enough for a note."""


# Level checks end at B1.
WORD_LEVELS: dict[Level, WordLevels] = {
    Level.A1: WordLevels((("N5", 0.65), ("N4", 0.85)), None, "N3"),
    Level.A2: WordLevels((("N4", 0.80),), "N5", "N3"),
    Level.B1: WordLevels((("N3", 0.85),), "N4", "N2"),
}
FEWEST_WORDS = 8
"""With fewer content words a lesson gets no verdict on their level."""
EASY_SHARE = 0.98
FAR_OFF_SHARE = 1 / 3
ESTIMATE_SHARE = 0.80
"""A lesson is at a list when this share of its words is on that list or an easier one."""

COMPREHENSION = Range(3, 5)
CULTURE_WORDS = Range(40, 90)
CULTURE_SENTENCES = Range(1, 3)
EXAMPLES = Range(2, 3)
KEY_PHRASES = Range(2, 4)
PRACTICES = Range(4, 4)
CHECKLIST = Range(2, 4)
PLAN_STEPS = Range(4, 6)
EXPLANATION_WORDS = 60


def soft_notes(content: Content, level: Level) -> tuple[Issue, ...]:
    """Every deviation in counts, lengths, language and cohesion; empty for a lesson without any."""
    row = LEVEL_TABLE[level]
    notes = [
        note
        for check in (_frame, _reading, _dialogue, _grammar, _culture, _practice, _counts, _languages)
        for note in check(content, row)
    ]
    if level is Level.B1 and content.reading is not None:
        notes += b1_notes(content.reading.text, (point.pattern for point in content.grammar))
    return tuple(notes)


def _outside(path: str, number: int, wanted: Range, unit: str) -> Iterator[Issue]:
    if number not in wanted:
        yield issue_at(path, f"{number} {unit}, wanted {wanted}")


def _too_long(path: str, number: float, limit: int | None, unit: str) -> Iterator[Issue]:
    if limit is not None and number > limit:
        yield issue_at(path, f"{number:.0f} {unit}, wanted at most {limit}")


def _frame(content: Content, row: LevelRow) -> Iterator[Issue]:
    if content.frame is None:
        return
    frame: Frame = content.frame
    yield from _outside("frame.target_words", len(frame.target_words), row.target_words, "words")
    yield from _outside("frame.key_phrases", len(frame.key_phrases), KEY_PHRASES, "phrases")
    met = _text_of(content.reading) + _text_of(content.dialogue)
    for index, word in enumerate(frame.target_words if met else ()):
        if word.surface not in met:
            yield issue_at(f"frame.target_words.{index}", f"{word.surface} is met in neither reading nor dialogue")


def _text_of(section: Reading | Dialogue | None) -> str:
    if isinstance(section, Reading):
        return section.text
    return "\n".join(turn.text for turn in section.turns) if section else ""


def _reading(content: Content, row: LevelRow) -> Iterator[Issue]:
    if content.reading is None:
        return
    reading: Reading = content.reading
    lengths = [len(sentence.strip()) for sentence in sentences(reading.text)]
    yield from _outside("reading.text", sum(lengths), row.reading_characters, "characters")
    yield from _outside("reading.text", len(lengths), row.reading_sentences, "sentences")
    yield from _too_long("reading.text", sum(lengths) / len(lengths), row.sentence_mean, "characters a sentence")
    yield from _too_long("reading.text", max(lengths), row.sentence_max, "characters in the longest sentence")
    yield from _comprehension("reading", reading.comprehension, reading.text)


def _dialogue(content: Content, row: LevelRow) -> Iterator[Issue]:
    if content.dialogue is None:
        return
    dialogue: Dialogue = content.dialogue
    yield from _outside("dialogue.turns", len(dialogue.turns), row.turns, "turns")
    people = {character.id for character in content.frame.characters} if content.frame else set()
    for index, turn in enumerate(dialogue.turns):
        yield from _too_long(f"dialogue.turns.{index}.text", len(turn.text), row.turn_max, "characters")
        if people and turn.speaker_id not in people:
            yield issue_at(f"dialogue.turns.{index}.speaker_id", f"{turn.speaker_id} is nobody of the frame")
    yield from _comprehension("dialogue", dialogue.comprehension, _text_of(dialogue))


def _comprehension(path: str, questions: tuple[Comprehension, ...], text: str) -> Iterator[Issue]:
    yield from _outside(f"{path}.comprehension", len(questions), COMPREHENSION, "questions")
    for index, question in enumerate(questions):
        at = f"{path}.comprehension.{index}"
        if question.evidence is None or question.evidence not in text:
            yield issue_at(f"{at}.evidence", "is no span of the text")
        if question.choices and question.answer not in question.choices:
            yield issue_at(f"{at}.answer", "is not among the choices")
        if len({choice_form(choice) for choice in question.choices}) < len(question.choices):
            yield issue_at(f"{at}.choices", "are not distinct")


def _grammar(content: Content, row: LevelRow) -> Iterator[Issue]:
    if content.grammar:
        yield from _outside("grammar", len(content.grammar), row.grammar_points, "points")
    lesson = _text_of(content.reading) + _text_of(content.dialogue)
    for index, point in enumerate(content.grammar):
        yield from _point(f"grammar.{index}", point, lesson)


def _point(path: str, point: GrammarPoint, lesson: str) -> Iterator[Issue]:
    yield from _outside(f"{path}.examples", len(point.examples), EXAMPLES, "examples")
    yield from _too_long(f"{path}.explanation", len(point.explanation.split()), EXPLANATION_WORDS, "words")
    if point.anchor is None or point.anchor not in lesson:
        yield issue_at(f"{path}.anchor", "is no sentence of this lesson")


def _culture(content: Content, _row: LevelRow) -> Iterator[Issue]:
    for index, note in enumerate(content.culture):
        yield from _culture_note(f"culture.{index}", note)


def _culture_note(path: str, note: CultureNote) -> Iterator[Issue]:
    yield from _outside(f"{path}.body", len(note.body.split()), CULTURE_WORDS, "words")
    yield from _outside(f"{path}.japanese", len(note.japanese), CULTURE_SENTENCES, "sentences")


def _practice(content: Content, _row: LevelRow) -> Iterator[Issue]:
    can_do = content.frame.can_do_text if content.frame else ""
    for index, practice in enumerate(content.practice):
        yield from _one_practice(f"practice.{index}", practice, can_do)


def _one_practice(path: str, practice: Practice, can_do: str) -> Iterator[Issue]:
    if isinstance(practice, OrderingPractice):
        shown = normalised("".join(practice.pieces))
        if shown in {normalised(answer) for answer in practice.answers}:
            yield issue_at(f"{path}.pieces", "stand in a right order already")
    if isinstance(practice, ProductionPractice):
        if not practice.model_answer:
            yield issue_at(f"{path}.model_answer", "is missing")
        yield from _outside(f"{path}.checklist", len(practice.checklist), CHECKLIST, "lines")
        if practice.checklist and can_do and _ability(practice.checklist[-1]) != _ability(can_do):
            yield issue_at(f"{path}.checklist", "its last line is not the Can-do")


def _ability(can_do: str) -> str:
    """The ability alone: the same for "I can order", "Can order" and "can order."."""
    return normalised(can_do).removeprefix("i").removeprefix("can")


def _counts(content: Content, _row: LevelRow) -> Iterator[Issue]:
    if content.practice:
        yield from _outside("practice", len(content.practice), PRACTICES, "practices")
    if content.lesson_plan:
        yield from _outside("lesson_plan", len(content.lesson_plan), PLAN_STEPS, "steps")


# A pattern may consist of grammar symbols, a name of Latin letters.
_ANY_SCRIPT = {ItemKind.PATTERN, ItemKind.NAME, ItemKind.CHOICE, ItemKind.PAIR}


def _languages(content: Content, _row: LevelRow) -> Iterator[Issue]:
    """Japanese fields without kana or kanji, and learner-language fields that are mostly Japanese."""
    for name in content.written:
        section = content.section(name)
        assert section is not None  # noqa: S101 - `written` names only existing sections
        yield from language_notes(name, section)


def language_notes(name: SectionName, section: SectionValue) -> Iterator[Issue]:
    """The fields of one section in the wrong language."""
    for item in extract_items(name, section):
        if item.kind not in _ANY_SCRIPT and not has_japanese(item.text):
            yield issue_at(item.id, "has no Japanese")
    members = section if isinstance(section, tuple) else (section,)
    for index, member in enumerate(members):
        yield from _learner_fields(member, f"{name.value}.{index}" if isinstance(section, tuple) else name.value)


def _learner_fields(model: Model, path: str) -> Iterator[Issue]:
    for name, _, wire_name, hint in fields(type(model)):
        value = getattr(model, name)
        at = f"{path}.{wire_name}"
        values = value if isinstance(value, tuple) else (value,)
        for member in values:
            if isinstance(member, Model):
                yield from _learner_fields(member, at)
            elif isinstance(member, str) and has_mark(hint, LearnerText) and mostly_japanese(member):
                yield issue_at(at, "is mostly Japanese, wanted the learner's language")
