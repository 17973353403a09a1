"""Valid JSON is accepted with its exact value, however it is laid out, wrapped and cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from servicekit.llm.extraction import SectionStream, extract, strict_loads
from tests.budget import examples
from tests.extraction.lessons import KEYS, random_lesson, seeded, surrounded, written

pytestmark = pytest.mark.deep
quick = settings(
    max_examples=examples(50, 1000),
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[*HealthCheck],
)

# Any text that can be written as UTF-8, with what trips a careless reader mixed in.
tricky = ['"', "\\", "}]", "...", "// x", "```", "<think>", "</think>", '"reading": {', "，", "“はい”", "🍣", "\n"]
texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(tricky)
scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
inner_keys = texts.filter(lambda key: key not in KEYS)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(inner_keys, inner, max_size=4),
    max_leaves=12,
)
sections = values.filter(lambda value: value is not None and value not in ("", [], {}))
lessons = st.dictionaries(st.sampled_from(KEYS), sections, min_size=1)
layouts = st.fixed_dictionaries(
    {
        "indent": st.none() | st.integers(0, 4) | st.just("\t"),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([None, (",", ":"), (" , ", " : "), (",\r\n", ":\n")]),
    }
)
frames = st.sampled_from(
    [
        ("", ""),
        ("```json\n", "\n```"),
        ("```\r\n", "\r\n```\r\n"),
        ("\ufeff", "\n"),
        ("はい、レッスンを作りました。\n\n", "\n\nご確認ください。"),
        ("I will fill {reading} and {grammar}: {...}\n", "\nDone {ok}."),
        ('Format: {"key": "value"}. Lesson:\n', '\n{"note": "done"}'),
        ('<think>maybe {"reading": {"title": "夜"}} first</think>\n', ""),
        ('The keys are "reading", "dialogue" and "grammar":\n', ""),
        ('{"lesson": ', "}"),
        ('{"data": {"result": ', "}}"),
        ("[", "]"),
        ('[{"output": [', " ]\n} ]"),
    ]
)


@quick
@given(lessons, layouts, frames)
@example({"reading": "x"}, {}, ("", ""))
def test_valid_json_is_accepted_exactly_in_any_layout_and_frame(
    lesson: dict[str, Any], layout: dict[str, Any], frame: tuple[str, str]
) -> None:
    text = frame[0] + json.dumps(lesson, **layout) + frame[1]
    extracted = extract(text, KEYS)
    assert json.dumps(extracted.value) == json.dumps(lesson)  # tells 1 from True and 1.0, and holds the order
    start, end = extracted.span
    assert text[start:end].startswith(("{", "["))
    assert text[start:end].endswith(("}", "]"))


@quick
@given(lessons, layouts, frames, st.integers(1, 30))
def test_what_a_stream_releases_of_valid_json_is_exact(
    lesson: dict[str, Any], layout: dict[str, Any], frame: tuple[str, str], size: int
) -> None:
    text = frame[0] + json.dumps(lesson, **layout) + frame[1]
    stream = SectionStream(KEYS)
    released = [section for at in range(0, len(text), size) for section in stream.feed(text[at : at + size])]
    for section in released:
        assert json.dumps(section.value) == json.dumps(lesson[section.key])
    assert json.dumps(stream.finish("stop").value) == json.dumps(lesson)


def test_realistic_lessons_are_accepted_and_streamed_whole_but_for_a_doubtful_end() -> None:
    released = expected = 0
    for seed in range(150):
        rng = seeded(seed)
        lesson = random_lesson(rng)
        text = surrounded(written(lesson, rng), rng)
        stream = SectionStream(KEYS)
        sections = [section for at in range(0, len(text), 4) for section in stream.feed(text[at : at + 4])]
        assert stream.finish("stop").value == lesson
        assert dict(stream.released) == {section.key: section.value for section in sections}
        # A frame or plan whose nested objects close in a row is held back when nothing wanted follows it.
        assert [s.key for s in sections] in ([*lesson], [*lesson][:-1])
        released, expected = released + len(sections), expected + len(lesson)
    assert released > expected * 0.8


@quick
@given(values, layouts)
def test_strict_loads_reads_what_json_writes(value: Any, layout: dict[str, Any]) -> None:
    assert json.dumps(strict_loads(json.dumps(value, **layout))) == json.dumps(value)
