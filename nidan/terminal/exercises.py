"""Practice for the learner, and its answer key. One module, because their numbers and letters must agree."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table

from lesson.models import (
    ChoicePractice,
    Comprehension,
    Gap,
    GappedSentence,
    GapPractice,
    JapaneseText,
    MatchingPractice,
    OrderingPractice,
    Pair,
    Practice,
    ProductionPractice,
)
from nidan.terminal.annotated import Annotated, indented, learner_text, marked, translated
from nidan.terminal.lines import Lines, letter, side_by_side
from nidan.terminal.ruby import Unit, blanked, led, plain_units

KeyLine = tuple[int, Lines]
"""Indent and text."""
KeyEntry = tuple[str, list[KeyLine]]
"""The question's name and the lines of its answer: at least one, the first not indented."""
_NOT_COMPARED = re.compile(r"[\W_]")


def practice(given: Annotated, path: str, one: Practice) -> Iterator[RenderableType]:
    """The practice as the learner sees it. `path` is its place in the content."""
    match one:
        case ChoicePractice():
            yield from _prompt(given, path, one)
            for at, choice in enumerate(one.choices):
                yield indented(given.set(_choice(given, path, at, choice), hang=3), 6)
        case GapPractice():
            for index, sentence in enumerate(one.sentences):
                yield from _gapped(given, f"{path}.sentences.{index}", f"{index + 1}. ", sentence)
        case MatchingPractice():
            yield indented(_pairs(given, path, one.pairs))
        case OrderingPractice():
            yield indented(given.set(_pieces(given, path, one)), 4)
        case ProductionPractice():
            yield learner_text(one.task)
            for line in one.checklist:
                yield marked("☐", line, indent=4)


def choices(given: Annotated, path: str, texts: Sequence[str]) -> list[Unit]:
    """All in one line: a) …   b) …"""
    units: list[Unit] = []
    for at, choice in enumerate(texts):
        units += [*(plain_units("   ") if at else []), *_choice(given, path, at, choice)]
    return units


def _choice(given: Annotated, path: str, at: int, choice: str) -> list[Unit]:
    return led(f"{letter(at)}) ", given.units(f"{path}.choices.{at}", choice))


def _prompt(given: Annotated, path: str, one: ChoicePractice) -> Iterator[RenderableType]:
    """Hides the furigana where the answer is a reading."""
    text = given.text(f"{path}.prompt")
    if text is not None and _asks_for_reading(text, one.choices):
        yield indented(given.set(given.units(f"{path}.prompt", one.prompt, with_ruby=False)), 4)
    else:
        yield from given.block(f"{path}.prompt", one.prompt, indent=4)


def _asks_for_reading(text: JapaneseText, answers: Sequence[str]) -> bool:
    shown = {segment.ruby for segment in text.furigana if segment.ruby} | {text.reading}
    return text.reading != text.kanji and not shown.isdisjoint(answers)


def _gapped(given: Annotated, path: str, lead: str, sentence: GappedSentence) -> Iterator[RenderableType]:
    """Shows nothing below the sentence: it would give the answer away."""
    text = given.text(f"{path}.text")
    spans = [(gap.start, gap.length) for gap in sentence.gaps]
    units = blanked(sentence.text if text is None else text, spans)
    yield indented(given.set(led(lead, units), hang=len(lead)), 4)
    for number, (at, gap) in enumerate(_in_reading_order(sentence.gaps), start=1):
        mark = f"({number}) " if len(spans) > 1 else ""
        if gap.choices:
            offered = choices(given, f"{path}.gaps.{at}", gap.choices)
            yield indented(given.set(led(mark, offered) if mark else offered), 4 + len(lead))


def _in_reading_order(gaps: Sequence[Gap]) -> list[tuple[int, Gap]]:
    """Each gap with its index in the content. Blanks are numbered in reading order."""
    return sorted(enumerate(gaps), key=lambda entry: entry[1].start)


def _pairs(given: Annotated, path: str, pairs: Sequence[Pair]) -> Table:
    table = Table.grid(padding=(0, 2))
    order = shuffled(pairs)
    rights = [pair.right for pair in pairs]
    for number, pair in enumerate(pairs):
        right = order[number]
        text = given.text(f"{path}.pairs.{number}.left")
        with_ruby = text is None or not _asks_for_reading(text, rights)
        left = given.units(f"{path}.pairs.{number}.left", pair.left, with_ruby)
        other = given.units(f"{path}.pairs.{right}.right", pairs[right].right)
        shown = (led(f"{number + 1}. ", left), led(f"{letter(number)}) ", other))
        table.add_row("", *side_by_side(*(given.set(units, hang=3) for units in shown)))
    return table


def shuffled(pairs: Sequence[Pair]) -> list[int]:
    """The order of the right sides, by index: the same for the same pairs, and never their own."""
    order = _by_hash([pair.right for pair in pairs])
    return order if order != list(range(len(pairs))) else order[1:] + order[:1]


def _pieces(given: Annotated, path: str, one: OrderingPractice) -> list[Unit]:
    units: list[Unit] = []
    for at in mixed(one.pieces, one.answers):
        units += [*(plain_units(" / ") if units else []), *given.units(f"{path}.pieces.{at}", one.pieces[at])]
    return units


def mixed(pieces: Sequence[str], answers: Sequence[str]) -> list[int]:
    """The order of the pieces, by index: their own unless it is an answer, else another that is no answer.

    Pieces that are right in every order keep their own.
    """
    own, hashed = list(range(len(pieces))), _by_hash(pieces)
    turned = [hashed[at:] + hashed[:at] for at in own]
    right = {_compared(answer) for answer in answers}
    return next((order for order in (own, *turned) if _compared("".join(pieces[at] for at in order)) not in right), own)


def _by_hash(texts: Sequence[str]) -> list[int]:
    return sorted(range(len(texts)), key=lambda at: hashlib.sha256(texts[at].encode("utf-8", "replace")).digest())


def _compared(text: str) -> str:
    return _NOT_COMPARED.sub("", text)


# --- the key ----------------------------------------------------------------------------------------------------


def key_entries(given: Annotated) -> Iterator[KeyEntry]:
    """Name and lines of every answer, in the order of the questions."""
    content = given.content
    for title, section in (("Reading", content.reading), ("Dialogue", content.dialogue)):
        for index, question in enumerate(section.comprehension if section else ()):
            path = f"{title.lower()}.comprehension.{index}"
            lines = list(_answer(given, path, question))
            if lines:
                yield f"{title} {index + 1}", lines
    for index, one in enumerate(content.practice):
        lines = list(_solution(given, f"practice.{index}", one))
        if lines:
            yield f"Practice {index + 1}", lines


def _answer(given: Annotated, path: str, question: Comprehension) -> Iterator[KeyLine]:
    if question.answer is None:
        return
    if question.answer in question.choices:
        yield _right(given, path, question.choices, question.answer)
    else:
        yield from _line(given, f"{path}.answer", question.answer)


def _right(given: Annotated, path: str, texts: Sequence[str], right: str) -> KeyLine:
    return 0, given.set(_choice(given, path, texts.index(right), right), hang=3)


def _line(given: Annotated, item_id: str, plain: str, indent: int = 0) -> Iterator[KeyLine]:
    """The Japanese, with its translation if the view shows them. The lesson itself shows kana and romaji."""
    yield indent, given.head(item_id, plain)
    text = given.text(item_id)
    if text is not None and text.translation and given.view.translation:
        yield indent + 2, translated(text.translation)


def _solution(given: Annotated, path: str, one: Practice) -> Iterator[KeyLine]:
    match one:
        case ChoicePractice():
            yield _right(given, path, one.choices, one.answer)
        case GapPractice():
            for index, sentence in enumerate(one.sentences):
                yield from _filled(given, f"{path}.sentences.{index}", f"{index + 1}. ", sentence)
        case MatchingPractice():
            shown = shuffled(one.pairs)
            yield 0, Lines("   ".join(f"{at + 1} {letter(shown.index(at))}" for at in range(len(one.pairs))))
        case OrderingPractice():
            for index, answer in enumerate(one.answers):
                yield from _line(given, f"{path}.answers.{index}", answer)
        case ProductionPractice():
            if one.model_answer:
                yield 0, Lines("for example:", "dim")
            for index, line in enumerate(one.model_answer):
                yield from _line(given, f"{path}.model_answer.{index}", line)


def _filled(given: Annotated, path: str, lead: str, sentence: GappedSentence) -> Iterator[KeyLine]:
    units: list[Unit] = []
    for at, gap in _in_reading_order(sentence.gaps):
        units += [*(plain_units(" · ") if units else []), *_gap_answer(given, f"{path}.gaps.{at}", gap)]
    yield 0, given.set(led(lead, units), "bold", len(lead))
    yield from _line(given, f"{path}.text", sentence.text, len(lead))


def _gap_answer(given: Annotated, path: str, gap: Gap) -> list[Unit]:
    right = next((choice for choice in gap.choices if choice in gap.accepted), None)
    if right is not None:
        return _choice(given, path, gap.choices.index(right), right)
    units: list[Unit] = []
    for at, answer in enumerate(gap.accepted):
        units += [*(plain_units(" / ") if at else []), *given.units(f"{path}.accepted.{at}", answer)]
    return units
