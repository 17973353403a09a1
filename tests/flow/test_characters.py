"""What no text may hold never reaches a lesson, whichever stage's model writes it: it is asked for again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lesson.models import AttemptOutcome, Outcome, SectionName
from tests.model_server import Answer, ModelServer
from tests.trio import trio

KINDS = {
    "lost": "\ufffd",
    "byte": "<0xE9>",
    "control": "\x1b",
    "zero width": "\u200b",
}


def in_reading(bad: str) -> Answer:
    def edit(answer: dict[str, Any]) -> None:
        title = answer["reading"]["title"]
        answer["reading"]["title"] = f"{title[:1]}{bad}{title[1:]}"

    return Answer(edit=edit)


def in_translation(bad: str) -> Answer:
    def edit(answer: dict[str, Any]) -> None:
        answer["items"][0]["translation"] = f"I{bad} like it."

    return Answer(edit=edit)


async def test_a_section_with_such_a_text_is_written_again(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    async with trio(monkeypatch, model) as running:
        for kind, bad in KINDS.items():
            model.script["stage1"] = [in_reading(bad)]
            lesson, master = await running.generate()
            first, again, *_ = lesson.attempts
            assert (kind, lesson.outcome) == (kind, Outcome.COMPLETE)
            assert (first.outcome, again.outcome) == (AttemptOutcome.INVALID_SCHEMA, AttemptOutcome.OK)
            assert "reading.title: holds " in first.reason
            assert json.dumps(bad, ensure_ascii=False)[1:-1] not in json.dumps(master, ensure_ascii=False)
            # What was sound is not written again, and the bad text went to no prompt of Stage 2.
            assert model.asked("stage1")[1].data["sections"] == ["reading"]
            assert all(bad not in str(call.body["messages"][1]) for call in model.calls if call.key != "stage1")
            model.calls.clear()


async def test_an_item_with_such_a_translation_has_none_in_the_end(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        for bad in KINDS.values():
            model.always[SectionName.CULTURE.json_key] = in_translation(bad)
            lesson, master = await running.generate()
            assert lesson.outcome is Outcome.PARTIAL
            assert bad not in str(master)
            faulty = [attempt for attempt in lesson.attempts if attempt.section is SectionName.CULTURE]
            assert {attempt.outcome for attempt in faulty} == {AttemptOutcome.INVALID_SCHEMA}
            assert "translation: holds " in faulty[0].reason
            assert all(text.reading for section in lesson.sections for text in section.texts)
