"""A lesson as long as one may be fits into a message of gRPC."""

from __future__ import annotations

import json
from itertools import cycle
from typing import Any

import pytest

from lesson.items import extract_items
from lesson.models import Outcome
from lesson.parsing import MAX_ITEMS, MAX_JAPANESE
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.server import MAX_MESSAGE_BYTES
from tests.model_server import Answer, ModelServer
from tests.trio import trio


def lengthen(answer: dict[str, Any]) -> None:
    """Out of its own sentences, each section with Japanese in it grows towards its limits."""
    reading = answer["reading"]["text"]
    answer["reading"]["text"] = reading * (1300 // len(reading))
    for section, holder, key in (
        (answer["frame"], answer["frame"], "keyPhrases"),
        (answer["dialogue"], answer["dialogue"], "turns"),
        (answer["grammar"], answer["grammar"][0], "examples"),
        (answer["culture"], answer["culture"][0], "japanese"),
        (answer["practice"], answer, "practice"),
    ):
        own = cycle(list(holder[key]))
        while len(json.dumps(section, ensure_ascii=False)) < 7000 and len(holder[key]) < 110:
            holder[key].append(next(own))


async def test_a_lesson_with_every_section_at_its_limits_would_fit_into_one_message(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(edit=lengthen)
    async with trio(monkeypatch, model) as running:
        spec = pb.LessonSpec(can_do_id="JF:349")
        reply = await running.stub.GenerateLesson(pb.GenerateLessonRequest(spec=spec), timeout=60)
        lesson, _ = await running.generate()

    written_sections = ((name, lesson.content.section(name)) for name in lesson.content.written)
    items = {name: extract_items(name, value) for name, value in written_sections if value is not None}
    written = sum(len(item.text) for section in items.values() for item in section)
    assert lesson.outcome is Outcome.COMPLETE
    assert max(len(section) for section in items.values()) > MAX_ITEMS / 2
    assert written > 3 * MAX_JAPANESE
    with_japanese = sum(bool(section) for section in items.values())
    assert reply.ByteSize() / written * with_japanese * MAX_JAPANESE < MAX_MESSAGE_BYTES
