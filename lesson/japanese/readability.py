"""Measures how hard a lesson is for its level, and which words it uses besides those that it teaches. Pure.

It looks at the sentences of the reading and the turns of the dialogue. Content words are nouns, pronouns, verbs,
adjectives and adverbs that are neither target words nor grammar nor part of a set phrase. The word lists are rough
(`lesson.japanese.levels.JLPT`), so a lesson that is far too hard gets a note and no refusal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lesson.items import sentences
from lesson.japanese.grammar import KEIGO, not_yet
from lesson.japanese.levels import (
    EASY_SHARE,
    ESTIMATE_SHARE,
    FAR_OFF_SHARE,
    FEWEST_WORDS,
    JLPT,
    WORD_LEVELS,
    Verdict,
    WordLevels,
)
from lesson.models import Issue, JapaneseText, Lesson, Level, Role, SectionName, Word, general_issue, issue_at
from lesson.script import has_japanese
from lesson.steps import Steps, run

_CONTENT = frozenset({"noun", "pronoun", "verb", "adjective", "adverb"})
_INFLECTED = frozenset({"verb", "adjective"})
_ATTACHED = frozenset({"particle", "auxiliary", "prefix", "suffix"})
# Grammar in kana; in kanji, as 事 and 物, these are words.
_GRAMMAR = re.compile("こと|もの|とき|ため|ところ|ほう|はず|つもり|わけ|まま|よう|そう|みたい")
# Verbs and ほしい, which are auxiliaries after a て-form.
_HELPERS = re.compile(
    "いる|おる|ある|おく|みる|しまう|くる|いく|まいる|いらっしゃる|もらう|くれる|あげる|やる|いただく|いただける|ほしい"
)
# Set phrases: their parts do not count as words of the text.
_PHRASES = re.compile(
    "お願い(?:いた)?し?|くださ[いっる]|下さ[いっる]|よろしく|すみません|はじめまし|失礼(?:いた)?し[まて]|いただ[きけ]ま"
    "|ごちそうさ|ございま|いらっしゃいま|かしこまりま|お世話にな|お疲れ|おかげさ|いってきま|いってらっしゃ|どうぞ|どうも"
    "|かもしれ|[てで]は(?:いけ|なり|なら)|なければ(?:いけ|なり|なら)|について|によ(?:って|ると?)|にとって|に対し"
)
_MOST_NAMED = 5


@dataclass(frozen=True)
class ContentWord:
    """A word in its dictionary form, at its first occurrence."""

    lemma: str
    reading: str
    """The dictionary form's reading; empty when the lesson has only inflected forms, whose readings differ."""
    pos: str
    gloss: str | None
    level: str | None
    """N5 to N1; None when no list has the word."""
    section: SectionName


@dataclass(frozen=True)
class Readability:
    """Lengths are in characters, without the white space around sentences."""

    characters: int
    sentences: int
    mean_sentence: float
    longest_sentence: int
    words: tuple[ContentWord, ...]
    """In order of first occurrence, each once."""
    shares: Mapping[str | None, float] | None
    """Shares (0 to 1) of the words on N5 ... N1 and on no list (None); None when no word has a level."""
    jlpt_estimate: str | None
    """The easiest list that, with the easier ones, holds most of the words; None without one or with too few words."""
    verdict: Verdict | None
    """For the lesson's level; None with too few words, without word levels, or above B1."""
    note: str
    """A sentence for people when the words are far too hard or unchecked; else empty."""
    grammar_notes: tuple[Issue, ...]
    """The first uses of grammar above the level: item, form and the words around it."""


def readability(lesson: Lesson) -> Readability:
    """Measures reading and dialogue."""
    return run(measure(lesson))


def measure(lesson: Lesson) -> Steps[Readability]:
    """`readability` in steps, one per text."""
    taught = _taught(lesson)
    found: dict[tuple[str, str | None], ContentWord] = {}
    lengths: list[int] = []
    for section, text in _read_or_heard(lesson):
        lengths += [len(part.strip()) for part in sentences(text.kanji) if part.strip()]
        _add_words(found, section, text, taught)
        yield
    grammar = yield from _grammar_notes(lesson)
    words = tuple(found.values())
    known = any(word.level for word in words)
    enough = known and len(words) >= FEWEST_WORDS
    wanted = WORD_LEVELS.get(lesson.brief.level) if enough else None
    return Readability(
        characters=sum(lengths),
        sentences=len(lengths),
        mean_sentence=sum(lengths) / len(lengths) if lengths else 0.0,
        longest_sentence=max(lengths, default=0),
        words=words,
        shares=_shares(words) if known else None,
        jlpt_estimate=_estimate(words) if enough else None,
        verdict=_verdict(words, wanted) if wanted else None,
        note=_note(words, lesson.brief.level, wanted) if wanted else _unchecked(lesson.brief.level),
        grammar_notes=grammar,
    )


def with_notes(lesson: Lesson, measured: Readability) -> Lesson:
    """The lesson with the findings of `measured` added to its notes."""
    found = [*([general_issue(measured.note)] if measured.note else []), *measured.grammar_notes]
    return lesson.model_copy(update={"notes": (*lesson.notes, *found)}) if found else lesson


def _grammar_notes(lesson: Lesson) -> Steps[tuple[Issue, ...]]:
    """Staff may use keigo at any level, because the learner only hears it."""
    level, staff = lesson.brief.level, _turns_of_staff(lesson)
    notes: list[Issue] = []
    for text in (text for section in lesson.sections for text in section.texts):
        forms = (form for form in not_yet(level, text.words) if not (form.startswith(KEIGO) and text.id in staff))
        notes += [issue_at(text.id, f"{form}: not at {level} yet") for form in forms]
        if len(notes) >= _MOST_NAMED:
            break
        yield
    return tuple(notes[:_MOST_NAMED])


def _turns_of_staff(lesson: Lesson) -> frozenset[str]:
    """Ids of the texts of staff's turns."""
    frame, dialogue = lesson.content.frame, lesson.content.dialogue
    staff = {person.id for person in frame.characters if person.role is Role.STAFF} if frame else set()
    turns = enumerate(dialogue.turns) if dialogue else ()
    return frozenset(f"dialogue.turns.{index}.text" for index, turn in turns if turn.speaker_id in staff)


def level_of(words: Sequence[Word]) -> str | None:
    """The level of an expression, which is its hardest word's; None when a word has no known level."""
    levels = [word.level for word in words if word.pos not in _ATTACHED]
    known = [level for level in levels if level]
    return min(known, default=None) if len(known) == len(levels) else None  # as text, N1 comes before N5


# --- content words ------------------------------------------------------------------------------------------------


def _read_or_heard(lesson: Lesson) -> Iterator[tuple[SectionName, JapaneseText]]:
    """The sentences of the reading, then the turns of the dialogue, each with its section."""
    for name, path in ((SectionName.READING, "reading.text."), (SectionName.DIALOGUE, "dialogue.turns.")):
        for section in lesson.sections:
            if section.name is name:
                yield from ((name, text) for text in section.texts if text.id.startswith(path))


def _add_words(
    found: dict[tuple[str, str | None], ContentWord], section: SectionName, text: JapaneseText, taught: frozenset[str]
) -> None:
    for word in _content(text):
        if word.lemma in taught:
            continue
        first = ContentWord(word.lemma, "", word.pos, word.gloss, word.level, section)
        known = found.setdefault(_identity(word), first)
        if word.surface == word.lemma and not known.reading:
            found[_identity(word)] = replace(known, reading=word.reading)


def _identity(word: Word) -> tuple[str, str | None]:
    """Lemma and reading; for inflected words lemma and gloss: 食べ and 食べる are one word, 空く is あく or すく."""
    return word.lemma, word.gloss if word.pos in _INFLECTED else word.reading


def _taught(lesson: Lesson) -> frozenset[str]:
    """The target words as written, and every content word in them."""
    frame = lesson.content.frame
    written = {word.surface for word in frame.target_words} if frame else set()
    texts = [text for section in lesson.sections if section.name is SectionName.FRAME for text in section.texts]
    parts = [word for text in texts if text.id.startswith("frame.target_words.") for word in text.words]
    return frozenset(written | {word.lemma for word in parts if word.pos in _CONTENT})


def _content(text: JapaneseText) -> Iterator[Word]:
    phrases = {at for match in _PHRASES.finditer(text.kanji) for at in range(*match.span())}
    for index, word in enumerate(text.words):
        counts = word.pos in _CONTENT and has_japanese(word.surface) and word.start not in phrases
        helps = _HELPERS.fullmatch(word.lemma) and _te_form(text.words[:index])
        if counts and not (helps or _GRAMMAR.fullmatch(word.lemma)):
            yield word


def _te_form(before: Sequence[Word]) -> bool:
    """Whether the words end in a て-form. The で of 店で is a particle."""
    if len(before) < 2:
        return False
    stem, last = before[-2:]
    return last.pos == "particle" and last.surface in {"て", "で"} and stem.pos in {"verb", "adjective", "auxiliary"}


# --- levels of the words ----------------------------------------------------------------------------------------


def _up_to(level: str) -> tuple[str, ...]:
    """The list and all easier ones."""
    return JLPT[: JLPT.index(level) + 1]


def _share(words: Sequence[ContentWord], level: str) -> float:
    return sum(word.level in _up_to(level) for word in words) / len(words)


def _shares(words: Sequence[ContentWord]) -> Mapping[str | None, float]:
    counts = Counter(word.level for word in words)
    return {level: counts[level] / len(words) for level in (*JLPT, None)}


def _estimate(words: Sequence[ContentWord]) -> str | None:
    return next((level for level in JLPT if _share(words, level) >= ESTIMATE_SHARE), None)


def _verdict(words: Sequence[ContentWord], wanted: WordLevels) -> Verdict:
    if any(_share(words, level) < least for level, least in wanted.least):
        return "hard"
    if wanted.known and _share(words, wanted.known) >= EASY_SHARE:
        return "easy"
    return "about right"


def _unchecked(level: Level) -> str:
    return "" if level in WORD_LEVELS else f"Level checks end at B1: whether the words fit {level} was not checked."


def _note(words: Sequence[ContentWord], level: Level, wanted: WordLevels) -> str:
    """Easy words get no note, because target words stand out best among them."""
    beyond = [word for word in words if word.level not in _up_to(wanted.reach)]
    if len(beyond) / len(words) <= FAR_OFF_SHARE:
        return ""
    # N1, N2, then words on no list, which may be rare words or well-known loanwords.
    hardest = sorted(beyond, key=lambda word: word.level or "none")[:_MOST_NAMED]
    [(section, _)] = Counter(word.section for word in beyond).most_common(1)
    return (
        f"Far too hard for {level}: {len(beyond)} of {len(words)} content words are outside N5 to {wanted.reach},"
        f" the hardest {', '.join(word.lemma for word in hardest)}; ask for the {section} again (regenerate),"
        " or choose a higher level."
    )
