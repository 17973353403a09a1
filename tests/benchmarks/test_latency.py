"""The measuring code against scripted timelines: what it counts, what it refuses to count, when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks.earlier_plan import PartRun
from benchmarks.latency import (
    LessonRun,
    Report,
    RunError,
    as_json,
    check_whole,
    is_translated,
    moments_of,
    table,
    verdict,
)
from benchmarks.paced_model import EARLIER, STAGE1, Call
from benchmarks.rig import stage1_call
from benchmarks.timeline import Figures, Moment, Seen, Stream, TimelineError, measure, median
from lesson.models import (
    EnhancedSection,
    JapaneseText,
    Outcome,
    ReadingProvenance,
    SectionName,
    SectionState,
    TranslationProvenance,
)
from nidan.client import SectionEnhanced, SectionReady, SectionReplaced

STREAM = Stream(asked=100.0, ended=110.0)
MOMENTS = [
    Moment(101.5, Seen.READY, "frame"),
    Moment(102.0, Seen.READY, "reading"),
    Moment(103.0, Seen.TRANSLATED, "reading"),
    Moment(108.0, Seen.READY, "practice"),
]


def section(name: SectionName, translated: bool = True, state: SectionState = SectionState.ENHANCED) -> EnhancedSection:
    text = JapaneseText(
        id=f"{name.value}.0",
        kanji="はい",
        reading="はい",
        romaji="hai",
        furigana=(),
        translation="yes" if translated else None,
        needs_translation=True,
        words=(),
        reading_provenance=ReadingProvenance.MODEL,
        translation_provenance=TranslationProvenance.MODEL if translated else TranslationProvenance.NONE,
        reading_model="m",
        translation_model="m" if translated else "",
        alternatives=(),
        notes=(),
    )
    return EnhancedSection(name=name, state=state, reason="why", revision=1, items=(), texts=(text,))


def call(kind: str, ended: float | None = 110.0) -> Call:
    return Call(kind, "m", True, 100.0, planned_seconds=10.0, ended=ended, tokens=3489, chunks=1710, writes=1710)


def report(total: float, moments: Sequence[Moment] = MOMENTS) -> Report:
    run = LessonRun(measure(99.9, 99.9 + total, moments, STREAM), [call(STAGE1), call("reading")], 0.5)
    earlier = {name: PartRun(part.seconds / 20, part.calls, part.tokens) for name, part in EARLIER.items()}
    return Report("python -m benchmarks.latency", "abc", "2 cores", 20.0, 0.1, 0.2, [run], earlier)


def test_the_figures_of_a_scripted_timeline_are_these() -> None:
    figures = measure(99.0, 110.5, MOMENTS, STREAM)
    assert figures == Figures(
        total_seconds=11.5,
        stream_seconds=10.0,
        ratio=1.15,
        added_ms=1500.0,
        before_ms=1000.0,
        after_ms=500.0,
        first_ready_percent=15.0,
        reading_ready_percent=20.0,
        reading_translated_percent=30.0,
    )


def test_what_was_replaced_had_not_stood() -> None:
    again = [
        *MOMENTS,
        Moment(109.0, Seen.REPLACED, "reading"),
        Moment(109.5, Seen.READY, "reading"),
        Moment(111.0, Seen.TRANSLATED, "reading"),
    ]
    figures = measure(99.0, 112.0, again, STREAM)
    assert figures.reading_ready_percent == 95.0
    assert figures.reading_translated_percent == pytest.approx(110.0)
    assert figures.first_ready_percent == 15.0


@pytest.mark.parametrize("missing", [Seen.READY, Seen.TRANSLATED])
def test_a_timeline_without_its_reading_is_not_measured(missing: Seen) -> None:
    moments = [moment for moment in MOMENTS if (moment.what, moment.section) != (missing, "reading")]
    with pytest.raises(TimelineError, match=f"reading was never {missing.value}"):
        measure(99.0, 111.0, moments, STREAM)


def test_a_timeline_without_any_section_is_not_measured() -> None:
    with pytest.raises(TimelineError, match="no section"):
        measure(99.0, 111.0, [], STREAM)


def test_each_figure_has_a_median_of_its_own() -> None:
    runs = [measure(99.0, 110.0 + late, MOMENTS, STREAM) for late in (0.9, 0.1, 0.4)]
    odd = replace(runs[0], first_ready_percent=99.0)
    assert median([odd, *runs[1:]]).total_seconds == pytest.approx(11.4)
    assert median([odd, *runs[1:]]).first_ready_percent == 15.0


def test_events_become_moments() -> None:
    reading = section(SectionName.READING)
    assert moments_of(SectionReady(SectionName.READING, 1), 1.0) == [Moment(1.0, Seen.READY, "reading")]
    assert moments_of(SectionEnhanced(reading), 2.0) == [Moment(2.0, Seen.TRANSLATED, "reading")]
    assert moments_of(SectionReplaced(SectionName.READING, 2, "why"), 3.0) == [Moment(3.0, Seen.REPLACED, "reading")]


def test_a_section_without_its_translations_is_no_translated_one() -> None:
    assert is_translated(section(SectionName.READING))
    assert not is_translated(section(SectionName.READING, translated=False))
    assert not is_translated(section(SectionName.READING, state=SectionState.DEGRADED))
    assert moments_of(SectionEnhanced(section(SectionName.READING, translated=False)), 1.0) == []


def test_only_a_whole_lesson_counts() -> None:
    reading, practice = section(SectionName.READING), section(SectionName.PRACTICE)
    check_whole(Outcome.COMPLETE, [reading, practice])
    with pytest.raises(RunError, match="partial, not complete: reading: why"):
        check_whole(Outcome.PARTIAL, [reading, practice])
    with pytest.raises(RunError, match="practice is not translated"):
        check_whole(Outcome.COMPLETE, [reading, section(SectionName.PRACTICE, translated=False)])


def test_stage_1_must_have_been_asked_once_and_to_its_end() -> None:
    assert stage1_call([call("reading"), call(STAGE1)]) == call(STAGE1)
    assert stage1_call([call("reading")]) is None
    assert stage1_call([call(STAGE1), call(STAGE1)]) is None
    assert stage1_call([call(STAGE1, ended=None)]) is None


def test_a_median_above_the_bound_fails_and_one_within_it_passes() -> None:
    assert verdict(report(total=10.4), smoke=False) == ""
    assert "1.06" in verdict(report(total=10.6), smoke=False)


def test_the_smoke_form_bounds_the_added_time_and_not_the_ratio() -> None:
    assert verdict(report(total=10.49), smoke=True) == ""
    assert "600 ms" in verdict(report(total=10.6), smoke=True)


def test_stage_2_that_waits_for_the_stream_fails_however_quick_it_is() -> None:
    late = [*MOMENTS[:2], Moment(110.1, Seen.TRANSLATED, "reading")]
    for smoke in (True, False):
        assert "only after the stream" in verdict(report(total=10.3, moments=late), smoke)


def test_the_table_tells_the_run_the_median_and_the_earlier_plan() -> None:
    text = table(report(total=10.4))
    assert "| median | 10.400 | 10.000 | 1.0400 | 400 (100 + 300) |" in text
    assert "| together | 13 | 3961 | 6.136 | 122.73 | 122.73 |" in text
    assert "`python -m benchmarks.latency`" in text


def test_the_json_has_every_call_and_the_median() -> None:
    text = as_json(report(total=10.4))
    assert text["median"]["ratio"] == pytest.approx(1.04)
    assert [one["kind"] for one in text["runs"][0]["calls"]] == ["stage1", "reading"]
