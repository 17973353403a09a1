"""Practice and comprehension with all that a client needs to check an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from gateway.master import schema
from gateway.master.schema import Text
from gateway.master.text import LessonTexts
from lesson.answers import accepted_forms, order_of
from lesson.models import (
    ChoicePractice,
    Dialogue,
    GapPractice,
    OrderingPractice,
    Practice,
    Reading,
    SectionName,
)
from lesson.steps import Steps

Fields = dict[str, Any]
"""A model's JSON fields, with Texts in place of Japanese strings."""

_EXERCISE: TypeAdapter[schema.Exercise] = TypeAdapter(schema.Exercise)


def exercise_fields(texts: LessonTexts) -> Steps[tuple[Fields, ...]]:
    """The fields of every Exercise: those of the practice, and those to check an answer by."""
    exercises: list[Fields] = []
    for practice, fields in zip(texts.content.practice, texts.fields(SectionName.PRACTICE), strict=True):
        exercises.append(with_answer_key(practice, fields))
        yield
    return tuple(exercises)


def validated(exercises: Sequence[Fields]) -> tuple[schema.Exercise, ...]:
    return tuple(map(_EXERCISE.validate_python, exercises))


def with_answer_key(practice: Practice, fields: Fields) -> Fields:
    """The fields of a practice, and what its kind needs to check an answer by."""
    match practice:
        case ChoicePractice():
            index = practice.choices.index(practice.answer)
            return fields | {"answerIndex": index, "acceptedForms": accepted_forms([fields["choices"][index]])}
        case GapPractice():
            return fields | {"sentences": [_with_gap_keys(sentence) for sentence in fields["sentences"]]}
        case OrderingPractice():
            orders = [order_of(practice.pieces, answer) or () for answer in practice.answers]
            assembled = ["".join(practice.pieces[at] for at in order) for order in orders]
            return fields | {
                "acceptedOrders": orders,
                "acceptedForms": accepted_forms([*fields["answers"], *assembled]),
            }
        case _:
            return fields


def _with_gap_keys(sentence: Fields) -> Fields:
    return sentence | {"gaps": [gap | _gap_key(sentence["text"], gap) for gap in sentence["gaps"]]}


def _gap_key(sentence: Text, gap: Fields) -> Fields:
    accepted: Sequence[Text] = gap["accepted"]
    right = (choice.kanji for choice in gap["choices"] if choice.kanji in {text.kanji for text in accepted})
    # The answer alone may have another reading than in its sentence (何: なに, 何で: なん).
    in_sentence = _reading_of_span(sentence, gap["start"], gap["start"] + gap["length"])
    return {
        "answerIndex": _index(next(right, None), [choice.kanji for choice in gap["choices"]]),
        "acceptedForms": accepted_forms([*accepted, *in_sentence]),
    }


def _reading_of_span(text: Text, start: int, end: int) -> tuple[str, ...]:
    """The kana over a span of the text; empty when the span ends inside a reading."""
    parts, at = [], 0
    for segment in text.furigana:
        low, high = max(start - at, 0), min(end - at, len(segment.text))
        at += len(segment.text)
        if low >= high:
            continue
        if segment.ruby is not None and high - low < len(segment.text):
            return ()
        parts.append(segment.ruby or segment.text[low:high])
    return ("".join(parts),)


def _index(text: str | None, texts: Sequence[str]) -> int | None:
    return texts.index(text) if text in texts else None


def comprehension(section: Reading | Dialogue, fields: Sequence[Fields]) -> tuple[schema.Comprehension, ...]:
    """The questions of a section, whose `fields` are those of its questions in order."""
    return tuple(
        schema.Comprehension(
            q=question.question,
            a=question.answer,
            question=given["question"],
            answer=given["answer"],
            choices=tuple(given["choices"]),
            evidence_span=question.evidence,
            mode=question.mode.value,
            answer_index=_index(question.answer, question.choices),
            accepted_forms=accepted_forms([given["answer"]] if given["answer"] is not None else []),
        )
        for question, given in zip(section.comprehension, fields, strict=True)
    )
