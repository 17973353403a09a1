"""Practice as a learner meets it, and the key to it. Both are here because their numbers and letters must agree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lesson.models import (
    ChoicePractice,
    Comprehension,
    Gap,
    GappedSentence,
    GapPractice,
    MatchingPractice,
    OrderingPractice,
    Pair,
    Practice,
    ProductionPractice,
)
from nidan.annotated import Annotated, indented, learner_text, marked, numbered
from nidan.japanese import Lines, blanked, letter, lettered

KeyEntry = tuple[str, list[RenderableType]]


def practice(given: Annotated, path: str, one: Practice) -> Iterator[RenderableType]:
    """What the learner is shown; `path` is the practice's own in the content."""
    match one:
        case ChoicePractice():
            yield from given.block(f"{path}.prompt", one.prompt, indent=4)
            yield from _choices(_choice_texts(given, path, one.choices))
        case GapPractice():
            for index, sentence in enumerate(one.sentences):
                yield numbered(index + 1, list(_gapped(given, f"{path}.sentences.{index}", sentence)))
        case MatchingPractice():
            yield _pairs(given, path, one.pairs)
        case OrderingPractice():
            pieces = [given.bracketed(f"{path}.pieces.{at}", piece) for at, piece in enumerate(one.pieces)]
            yield indented(Lines(" / ".join(pieces)), 4)
        case ProductionPractice():
            yield learner_text(one.task)
            for line in one.checklist:
                yield marked("☐", line, indent=4)


def _choices(texts: Sequence[str]) -> Iterator[RenderableType]:
    yield from (indented(Lines(choice), 6) for choice in lettered(texts))


def _choice_texts(given: Annotated, path: str, choices: Sequence[str]) -> list[str]:
    return [given.bracketed(f"{path}.choices.{at}", choice) for at, choice in enumerate(choices)]


def _gapped(given: Annotated, path: str, sentence: GappedSentence) -> Iterator[RenderableType]:
    """No romaji and no translation here: they would tell what is missing."""
    text = given.text(f"{path}.text")
    spans = [(gap.start, gap.length) for gap in sentence.gaps]
    if text is not None:
        yield Lines(blanked(text, spans))
    for number, (at, gap) in enumerate(_in_reading_order(sentence.gaps), start=1):
        choices = _choice_texts(given, f"{path}.gaps.{at}", gap.choices)
        mark = f"({number}) " if len(spans) > 1 else ""
        if choices:
            yield Lines(mark + "   ".join(lettered(choices)))


def _in_reading_order(gaps: Sequence[Gap]) -> list[tuple[int, Gap]]:
    """Each gap with its place in the content: blanks are numbered as they are met."""
    return sorted(enumerate(gaps), key=lambda entry: entry[1].start)


def _pairs(given: Annotated, path: str, pairs: Sequence[Pair]) -> Table:
    table = Table.grid(padding=(0, 2))
    order = shuffled(pairs)
    for number, pair in enumerate(pairs):
        right = order[number]
        table.add_row(
            "",
            f"{number + 1:2}.",
            Lines(given.bracketed(f"{path}.pairs.{number}.left", pair.left)),
            f"{letter(number)})",
            Lines(given.bracketed(f"{path}.pairs.{right}.right", pairs[right].right)),
        )
    return table


def shuffled(pairs: Sequence[Pair]) -> list[int]:
    """The order in which the right sides are shown, by index: the same for the same pairs, never their own."""
    order = sorted(range(len(pairs)), key=lambda at: hashlib.sha256(pairs[at].right.encode()).digest())
    return order if order != list(range(len(pairs))) else order[1:] + order[:1]


# --- the key ----------------------------------------------------------------------------------------------------


def key_entries(given: Annotated) -> Iterator[KeyEntry]:
    """Name and lines of every answer that there is, in the order of the questions."""
    content = given.content
    for title, section in (("Reading", content.reading), ("Dialogue", content.dialogue)):
        for index, asked in enumerate(section.comprehension if section else ()):
            path = f"{title.lower()}.comprehension.{index}"
            lines = list(_answer(given, path, asked))
            if lines:
                yield f"{title} {index + 1}", lines
    for index, one in enumerate(content.practice):
        lines = list(_solution(given, f"practice.{index}", one))
        if lines:
            yield f"Practice {index + 1}", lines


def _answer(given: Annotated, path: str, asked: Comprehension) -> Iterator[RenderableType]:
    if asked.answer is None:
        return
    if asked.answer in asked.choices:
        yield Lines(_choice(given, path, asked.choices, asked.answer))
    else:
        yield from given.line(f"{path}.answer", asked.answer)


def _choice(given: Annotated, path: str, choices: Sequence[str], right: str) -> str:
    at = choices.index(right)
    return f"{letter(at)}) {_choice_texts(given, path, choices)[at]}"


def _solution(given: Annotated, path: str, one: Practice) -> Iterator[RenderableType]:
    match one:
        case ChoicePractice():
            yield Lines(_choice(given, path, one.choices, one.answer))
        case GapPractice():
            for index, sentence in enumerate(one.sentences):
                yield from _filled(given, f"{path}.sentences.{index}", index + 1, sentence)
        case MatchingPractice():
            shown = shuffled(one.pairs)
            yield Text("   ".join(f"{at + 1} {letter(shown.index(at))}" for at in range(len(one.pairs))))
        case OrderingPractice():
            for index, answer in enumerate(one.answers):
                yield from given.line(f"{path}.answers.{index}", answer)
        case ProductionPractice():
            if one.model_answer:
                yield Text("for example:", style="dim")
            for index, line in enumerate(one.model_answer):
                yield from given.line(f"{path}.model_answer.{index}", line)


def _filled(given: Annotated, path: str, number: int, sentence: GappedSentence) -> Iterator[RenderableType]:
    answers = [_gap_answer(given, f"{path}.gaps.{at}", gap) for at, gap in _in_reading_order(sentence.gaps)]
    yield Lines(f"{number}. {' · '.join(answers)}", "bold", hang=3)
    yield from (indented(line, 3) for line in given.line(f"{path}.text", sentence.text))


def _gap_answer(given: Annotated, path: str, gap: Gap) -> str:
    right = next((choice for choice in gap.choices if choice in gap.accepted), None)
    if right is not None:
        return _choice(given, path, gap.choices, right)
    return " / ".join(given.bracketed(f"{path}.accepted.{at}", answer) for at, answer in enumerate(gap.accepted))
