"""Time grows with the text and no faster: eight times the text costs at most ten times as much."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from servicekit.llm.extraction import ExtractError, SectionStream, extract
from tests.extraction.lessons import KEYS, random_lesson, seeded


def lesson_text(size: int, indent: int | None) -> str:
    """A lesson of about `size` bytes as UTF-8."""
    rng = seeded(1)
    lesson: dict[str, list[Any]] = {key: [] for key in KEYS}
    while len(json.dumps(lesson, ensure_ascii=False, indent=indent).encode()) < size:
        for key, section in random_lesson(rng).items():
            lesson[key].append(section)
    return json.dumps(lesson, ensure_ascii=False, indent=indent)


def stream(text: str) -> None:
    sections = SectionStream(KEYS)
    for at in range(0, len(text), 4):
        sections.feed(text[at : at + 4])
    assert set(sections.released) == set(KEYS)
    sections.finish("stop")


def refuse(text: str) -> None:
    with pytest.raises(ExtractError):
        extract(text[:-1], KEYS)


def repair(text: str) -> None:
    assert extract(text[:-1] + ",}", KEYS).notes == ("trailing_comma",)


def seconds(task: Callable[[str], object], *texts: str) -> list[float]:
    """CPU seconds of each text, the best of five turns: taken in turn, so that a slow moment meets all."""
    best = [float("inf")] * len(texts)
    for _ in range(5):
        for number, text in enumerate(texts):
            start = time.process_time()
            task(text)
            best[number] = min(best[number], time.process_time() - start)
    return best


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("task", [stream, refuse, repair, lambda text: extract(text, KEYS)])
def test_64_kb_cost_at_most_ten_times_8_kb(task: Callable[[str], object], indent: int | None) -> None:
    small, large = lesson_text(8_000, indent), lesson_text(64_000, indent)
    ratio = len(large) / len(small)
    of_small, of_large = seconds(task, small, large)
    assert of_large <= of_small * 10 * max(1.0, ratio / 8)


HOSTILE = ["{", '{"a', "{a: ", "{/*", "{#", "<", "<think>", '"', '"a":', "[", '{"a": 1} ', "\\", " ", "`"]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("start", ["", '{"reading": ', '{"reading": "', '{"reading": {"a": 1, '])
def test_hostile_text_costs_no_more_than_a_moment(piece: str, start: str) -> None:
    text = start + piece * (64_000 // len(piece))
    begun = time.process_time()
    sections = SectionStream(KEYS)
    for at in range(0, len(text), 64):
        sections.feed(text[at : at + 64])
    with pytest.raises(ExtractError):
        sections.finish("stop")
    assert time.process_time() - begun < 2.0  # ten times what the slowest took
