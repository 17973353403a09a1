"""The samples in README.md and docs/using.md are part of what the command line prints."""

from __future__ import annotations

import re
from pathlib import Path

from lesson.models import Lesson
from nidan.terminal.annotated import View
from nidan.terminal.layout import page
from nidan.terminal.ruby import Ruby

ROOT = Path(__file__).parents[2]


def _samples(document: str) -> list[str]:
    return re.findall(r"^```text\n(.*?)^```$", (ROOT / document).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def test_the_sample_of_the_readme_is_output_of_the_demo(lesson: Lesson) -> None:
    [sample] = _samples("README.md")
    printed = page(lesson, 80, False, View())
    assert len(sample.splitlines()) <= 25
    assert [part for part in sample.split("…\n") if part not in printed] == []


def test_the_samples_of_using_are_output_of_the_command_line(lesson: Lesson) -> None:
    learners, teachers, *_ = _samples("docs/using.md")
    timeless = learners.split("$0.0000")[0]
    view = View(ruby=Ruby.ABOVE, translation=True, teacher=True)
    for sample, printed in (
        (timeless, page(lesson, 80, False, View())),
        (teachers, page(lesson, 80, False, view)),
    ):
        assert [part for part in sample.split("…\n") if part not in printed] == []
