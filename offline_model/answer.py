"""Answers both stages from the bank. Pure: takes the data block, gives JSON text or raises ApiError."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from offline_model import brackets
from offline_model.bank import Bank, BankLesson
from offline_model.errors import ApiError
from offline_model.request import BriefData, ItemData, Stage1Data, Stage2Data

_REAL_MODEL = (
    "For any other lesson use a language model: set OPENAI_API_KEY and "
    "CANDO_AI_STAGE1_PROVIDER=openai / CANDO_AI_STAGE2_PROVIDER=openai."
)


class Answer(NamedTuple):
    """The answer as compact JSON and its origin: the bank lesson's label, empty for annotations."""

    text: str
    origin: str


def answer(bank: Bank, data: Stage1Data | Stage2Data, properties: Sequence[str] | None) -> Answer:
    """Answers either stage.

    `properties` are the root properties of a JSON schema: the answer keeps only these, in their order; None keeps all.
    Raises ApiError 404 (`lesson_not_in_bank`, `language_not_in_bank`).
    """
    origin, whole = _stage1(bank, data) if isinstance(data, Stage1Data) else ("", _stage2(bank, data))
    kept = whole if properties is None else {name: whole[name] for name in properties if name in whole}
    return Answer(json.dumps(kept, ensure_ascii=False, separators=(",", ":")), origin)


def _stage1(bank: Bank, data: Stage1Data) -> tuple[str, dict[str, Any]]:
    """The lesson of exactly this Can-do. Another lesson with its topic and level never replaces it."""
    lesson = bank.lesson(data.brief.can_do_id)
    if lesson is None or not _same_level(lesson, data.brief.level) or _other_topic(bank, lesson, data.brief.topic):
        raise _lesson_not_in_bank(bank, data.brief)
    _check_language([lesson], data.brief)
    return lesson.origin, bank.stage1(data.brief.can_do_id, data.sections)


def _stage2(bank: Bank, data: Stage2Data) -> dict[str, Any]:
    """Leaves out wanted items whose text is in no lesson: the caller sees the gap, and nothing is invented."""
    _check_language(bank.lessons, data.brief)
    entries = (_entry(bank, data.mode, item) for item in data.items if item.want)
    answered: dict[str, Any] = {"items": [entry for entry in entries if entry is not None], "unsure": []}
    if data.mode == "review":
        # The bank has a hand-written reading for every sentence and corrects any other reading that the caller shows.
        answered["corrections"] = [
            correction for item in data.items if item.want for correction in _corrections(bank, item)
        ]
    return answered


def _corrections(bank: Bank, item: ItemData) -> Iterator[dict[str, str]]:
    annotation = bank.annotation(brackets.plain(item.text).strip())
    if annotation is not None:
        for word, reading in brackets.differences(item.text.strip(), annotation.brackets):
            yield {"id": item.id, "word": word, "reading": reading}


def _entry(bank: Bank, mode: str, item: ItemData) -> dict[str, Any] | None:
    # In review mode the text carries readings in brackets.
    text = (brackets.plain(item.text) if mode == "review" else item.text).strip()
    annotation = bank.annotation(text)
    if annotation is None:
        return None
    translation = annotation.translation if item.translate else None
    if mode == "model":
        # Sentences keep the line breaks of running text, so only the stripped part gets brackets.
        return {
            "id": item.id,
            "furigana": item.text.replace(text, annotation.brackets, 1),
            "translation": translation,
        }
    return {"id": item.id, "translation": translation}


def _same_level(lesson: BankLesson, level: str | None) -> bool:
    return not level or level == lesson.level.value


def _other_topic(bank: Bank, lesson: BankLesson, topic: str | None) -> bool:
    """Whether the topic names another lesson: an imported list may use the id JF:349 for travel, not food.

    A topic in the caller's own words does not count as another lesson.
    """
    return topic != lesson.topic and topic in {other.topic for other in bank.lessons}


def _check_language(lessons: Sequence[BankLesson], brief: BriefData) -> None:
    """Raises ApiError for a language without lessons. en-GB counts as en; an empty language fits any lesson."""
    held = sorted({lesson.learner_language for lesson in lessons})
    wanted = (brief.learner_language or "").lower()
    if wanted and wanted.split("-")[0] not in held:
        message = f"The offline model explains and translates only in {', '.join(held)}, not in {_quoted(wanted)}. "
        raise ApiError(404, "language_not_in_bank", message + _REAL_MODEL)


def _lesson_not_in_bank(bank: Bank, brief: BriefData) -> ApiError:
    wanted = _quoted(brief.can_do_id) + (f" at level {_quoted(brief.level)}" if brief.level else "")
    wanted += f" about {_quoted(brief.topic)}" if brief.topic else ""
    held = ", ".join(map(_described, bank.lessons))
    message = f"The offline model has no lesson for {wanted}. It has {held}. {_REAL_MODEL}"
    return ApiError(404, "lesson_not_in_bank", message)


def _described(lesson: BankLesson) -> str:
    return f"{lesson.can_do_id} ({lesson.topic}, {lesson.level})"


def _quoted(text: str) -> str:
    """The caller's text, shortened for a message."""
    return repr(text if len(text) <= 80 else text[:80] + "…")
