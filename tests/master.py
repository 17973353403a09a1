"""The master lesson of a lesson, at once instead of in steps."""

from __future__ import annotations

from gateway.master import lesson as master
from gateway.master.schema import MasterLesson
from lesson.japanese.readability import readability
from lesson.models import Lesson
from lesson.steps import run


def master_json(lesson: Lesson) -> str:
    return run(master.render(lesson, readability(lesson)))


def master_lesson(lesson: Lesson) -> MasterLesson:
    return run(master.build(lesson, readability(lesson)))
