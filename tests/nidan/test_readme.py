"""The sample in the README is part of what `make demo` prints."""

from __future__ import annotations

import re
from pathlib import Path

from lesson.models import Lesson
from nidan.terminal.annotated import View
from nidan.terminal.layout import page

README = Path(__file__).parents[2] / "README.md"


def test_the_sample_of_the_readme_is_output_of_the_demo(lesson: Lesson) -> None:
    [sample] = re.findall(r"^```text\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    printed = page(lesson, 80, False, View())
    assert len(sample.splitlines()) <= 25
    for part in sample.split("…\n"):
        assert part in printed
