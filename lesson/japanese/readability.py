"""How hard a lesson is to read for its level, and which words it uses beside those that it teaches. Pure.

Measured over the sentences of the reading and the turns of the dialogue. Content words are nouns, pronouns, verbs,
adjectives and adverbs that are neither target words nor grammar nor a set phrase; the lists they are looked for in are
rough (`lesson.japanese.levels.JLPT`), so what is far off is said, and nothing is refused.
"""

from __future__ import annotations

import itertools
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
from lesson.models import JapaneseText, Lesson, Level, Role, SectionName, Word
from lesson.script import has_japanese

_CONTENT = frozenset({"noun", "pronoun", "verb", "adjective", "adverb"})
_INFLECTED = frozenset({"verb", "adjective"})
_ATTACHED = frozenset({"particle", "auxiliary", "prefix", "suffix"})
# In kana, as ordinary spelling has them where they are grammar: 事 and 物 are words.
_GRAMMAR = re.compile("こと|もの|とき|ため|ところ|ほう|はず|つもり|わけ|まま|よう|そう|みたい")
# Verbs, and ほしい, that only help the verb before them when they stand behind its て-form.
_HELPERS = re.compile(
    "いる|おる|ある|おく|みる|しまう|くる|いく|まいる|いらっしゃる|もらう|くれる|あげる|やる|いただく|いただける|ほしい"
)
# What is learnt whole; the words that the analyser cuts it into are no words of the text.
_PHRASES = re.compile(
    "お願い(?:いた)?し?|くださ[いっる]|下さ[いっる]|よろしく|すみません|はじめまし|失礼(?:いた)?し[まて]|いただ[きけ]ま"
    "|ごちそうさ|ございま|いらっしゃいま|かしこまりま|お世話にな|お疲れ|おかげさ|いってきま|いってらっしゃ|どうぞ|どうも"
    "|かもしれ|[てで]は(?:いけ|なり|なら)|なければ(?:いけ|なり|なら)|について|によ(?:って|ると?)|にとって|に対し"
)
_NAMED = 5


@dataclass(frozen=True)
class ContentWord:
    """A word in its dictionary form, where it is met first."""

    lemma: str
    reading: str
    """Of the dictionary form; empty when the lesson has the word only inflected: its reading there is another."""
    pos: str
    gloss: str | None
    level: str | None
    """N5 to N1, or None when no list has it."""
    section: SectionName


@dataclass(frozen=True)
class Readability:
    """Lengths in characters, white space around a sentence not counted."""

    characters: int
    sentences: int
    mean_sentence: float
    longest_sentence: int
    words: tuple[ContentWord, ...]
    """In order of first occurrence, each once."""
    shares: Mapping[str | None, float] | None
    """Of the words at N5 ... N1 and on no list (None); None when no level is known."""
    jlpt_estimate: str | None
    """The easiest list up to which most of the words stand; None when there is none, or there are too few words."""
    verdict: Verdict | None
    """For the lesson's level. None when there are too few words, no levels, or the level is above B1."""
    note: str
    """A sentence for people when the words are far too hard, or their level is not checked; else empty."""


def readability(lesson: Lesson) -> Readability:
    """Measures reading and dialogue."""
    words = _content_words(lesson)
    lengths = [len(part.strip()) for _, text in _met(lesson) for part in sentences(text.kanji) if part.strip()]
    known = any(word.level for word in words)
    judged = known and len(words) >= FEWEST_WORDS
    wanted = WORD_LEVELS.get(lesson.brief.level) if judged else None
    return Readability(
        characters=sum(lengths),
        sentences=len(lengths),
        mean_sentence=sum(lengths) / len(lengths) if lengths else 0.0,
        longest_sentence=max(lengths, default=0),
        words=words,
        shares=_shares(words) if known else None,
        jlpt_estimate=_estimate(words) if judged else None,
        verdict=_verdict(words, wanted) if wanted else None,
        note=_note(words, lesson.brief.level, wanted) if wanted else _unchecked(lesson.brief.level),
    )


def with_notes(lesson: Lesson) -> Lesson:
    """The lesson, saying among its notes when words or grammar are too hard, or nobody checked whether they are."""
    told = [note for note in (readability(lesson).note, *grammar_notes(lesson)) if note]
    return lesson.model_copy(update={"notes": (*lesson.notes, *told)}) if told else lesson


def grammar_notes(lesson: Lesson) -> Iterator[str]:
    """The first sentences that use what the level does not use yet; what staff say to a customer is heard at any."""
    found = (
        f"{text.id}: {form}: not at {lesson.brief.level} yet"
        for section in lesson.sections
        for text in section.texts
        for form in not_yet(lesson.brief.level, text.words)
        if not (form.startswith(KEIGO) and text.id in _said_by_staff(lesson))
    )
    yield from itertools.islice(found, _NAMED)


def _said_by_staff(lesson: Lesson) -> frozenset[str]:
    """Ids of the turns of staff."""
    frame, dialogue = lesson.content.frame, lesson.content.dialogue
    staff = {person.id for person in frame.characters if person.role is Role.STAFF} if frame else set()
    turns = enumerate(dialogue.turns) if dialogue else ()
    return frozenset(f"dialogue.turns.{index}.text" for index, turn in turns if turn.speaker_id in staff)


def level_of(words: Sequence[Word]) -> str | None:
    """The level of an expression: that of its hardest word; None when the level of one is not known."""
    levels = [word.level for word in words if word.pos not in _ATTACHED]
    known = [level for level in levels if level]
    return min(known, default=None) if len(known) == len(levels) else None  # as text, N1 comes before N5


# --- which words count ------------------------------------------------------------------------------------------


def _met(lesson: Lesson) -> Iterator[tuple[SectionName, JapaneseText]]:
    """The sentences of the reading, then the turns, each with its section."""
    for name, path in ((SectionName.READING, "reading.text."), (SectionName.DIALOGUE, "dialogue.turns.")):
        for section in lesson.sections:
            if section.name is name:
                yield from ((name, text) for text in section.texts if text.id.startswith(path))


def _content_words(lesson: Lesson) -> tuple[ContentWord, ...]:
    taught = _taught(lesson)
    found: dict[tuple[str, str | None], ContentWord] = {}
    for section, text in _met(lesson):
        for word in _content(text):
            if word.lemma in taught:
                continue
            first = ContentWord(word.lemma, "", word.pos, word.gloss, word.level, section)
            known = found.setdefault(_identity(word), first)
            if word.surface == word.lemma and not known.reading:
                found[_identity(word)] = replace(known, reading=word.reading)
    return tuple(found.values())


def _identity(word: Word) -> tuple[str, str | None]:
    """Lemma and reading; of what inflects, lemma and gloss: 食べ and 食べる are one word, 空く is あく or すく."""
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
    """Whether the words end in a て-form; the で of 店で is none."""
    if len(before) < 2:
        return False
    stem, last = before[-2:]
    return last.pos == "particle" and last.surface in {"て", "で"} and stem.pos in {"verb", "adjective", "auxiliary"}


# --- what their levels say --------------------------------------------------------------------------------------


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
    """Only of what is too hard: easy words around the target words are what a learner reads best."""
    beyond = [word for word in words if word.level not in _up_to(wanted.reach)]
    if len(beyond) / len(words) <= FAR_OFF_SHARE:
        return ""
    # N1, N2, then what is on no list: that may be a rare word, or a loanword that anybody knows.
    hardest = sorted(beyond, key=lambda word: word.level or "none")[:_NAMED]
    [(section, _)] = Counter(word.section for word in beyond).most_common(1)
    return (
        f"Far too hard for {level}: {len(beyond)} of {len(words)} content words are outside N5 to {wanted.reach},"
        f" the hardest {', '.join(word.lemma for word in hardest)}; ask for the {section} again (regenerate),"
        " or choose a higher level."
    )
