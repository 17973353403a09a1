"""The judge of the fault matrix: it passes a lesson that went as wanted, and sees each thing that did not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.faults.cells import DEADLINE_SECONDS, Cell, Seen, run, use_bank, wanted
from benchmarks.faults.invariants import broken
from benchmarks.faults.report import judged, page
from gateway.attempts.ledger import Row
from lesson.models import Attempt, AttemptKind, Lesson, Outcome, SectionName, Stage
from tests.model_server import bank
from tests.trio import analyser

RETRIED = "stage2 / 503 then fine / dialogue / first"


def cell(name: str) -> Cell:
    return next(cell for cell in wanted() if cell.name == name)


@pytest.fixture(scope="module")
def seen() -> list[Seen]:
    """Filled by the first test that needs it: a loop is a test's own."""
    return []


async def a_lesson(kept: list[Seen]) -> Seen:
    if not kept:
        use_bank(bank())
        kept.append(await run(cell(RETRIED), analyser()))
    return kept[0]


async def test_a_lesson_that_went_as_wanted_passes(seen: list[Seen]) -> None:
    good = await a_lesson(seen)
    assert good.lesson is not None
    assert broken(good, good.lesson.content) == []
    assert judged(good, []).wrong == ()
    assert (good.outcomes, good.next, good.outcome) == ("server_error, ok", "retry, done", "COMPLETE")


def _attempts(seen: Seen, change: Callable[[Attempt], Attempt]) -> Seen:
    return replace(seen, rows=tuple(replace(row, attempt=change(row.attempt)) for row in seen.rows if row.attempt))


def _of_dialogue(seen: Seen) -> list[Row]:
    return [row for row in seen.rows if row.section is SectionName.DIALOGUE]


def _later_model_first(seen: Seen) -> Seen:
    first = _of_dialogue(seen)[0]
    assert first.attempt is not None
    later = replace(first, attempt=first.attempt.model_copy(update={"model": "gpt-4o"}))
    return replace(seen, rows=tuple(later if row is first else row for row in seen.rows))


def _six_attempts(seen: Seen) -> Seen:
    row = _of_dialogue(seen)[0]
    assert row.attempt is not None
    return replace(seen, rows=(*seen.rows, *[replace(row, id=f"more {number}") for number in range(4)]))


def _lesson(seen: Seen, change: Callable[[Lesson], Lesson]) -> Seen:
    assert seen.lesson is not None
    return replace(seen, lesson=change(seen.lesson))


def _first_text(change: dict[str, Any]) -> Callable[[Lesson], Lesson]:
    def of(lesson: Lesson) -> Lesson:
        section = next(section for section in lesson.sections if section.name is SectionName.READING)
        texts = (section.texts[0].model_copy(update=change), *section.texts[1:])
        spoilt = section.model_copy(update={"texts": texts})
        return lesson.model_copy(update={"sections": tuple(spoilt if s is section else s for s in lesson.sections)})

    return of


def _answered_for_nothing(seen: Seen) -> Seen:
    return replace(
        _attempts(seen, lambda attempt: attempt.model_copy(update={"cost_usd": 0.0})), lesson=None, counted_usd=0
    )


def _not_yet(seen: Seen) -> Seen:
    told = [replace(call, not_before=call.begun + 60) if call.key == "dialogue" else call for call in seen.calls]
    return replace(seen, calls=tuple(told))


def _without_culture(lesson: Lesson) -> Lesson:
    culture = (lesson.content.culture or ())[:-1]
    return lesson.model_copy(update={"content": lesson.content.model_copy(update={"culture": culture})})


SPOILT: dict[str, tuple[Callable[[Seen], Seen], str]] = {
    "the chain backwards": (_later_model_first, "order of the chain, dialogue"),
    "six attempts": (_six_attempts, "6 attempts, dialogue"),
    "too early": (_not_yet, "before Retry-After"),
    "a call without a row": (lambda seen: replace(seen, rows=seen.rows[1:]), "a call without a row"),
    "too late": (lambda seen: replace(seen, seconds=DEADLINE_SECONDS), "ended after"),
    "another sum in the metric": (lambda seen: replace(seen, counted_usd=seen.counted_usd + 0.01), "the metric says"),
    "answered for nothing": (_answered_for_nothing, "for 0.0 dollars"),
    "above its reserve": (
        lambda seen: _attempts(seen, lambda attempt: attempt.model_copy(update={"cost_usd": 100.0})),
        "was reserved",
    ),
    "something runs on": (lambda seen: replace(seen, left_running="1 lessons"), "left running"),
    "an open row": (lambda seen: replace(seen, open_rows=1), "a row is open"),
    "another text": (lambda seen: _lesson(seen, _first_text({"kanji": "犬"})), "spells another text"),
    "no romaji": (lambda seen: _lesson(seen, _first_text({"romaji": ""})), "no reading"),
    "a placeholder": (
        lambda seen: _lesson(seen, _first_text({"translation": "[translation pending]"})),
        "the translation is",
    ),
    "not whole": (
        lambda seen: _lesson(seen, lambda lesson: lesson.model_copy(update={"outcome": Outcome.PARTIAL})),
        "a healthy model was left",
    ),
    "no lesson": (lambda seen: replace(seen, lesson=None), "a healthy model was left"),
    "content of its own": (lambda seen: _lesson(seen, _without_culture), "culture: not what Stage 1 wrote"),
}


@pytest.mark.parametrize("name", SPOILT)
async def test_what_does_not_hold_is_seen(seen: list[Seen], name: str) -> None:
    good = await a_lesson(seen)
    assert good.lesson is not None
    spoil, told = SPOILT[name]
    assert any(told in line for line in broken(spoil(good), good.lesson.content))


async def test_a_cell_that_is_not_as_wanted_is_told_with_both(seen: list[Seen]) -> None:
    good = await a_lesson(seen)
    other = replace(good, cell=replace(good.cell, next="re-ask, done", lesson="PARTIAL"))
    result = judged(other, ["an invariant"])
    assert result.wrong == (
        "next: wanted re-ask, done, seen retry, done",
        "lesson: wanted PARTIAL, seen COMPLETE",
        "an invariant",
    )
    told = page([result], command="make faults", commit="abc", machine="m", day="d", seconds=1)
    assert "1 cells: 0 as wanted, 1 not" in told
    assert f"- **{RETRIED}**: next: wanted re-ask, done" in told


async def test_a_fault_on_every_model_of_stage_1_is_no_lesson() -> None:
    use_bank(bank())
    failed = await run(cell("stage1 / refusal / - / every"), analyser())
    assert failed.outcome == "FAILED STAGE1_REFUSED"
    assert [attempt.model for attempt in failed.attempts(Stage.STAGE1, None)] == ["gpt-6.1-sol", "gpt-4o", "gpt-6-luna"]
    assert failed.unit[0].kind is AttemptKind.FIRST
    assert failed.next == "next model, next model, fail"
