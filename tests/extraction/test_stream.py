"""When a stream releases a section, when it holds one back, and how its end judges what was released."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servicekit.llm.extraction import MAX_CHARS, ExtractError, Section, SectionStream
from tests.budget import examples
from tests.extraction.faults import FAULTS
from tests.extraction.lessons import KEYS, random_lesson, seeded, surrounded, written

WANTED = ("reading", "dialogue", "grammar")


def fed(text: str, keys: tuple[str, ...] = WANTED, size: int = 1) -> list[Section]:
    stream = SectionStream(keys)
    return [section for at in range(0, len(text), size) for section in stream.feed(text[at : at + size])]


def names(text: str) -> list[str]:
    return [section.key for section in fed(text)]


def test_a_section_is_released_by_the_next_keys_opening_quote_and_not_before() -> None:
    text = '{"reading": {"title": "朝"}, "dialogue": ["はい"]}'
    confirmed = text.index('"dialogue"') + 1
    assert names(text[: confirmed - 1]) == []
    assert fed(text[:confirmed]) == [Section("reading", {"title": "朝"}, (), confirmed)]


def test_the_last_section_is_released_by_the_roots_brace_and_not_before() -> None:
    text = '{"reading": {"title": "朝"}, "dialogue": ["はい"]  }'
    assert names(text[:-1]) == ["reading"]
    assert fed(text)[-1] == Section("dialogue", ["はい"], (), len(text))


@pytest.mark.parametrize("scalar", ["12", "120", "-1.5e3", "true", '"朝"', '"a\\"b"'])
def test_a_scalar_section_is_whole_only_at_its_delimiter(scalar: str) -> None:
    text = f'{{"reading": {scalar}, "grammar": 1}}'
    for end in range(len(text)):
        for section in fed(text[:end]):
            assert section.key == "reading"
            assert end >= text.index('"grammar"')
    assert names(text) == ["reading", "grammar"]


@pytest.mark.parametrize("value", ["12abc", "12 34", "truefalse", "[1] [2]", '"a" "b"', "{'title': 1}", "“a”", "nul"])
def test_a_value_that_is_not_one_value_ends_the_stream(value: str) -> None:
    assert names(f'{{"reading": {value}, "dialogue": 1, "grammar": 1}}') == []


def test_under_an_envelope_the_last_section_waits_for_the_outermost_brace() -> None:
    """With one brace lost inside of it, the envelope's own would else confirm it."""
    text = '{"data": {"lesson": {"reading": {"title": "朝"}, "grammar": ["は"]}}}'
    assert names(text) == ["reading", "grammar"]
    assert names(text[:-1]) == ["reading"]


def test_an_envelope_with_a_second_key_ends_the_stream() -> None:
    assert names('{"lesson": {"reading": {"title": "朝"}, "grammar": ["は"]}, "ok": true}') == ["reading"]


@pytest.mark.parametrize("empty", ["null", '""', "[]", "{}", "[ ]"])
def test_an_empty_section_is_handed_out_and_the_whole_refused_by_its_name(empty: str) -> None:
    stream = SectionStream(WANTED)
    sections = stream.feed(f'{{"reading": {{"title": "朝"}}, "dialogue": {empty}, "grammar": ["は"]}}')
    assert [section.key for section in sections] == ["reading", "dialogue", "grammar"]
    assert not sections[1].value
    with pytest.raises(ExtractError) as refused:
        stream.finish("stop")
    assert (refused.value.reason, refused.value.detail) == ("empty_section", "dialogue")


def test_a_section_that_may_have_swallowed_the_next_is_held_back() -> None:
    stream = SectionStream(WANTED)
    sections = stream.feed('{"reading": {"title": "朝", "grammar": ["は"]}, "dialogue": ["はい"]}')
    assert [section.key for section in sections] == ["dialogue"]
    assert set(stream.finish("stop").value) == {"reading", "dialogue"}


def test_a_wanted_name_inside_of_a_list_is_no_sign_of_swallowing() -> None:
    """The frame's target words have a `reading` each."""
    text = '{"frame": {"targetWords": [{"surface": "魚", "reading": "さかな"}], "register": "POLITE"}, "reading": "朝"}'
    assert [section.key for section in fed(text, KEYS)] == ["frame", "reading"]


def test_a_value_that_a_brace_too_many_may_have_ended_waits_for_a_wanted_key() -> None:
    whole = '{"reading": {"scene": {"place": "駅"}, "title": "朝"}, "grammar": ["は"]}'
    assert names(whole) == ["reading", "grammar"]
    broken = whole.replace('"駅"}', '"駅"}}')
    assert names(broken) == []
    doubtful = '{"reading": {"scene": {"place": "駅"}}, '
    assert names(doubtful + '"') == []
    assert names(doubtful + '"grammar":') == ["reading"]
    assert names(doubtful + '"level": 1, "grammar":') == ["reading"]
    assert names(doubtful + '"level": 1}') == []


def test_an_object_whose_own_opening_brace_was_lost_releases_nothing() -> None:
    assert names('"dialogue": {"reading": {"title": "朝"}, "grammar": 1}, "reading": {}}') == []
    assert names('{dialogue": {"reading": {"title": "朝"}, "grammar": 1}, "reading": {}}') == []


def test_what_was_released_stays_after_an_error() -> None:
    stream = SectionStream(WANTED)
    stream.feed('{"reading": {"title": "朝"}, "dialogue": [{"ja": "五百')
    with pytest.raises(ExtractError) as refused:
        stream.finish("length")
    assert refused.value.reason == "length"
    assert stream.released == {"reading": {"title": "朝"}}


def test_a_released_draft_of_untagged_reasoning_is_a_conflict_not_a_silent_change() -> None:
    stream = SectionStream(WANTED)
    assert stream.feed('{"reading": "夜", "grammar": 1}</think>{"reading": "朝", "grammar": 1}')
    with pytest.raises(ExtractError, match="section_conflict"):
        stream.finish("stop")


def test_a_stream_is_for_one_attempt() -> None:
    stream = SectionStream(WANTED)
    with pytest.raises(ExtractError, match="no_json"):
        stream.finish("stop")
    with pytest.raises(RuntimeError):
        stream.feed("{")


def test_one_string_is_no_collection_of_keys() -> None:
    with pytest.raises(TypeError):
        SectionStream("reading")
    with pytest.raises(ValueError, match="at least one"):
        SectionStream([])


def test_sections_and_their_places_do_not_depend_on_how_the_text_is_cut() -> None:
    for seed in range(60):
        rng = seeded(seed)
        text = written(random_lesson(rng), rng)
        text = surrounded(rng.choice(FAULTS)(text, rng) if seed % 2 else text, rng)
        whole = fed(text, KEYS, len(text))
        for size in (1, 2, 3, 4, 7, 16):
            assert fed(text, KEYS, size) == whole, (seed, size)


PIECES = [
    *(
        '{"reading":',
        '"dialogue":',
        '"grammar"',
        '{"lesson":',
        '"x"',
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        '"',
        "\\",
        " ",
        "\n",
    ),
    *("1", "12", "true", "<think>", "</think>", "<", "//", "…", "朝", "{a", "{reading}", "'", "，", "“", "\u00a0"),
]
pieces = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@pytest.mark.deep
@settings(
    max_examples=examples(120, 2000),
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[*HealthCheck],
)
@given(pieces, st.integers(1, 9))
def test_no_text_makes_a_stream_raise_depend_on_its_cut_or_disagree_with_its_end(text: str, size: int) -> None:
    stream = SectionStream(WANTED)
    sections = [section for at in range(0, len(text), size) for section in stream.feed(text[at : at + size])]
    assert sections == fed(text, size=max(1, len(text)))
    try:
        value = stream.finish("stop").value
    except ExtractError:
        return
    assert all(value[section.key] == section.value for section in sections)


@pytest.mark.parametrize("size", [7, 1000, 2 * MAX_CHARS])
def test_an_answer_larger_than_what_is_read_releases_nothing_beyond_and_is_refused(size: int) -> None:
    text = '{"reading": "朝", "dialogue": "' + "あ" * MAX_CHARS + '", "grammar": 1}'
    stream = SectionStream(WANTED)
    released = [section.key for at in range(0, len(text), size) for section in stream.feed(text[at : at + size])]
    assert released == ["reading"]
    with pytest.raises(ExtractError, match="too_large"):
        stream.finish("stop")


def test_an_answer_of_just_the_size_that_is_read_is_read() -> None:
    text = '{"reading": "朝", "dialogue": "' + "あ" * MAX_CHARS
    text = text[: MAX_CHARS - 2] + '"}'
    stream = SectionStream(WANTED)
    assert [section.key for section in stream.feed(text)] == ["reading", "dialogue"]
    assert len(stream.finish("stop").value["dialogue"]) > MAX_CHARS - 100
