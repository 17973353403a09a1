"""Checks the built-in lessons against their rules (`make bank-check`).

Each printed line names the lesson, the rule and the place:
    a  the level table: lengths, counts, word levels, grammar that the level does not use yet
    b  every bracket reading agrees with the analyser and the rules, or is a reviewed exception
    c  names and facts agree with cast.yaml
    d  each turn's predicates fit the register of who speaks to whom
    e  target words appear and are practised; grammar points have an anchor and are practised
    f  each comprehension answer has its evidence
    g  dialogue is speech          i  usual spelling
    h  across the lessons: no long run shared, text types, registers, openings
Exits with 1 for a broken rule, 2 for an unreadable file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import yaml

from enhancer_service.japanese.annotator import JapaneseAnnotator
from enhancer_service.japanese.furigana import to_brackets
from enhancer_service.stage import EnhancerStage
from gateway import merge
from lesson.calls import EnhanceCall
from lesson.items import extract_items, sentences
from lesson.japanese.levels import LEVEL_TABLE, WORD_LEVELS, soft_notes
from lesson.japanese.readability import readability
from lesson.japanese.style import style_issues
from lesson.models import (
    Brief,
    Comprehension,
    Content,
    EnhancedSection,
    EnhancementMode,
    Item,
    JapaneseText,
    Lesson,
    Level,
    Outcome,
    ProductionPractice,
    SectionName,
    Versions,
    Word,
)
from offline_model.bank import Bank, BankError, BankLesson, load_bank

TOPICS: Final = ("食生活", "旅行と交通", "仕事と職業", "自由時間と娯楽")
LEVELS: Final = (Level.A1, Level.A2, Level.B1)
MINUTES: Final = {Level.A1: 45, Level.A2: 50, Level.B1: 60}
EXCEPTIONS = ROOT / "offline_model" / "reading_exceptions.tsv"
CAST = ROOT / "offline_model" / "cast.yaml"


@dataclass(frozen=True)
class Broken:
    """A broken rule, with its lesson and place."""

    lesson: str
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.lesson}  ({self.rule})  {self.what}"


@dataclass(frozen=True)
class Person:
    id: str
    name: str
    kana: str
    label: str
    job: str
    roles: tuple[str, ...]
    speaks: Mapping[str, str]
    never: tuple[str, ...]
    age: int | None = None


class Checked:
    """A bank lesson with all data for the rules."""

    def __init__(self, lesson: BankLesson, annotator: JapaneseAnnotator) -> None:
        self.lesson = lesson
        self.id = lesson.can_do_id
        self.level = lesson.level
        self.content = Content.model_validate({key: json.loads(text) for key, text in lesson.sections.items()})
        frame, reading, dialogue = self.content.frame, self.content.reading, self.content.dialogue
        if frame is None or reading is None or dialogue is None:
            raise BankError(f"{self.id}: is not complete")
        self.frame, self.reading, self.dialogue = frame, reading, dialogue
        self._annotator = annotator

    @property
    def names(self) -> dict[str, str]:
        return {person.name: person.kana for person in self.frame.characters if person.kana}

    @cached_property
    def sections(self) -> tuple[EnhancedSection, ...]:
        """The annotations that the enhancer makes without a model."""
        return tuple(asyncio.run(self._section(name)) for name in self.content.written)

    async def _section(self, name: SectionName) -> EnhancedSection:
        value = self.content.section(name)
        items = extract_items(name, value) if value is not None else ()
        call = EnhanceCall(
            section=name, brief=self.brief, frame=self.content.frame, items=items, mode=EnhancementMode.ANALYSER,
            model="", attempt_id="",
        )  # fmt: skip
        enhanced = await EnhancerStage(self._annotator, None).enhance(call, timeout_seconds=60)
        return merge.enhanced_section(name, items, [item.text for item in enhanced.items])

    @property
    def brief(self) -> Brief:
        return Brief(
            can_do_id=self.id, topic=self.lesson.topic, level=self.level, learner_language="en", can_do_text="",
            can_do_text_ja="", activity="",
        )  # fmt: skip

    @property
    def as_lesson(self) -> Lesson:
        return Lesson(
            lesson_id="", brief=self.brief, learner_level=None, outcome=Outcome.PARTIAL, sample=True, sample_note="",
            created_at=datetime.fromtimestamp(0, UTC),
            content=self.content, sections=self.sections, attempts=(), notes=(), duration_seconds=0,
            stage1_seconds=0, stage2_seconds=0,
            versions=Versions(prompt_stage1="", prompt_stage2="", lesson_schema="", annotator=""),
        )  # fmt: skip

    @cached_property
    def texts(self) -> dict[str, JapaneseText]:
        """By item id."""
        return {text.id: text for section in self.sections for text in section.texts}

    @cached_property
    def items(self) -> tuple[Item, ...]:
        return tuple(item for section in self.sections for item in section.items)

    def words(self, *prefixes: str) -> list[Word]:
        """The words of all texts whose id starts with a prefix."""
        return [word for id_, text in self.texts.items() if id_.startswith(prefixes) for word in text.words]

    def spoken(self) -> Iterator[tuple[int, str, str, JapaneseText]]:
        """Yields index, speaker, addressee and turn."""
        turns = self.dialogue.turns
        speakers = list(dict.fromkeys(turn.speaker_id for turn in turns))
        for index, turn in enumerate(turns):
            others = [speaker for speaker in speakers if speaker != turn.speaker_id]
            yield index, turn.speaker_id, others[0] if others else "", self.texts[f"dialogue.turns.{index}.text"]

    def bracketed(self, text: str) -> str:
        return self._annotator.bracketed(text, self.names)


# --- a: the level ---------------------------------------------------------------------------------------------------


def level_rules(lesson: Checked) -> Iterator[str]:
    yield from map(str, soft_notes(lesson.content, lesson.level))
    measured = readability(lesson.as_lesson)
    for reach, least in WORD_LEVELS[lesson.level].least:
        up_to = ("N5", "N4", "N3", "N2", "N1")[: int("54321".index(reach[1])) + 1]
        share = sum((measured.shares or {}).get(level, 0.0) for level in up_to)
        if share < least:
            beyond = [word.lemma for word in measured.words if word.level not in up_to]
            yield f"{share:.0%} of the content words up to {reach}, wanted {least:.0%}; beyond: {', '.join(beyond)}"
    yield from map(str, measured.grammar_notes)
    minutes = sum(step.minutes or 0 for step in lesson.content.lesson_plan)
    if minutes != MINUTES[lesson.level]:
        yield f"lesson_plan: {minutes} minutes, wanted {MINUTES[lesson.level]}"
    if lesson.reading.text_type not in LEVEL_TABLE[lesson.level].text_types:
        yield f"reading.text_type: {lesson.reading.text_type} is no text type of {lesson.level}"


# --- b: readings ----------------------------------------------------------------------------------------------------


def reading_rules(lesson: Checked, exceptions: Mapping[str, str]) -> Iterator[str]:
    shown = {text.kanji.strip(): to_brackets(text.furigana) for text in lesson.texts.values()}
    for text, annotation in lesson.lesson.annotations.items():
        ours = shown.get(text, lesson.bracketed(text)).strip()
        if ours != annotation.brackets and exceptions.get(annotation.brackets) is None:
            yield f"{annotation.brackets} is read {ours} by analyser and rules"


def load_exceptions(path: Path) -> dict[str, str]:
    """The reason by bracketed text: why it is right although the analyser reads it otherwise."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] != "#")
    return {row[0]: row[1] for row in rows}


# --- c: the cast ----------------------------------------------------------------------------------------------------


def load_cast(path: Path) -> dict[str, Person]:
    raw = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return {entry["id"]: _person(entry) for entry in raw}


def _person(entry: Mapping[str, Any]) -> Person:
    return Person(
        entry["id"], entry["name"], entry["kana"], entry["label"], entry["job"], tuple(entry["roles"]),
        entry["speaks"], tuple(entry["never"]), entry.get("age"),
    )  # fmt: skip


def cast_rules(lesson: Checked, cast: Mapping[str, Person]) -> Iterator[str]:
    for character in lesson.frame.characters:
        person = cast.get(character.id)
        if person is None:
            yield f"frame: {character.id} is not in the cast"
            continue
        for field, given in (("name", character.name), ("kana", character.kana), ("label", character.label)):
            if given != getattr(person, field):
                yield f"frame: {character.id}'s {field} is {getattr(person, field)}, not {given}"
        if character.role.value not in person.roles:
            yield f"frame: {character.id} is {' or '.join(person.roles)}, not {character.role.value}"
    people = [cast[person.id] for person in lesson.frame.characters if person.id in cast]
    speakers = {f"dialogue.turns.{index}.text": speaker for index, speaker, _, _ in lesson.spoken()}
    for item in lesson.items:
        for sentence in sentences(item.text):
            about = [person for person in people if _is_about(person, sentence, speakers.get(item.id))]
            yield from (f"{item.id}: {fault}" for person in about for fault in _untrue(person, sentence))


def _is_about(person: Person, sentence: str, speaker: str | None) -> bool:
    named = re.search(rf"{person.name}(?:さん|先生|部長)?[はがも]", sentence) is not None
    return named or (speaker == person.id and re.search(r"(?:わたし|私|僕|ぼく)は", sentence) is not None)


def _untrue(person: Person, sentence: str) -> Iterator[str]:
    for age in re.findall(r"(\d+)歳", sentence):
        if person.age is not None and int(age) != person.age:
            yield f"{person.label} is {person.age}, not {age}"
    for word in person.never:
        if re.search(rf"(?<![ァ-ヶ一-龠]){word}(?:です|だ|でした|なんです|として)", sentence):
            yield f"{person.label} is {person.job}, not {word}"


# --- d: registers ---------------------------------------------------------------------------------------------------

_SET_PHRASES = re.compile(
    r"いただきます|ごちそうさま|すみません|ありがとう(?:ございま[すし]た?)?|おはようございます|お願い(?:します|いたします)"
    r"|いらっしゃいませ|おつかれさま|お疲れ様?で"
)
_OPEN_ENDS: Final = frozenset(
    {"て", "で", "が", "けど", "けれど", "から", "ので", "し", "のに", "ば", "と", "たら", "なら", "ながら"}
)
_INFLECTED: Final = frozenset({"verb", "adjective", "auxiliary"})


def register_rules(lesson: Checked, cast: Mapping[str, Person]) -> Iterator[str]:
    for index, speaker, partner, text in lesson.spoken():
        if speaker not in cast or partner not in cast[speaker].speaks:
            yield f"dialogue.turns.{index}: the cast does not say how {speaker} speaks to {partner}"
            continue
        register = cast[speaker].speaks[partner]
        for sentence, words in _sentence_words(text):
            fault = _plain_fault(sentence, words) if register == "PLAIN" else _polite_fault(words)
            if fault:
                yield f"dialogue.turns.{index}.text: {sentence} {fault}; {speaker} speaks {register} to {partner}"


def _sentence_words(text: JapaneseText) -> Iterator[tuple[str, list[Word]]]:
    place = 0
    for sentence in sentences(text.kanji):
        end = place + len(sentence)
        yield sentence, [word for word in text.words if place <= word.start < end]
        place = end


def _is_polite(word: Word) -> bool:
    return (word.pos == "auxiliary" and word.lemma in {"です", "ます"}) or word.lemma in {
        "ござる",
        "くださる",
        "下さる",
        "ください",
    }


def _plain_fault(sentence: str, words: Sequence[Word]) -> str:
    quoted = re.sub(r"「[^」]*」", "", sentence)
    if _SET_PHRASES.search(quoted):
        return ""
    polite = [word.surface for word in words if word.pos == "auxiliary" and word.lemma in {"です", "ます"}]
    return f"says {polite[0]}" if polite and polite[0] in quoted else ""


def _polite_fault(words: Sequence[Word]) -> str:
    """Describes a final predicate that is not polite. Fragments and unfinished sentences count as speech and pass."""
    core = [word for word in words if word.pos not in {"symbol", "interjection"}]
    while core and core[-1].pos == "particle" and core[-1].surface not in _OPEN_ENDS:
        core.pop()
    if not core or core[-1].surface in _OPEN_ENDS or core[-1].pos not in _INFLECTED:
        return ""
    tail = []
    for word in reversed(core):
        if word.pos not in _INFLECTED and not (word.pos == "particle" and word.surface in {"て", "で", "ん", "の"}):
            break
        tail.append(word)
    if any(map(_is_polite, tail)) or (core[-1].pos == "adjective" and len(core) == 1):
        return ""
    return f"ends in {core[-1].surface}"


# --- e, f: cohesion -------------------------------------------------------------------------------------------------


def cohesion_rules(lesson: Checked) -> Iterator[str]:
    yield from _target_words(lesson)
    yield from _grammar_points(lesson)
    yield from _practices(lesson)


def _target_words(lesson: Checked) -> Iterator[str]:
    for index, word in enumerate(lesson.frame.target_words):
        lemmas = [entry.lemma for entry in lesson.texts[f"frame.target_words.{index}.surface"].words]
        for where in (("reading.text", "dialogue.turns"), ("practice",)):
            if not _occurs(lesson, word.surface, lemmas, where):
                yield f"frame.target_words: {word.surface} does not occur in {' or '.join(where)}"


def _grammar_points(lesson: Checked) -> Iterator[str]:
    met = [text.kanji for id_, text in lesson.texts.items() if id_.startswith(("reading.text", "dialogue.turns"))]
    whole = {part.strip() for text in met for part in (text, *sentences(text))}
    for index, point in enumerate(lesson.content.grammar):
        if not _practised(lesson, point.pattern):
            yield f"grammar.{index}: {point.pattern} is practised nowhere"
        if point.anchor not in whole:
            yield f"grammar.{index}.anchor: {point.anchor} is no whole sentence of reading or dialogue"


def _practices(lesson: Checked) -> Iterator[str]:
    patterns = {*(point.pattern for point in lesson.content.grammar), *lesson.frame.target_patterns}
    known = {*patterns, *(word.surface for word in lesson.frame.target_words)}
    for index, practice in enumerate(lesson.content.practice):
        for ref in practice.target_refs:
            if ref not in known:
                yield f"practice.{index}.target_refs: {ref} is no target word and no pattern of this lesson"
    last = lesson.content.practice[-1]
    if not isinstance(last, ProductionPractice) or not last.model_answer:
        yield "practice: the last one asks for no production, or has no model answer"
    elif not last.checklist or last.checklist[-1] != lesson.frame.can_do_text:
        yield "practice: the last line of the last checklist is not the Can-do"


def _occurs(lesson: Checked, surface: str, lemmas: Sequence[str], where: tuple[str, ...]) -> bool:
    texts = [text for id_, text in lesson.texts.items() if id_.startswith(where)]
    if any(surface in text.kanji for text in texts):
        return True
    return any(_run(lemmas, [word.lemma for word in text.words]) for text in texts)


def _run(short: Sequence[str], long: Sequence[str]) -> bool:
    return any(long[at : at + len(short)] == list(short) for at in range(len(long) - len(short) + 1))


def _practised(lesson: Checked, pattern: str) -> bool:
    """Whether a practice names the point and its sentences contain part of it."""
    pieces = [piece for piece in re.split(r"[～〜…／/（）()A-ZＡ-ＺVNー\s・、]+", pattern) if piece]
    for index, practice in enumerate(lesson.content.practice):
        if pattern in practice.target_refs:
            written = "".join(text.kanji for id_, text in lesson.texts.items() if id_.startswith(f"practice.{index}."))
            if any(piece[: max(2, len(piece) - 2)] in written for piece in pieces):
                return True
    return False


def evidence_rules(lesson: Checked) -> Iterator[str]:
    yield from _evidence("reading", lesson.reading.comprehension, [lesson.reading.text])
    yield from _evidence("dialogue", lesson.dialogue.comprehension, [turn.text for turn in lesson.dialogue.turns])


def _evidence(name: str, questions: Iterable[Comprehension], spans: Sequence[str]) -> Iterator[str]:
    for index, asked in enumerate(questions):
        at = f"{name}.comprehension.{index}"
        if not asked.answer:
            yield f"{at}: has no answer"
        if not asked.evidence or not any(asked.evidence in span for span in spans):
            yield f"{at}.evidence: is no span of the text"


# --- h: across the lessons ------------------------------------------------------------------------------------------

_SHARED = 12
_MARKS = re.compile(r"[\s、。！？!?…・「」『』（）()～〜―]")
_SET_RUNS: Final = (
    "もう一度お願いします",
    "よろしくお願いします",
    "ありがとうございました",
    "ありがとうございます",
    "どうぞよろしくお願いします",
)


def shared_rules(lessons: Sequence[Checked]) -> Iterator[Broken]:
    runs: dict[str, set[int]] = defaultdict(set)
    for number, lesson in enumerate(lessons):
        for item in lesson.items:
            text = _MARKS.sub("", item.text)
            for at in range(len(text) - _SHARED):
                runs[text[at : at + _SHARED + 1]].add(number)
    shared: set[tuple[int, int, str]] = set()
    for run, where in runs.items():
        for one, other in combinations(sorted(where), 2):
            if not any(phrase in run for phrase in _SET_RUNS):
                shared.add((one, other, run))
    seen: Counter[tuple[int, int]] = Counter()
    for one, other, run in sorted(shared):
        seen[one, other] += 1
        if seen[one, other] <= 3:
            yield Broken(lessons[one].id, "h", f"shares {run} with {lessons[other].id}")


def bank_rules(lessons: Sequence[Checked]) -> Iterator[Broken]:
    yield from shared_rules(lessons)
    openings = sum(bool(re.match("わたしは|私は", lesson.reading.text)) for lesson in lessons)
    types = {lesson.reading.text_type for lesson in lessons}
    registers = Counter(str(lesson.dialogue.register_) for lesson in lessons)
    for fault, wrong in (
        (f"{openings} readings open with わたしは, wanted at most 3", openings > 3),
        (f"{len(types)} text types, wanted at least 5", len(types) < 5),
        (f"{registers['PLAIN']} dialogues in PLAIN, wanted at least 3", registers["PLAIN"] < 3),
        (f"{registers['SERVICE']} dialogues in SERVICE, wanted at least 2", registers["SERVICE"] < 2),
    ):
        if wrong:
            yield Broken("bank", "h", fault)
    held = {(lesson.lesson.topic, lesson.level) for lesson in lessons}
    for topic in TOPICS:
        for level in LEVELS:
            if (topic, level) not in held:
                yield Broken("bank", "a", f"no lesson for {topic} at {level}")


# --- all of it ------------------------------------------------------------------------------------------------------


def rules_of(lesson: Checked, cast: Mapping[str, Person], exceptions: Mapping[str, str]) -> Iterator[Broken]:
    """The rules that this lesson breaks on its own."""
    style = [str(fault) for fault in style_issues(lesson.content, lesson.level)]
    spelling = [fault for fault in style if "written in kana" in fault]
    for rule, faults in (
        ("a", level_rules(lesson)),
        ("b", reading_rules(lesson, exceptions)),
        ("c", cast_rules(lesson, cast)),
        ("d", register_rules(lesson, cast)),
        ("e", cohesion_rules(lesson)),
        ("f", evidence_rules(lesson)),
        ("g", [fault for fault in style if fault not in spelling]),
        ("i", spelling),
    ):
        yield from (Broken(lesson.id, rule, fault) for fault in dict.fromkeys(faults))


def check(
    bank: Bank, cast: Mapping[str, Person], exceptions: Mapping[str, str], annotator: JapaneseAnnotator
) -> list[Broken]:
    lessons = [Checked(lesson, annotator) for lesson in bank.lessons]
    broken = [fault for lesson in lessons for fault in rules_of(lesson, cast, exceptions)]
    return [*broken, *bank_rules(lessons)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=Path, help="folder of lessons (default: the package's own)")
    parser.add_argument("--cast", type=Path, default=CAST, help="the file of the people")
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS, help="readings that the analyser gets wrong")
    options = parser.parse_args()
    try:
        bank, cast = load_bank(options.bank), load_cast(options.cast)
        broken = check(bank, cast, load_exceptions(options.exceptions), JapaneseAnnotator.load())
    except (BankError, OSError, KeyError, yaml.YAMLError) as error:
        print(f"bank-check: {error}", file=sys.stderr)
        return 2
    for fault in broken:
        print(fault)
    counts = Counter(fault.rule for fault in broken)
    summary = ", ".join(f"{rule}: {count}" for rule, count in sorted(counts.items()))
    print(f"{len(bank.lessons)} lessons: {summary or 'every rule kept'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
