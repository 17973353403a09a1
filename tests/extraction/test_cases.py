"""The shared cases of messy answers (messy_json.json): each accepted or refused as marked, whole and streamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from servicekit.llm.extraction import Extracted, ExtractError, SectionStream, extract

KEYS = ("reading", "dialogue", "grammar")
CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("messy_json.json").read_text("utf-8"))
every_case = pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
chunk_sizes = pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 1_000_000])


def assert_as_marked(case: dict[str, Any], answer: Extracted | ExtractError) -> None:
    if isinstance(answer, ExtractError):
        assert case["expect"] in ("reject", "optional"), str(answer)
    else:
        assert case["expect"] in ("accept", "optional")
        assert answer.value == case["value"]


@every_case
def test_a_whole_answer_is_accepted_or_refused_as_marked(case: dict[str, Any]) -> None:
    try:
        answer: Extracted | ExtractError = extract(case["raw"], KEYS, case["finish"])
    except ExtractError as error:
        answer = error
    assert_as_marked(case, answer)


@chunk_sizes
@every_case
def test_a_streamed_answer_releases_the_marked_sections_and_ends_as_marked(case: dict[str, Any], size: int) -> None:
    stream = SectionStream(KEYS)
    raw = case["raw"]
    released = [section for at in range(0, len(raw), size) for section in stream.feed(raw[at : at + size])]
    assert [section.key for section in released] == case["stream_sections"]
    try:
        answer: Extracted | ExtractError = stream.finish(case["finish"])
    except ExtractError as error:
        answer = error
    assert_as_marked(case, answer)
    if isinstance(answer, Extracted):
        assert {section.key: section.value for section in released}.items() <= answer.value.items()
