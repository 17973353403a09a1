"""The master JSON of a real lesson: each part built once, and in slices the same bytes as at once."""

from __future__ import annotations

import asyncio
from functools import cache

import pytest

from gateway.master import exercises, lesson, text
from lesson import wire
from lesson.japanese.readability import Readability, measure, readability
from lesson.models import Lesson
from lesson.steps import run_in_slices
from lesson.v1 import lesson_pb2
from tests.calls import calls
from tests.golden.current import current_lessons
from tests.master import master_json, master_lesson

LESSONS = ("JF:349", "nidan:travel-b1-1")
"""The golden one, and the built-in lesson with the most items."""


@cache
def made() -> dict[str, Lesson]:
    return asyncio.run(current_lessons(LESSONS))


@pytest.mark.parametrize("can_do_id", LESSONS)
def test_every_item_is_converted_exactly_once(can_do_id: str) -> None:
    given = made()[can_do_id]
    items = sum(len(section.texts) for section in given.sections)
    assert calls(text.to_text, lambda: master_json(given)) == items > 100


@pytest.mark.parametrize("can_do_id", LESSONS)
def test_every_exercise_is_made_exactly_once(can_do_id: str) -> None:
    given = made()[can_do_id]
    assert calls(exercises.with_answer_key, lambda: master_json(given)) == len(given.content.practice) > 0


def test_the_readability_that_is_handed_over_is_not_measured_again() -> None:
    given = made()["JF:349"]
    measured = readability(given)
    assert calls(Readability.__init__, lambda: list(lesson.render(given, measured))) == 0
    assert calls(Readability.__init__, lambda: master_json(given)) == 1


@pytest.mark.parametrize("can_do_id", LESSONS)
def test_the_json_is_what_the_schema_dumps(can_do_id: str) -> None:
    given = made()[can_do_id]
    assert master_json(given) == master_lesson(given).model_dump_json(by_alias=True)


@pytest.mark.parametrize("can_do_id", LESSONS)
async def test_in_slices_the_json_is_the_same_to_the_byte(can_do_id: str) -> None:
    given = (await current_lessons([can_do_id]))[can_do_id]
    measured = await run_in_slices(measure(given))
    assert measured == readability(given)
    assert await run_in_slices(lesson.render(given, measured)) == master_json(given)


async def test_a_message_filled_in_slices_is_the_message() -> None:
    given = (await current_lessons(["JF:349"]))["JF:349"]
    message = lesson_pb2.Lesson()
    await run_in_slices(wire.fill(message, given))
    assert message == wire.to_message(given)
    assert await run_in_slices(wire.from_message_in_steps(Lesson, message)) == given
