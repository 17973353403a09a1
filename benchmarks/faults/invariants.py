"""The invariants of every cell, whatever its wanted result: one function that lists the broken ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import isclose

from benchmarks.faults.cells import ALL, DEADLINE_SECONDS, Seen
from benchmarks.in_process import CHAINS
from enhancer_service.translation import translation_problems
from gateway.attempts.policy import MAX_ATTEMPTS
from gateway.settings import RUN_MARGIN_SECONDS
from lesson.items import extract_items
from lesson.models import (
    Attempt,
    AttemptOutcome,
    Content,
    Lesson,
    Outcome,
    ReadingProvenance,
    SectionName,
    SectionState,
    Stage,
)
from lesson.script import has_japanese

_LATE_SECONDS = 1.0
"""How late a run may notice its deadline: other cells use the processor too."""
_EARLY_SECONDS = 0.02
"""Tolerance between two clocks."""


def broken(seen: Seen, plain: Content) -> list[str]:
    """The broken invariants; empty if all hold. `plain` is the content of a correct Stage 1 answer."""
    return [
        *_order(seen),
        *_bounds(seen),
        *_time(seen),
        *_money(seen),
        *_ended(seen),
        *_texts(seen, plain),
        *_whole(seen),
    ]


def _order(seen: Seen) -> Iterator[str]:
    """Attempts follow the chain from first to last. A model is left out only while its breaker is open or its provider
    asks to wait, asked again later only for a new version of the section, and never asked before Retry-After."""
    asked_to_wait = {call.model for call in seen.calls if call.not_before is not None}
    for what, attempts in _units(seen):
        models = [attempt.model for attempt in attempts]
        chain = CHAINS[attempts[0].stage.value]
        places = [chain.index(model) for model in models]
        if sum(before > after for before, after in pairwise(places)) >= _versions(seen, what):
            yield f"order of the chain, {what}: {models}"
        kept = tuple(dict.fromkeys(models))
        due = [model for model in chain if model in kept or model not in asked_to_wait]
        if seen.cell.position != ALL and list(kept) != due[: len(kept)]:
            yield f"a model is left out, {what}: {models}"
    # A cancelled call never sees its answer, so its Retry-After binds no one.
    withdrawn = {row.id for row in seen.rows if row.attempt and row.attempt.outcome is AttemptOutcome.CANCELLED}
    heard = [call for call in seen.calls if call.attempt_id not in withdrawn]
    for before, after in pairwise(sorted(heard, key=lambda call: (call.key, call.model, call.begun))):
        same = (before.key, before.model) == (after.key, after.model)
        if same and before.not_before is not None and after.begun < before.not_before - _EARLY_SECONDS:
            yield f"{after.key} asked {after.model} {before.not_before - after.begun:.2f} s before Retry-After"


def _bounds(seen: Seen) -> Iterator[str]:
    for what, attempts in _units(seen):
        if len(attempts) > MAX_ATTEMPTS * _versions(seen, what):
            yield f"{len(attempts)} attempts, {what}"
    ids = [row.id for row in seen.rows]
    if len(set(ids)) != len(ids):
        yield "two rows of one id"
    asked = [call.attempt_id for call in seen.calls]
    if len(set(asked)) != len(asked) or not set(asked) <= set(ids):
        yield "a call without a row, or two calls of one row"


def _versions(seen: Seen, what: str) -> int:
    """How many versions Stage 1 wrote; 1 for Stage 1 itself and for a section never replaced."""
    sections = seen.lesson.sections if seen.lesson is not None else ()
    return max([1, *(section.revision for section in sections if section.name.value == what)])


def _time(seen: Seen) -> Iterator[str]:
    if seen.seconds > DEADLINE_SECONDS - RUN_MARGIN_SECONDS + _LATE_SECONDS:
        yield f"ended after {seen.seconds:.1f} s, the deadline is {DEADLINE_SECONDS:g}"


def _money(seen: Seen) -> Iterator[str]:
    """Rows, reply and metrics agree; every answer costs something, and none costs more than its reservation."""
    rows = sum(attempt.cost_usd or 0.0 for _, attempts in _units(seen) for attempt in attempts)
    reported = {"metric": seen.counted_usd}
    if seen.lesson is not None:
        reported |= {
            "lesson": seen.lesson.cost_usd,
            "attempts reported": sum(a.cost_usd or 0.0 for a in seen.lesson.attempts),
        }
        reported |= {"master": float(seen.master["metadata"]["costUsd"])}
        if len(seen.lesson.attempts) != len(seen.rows):
            yield f"{len(seen.rows)} rows, {len(seen.lesson.attempts)} attempts reported"
    for where, usd in reported.items():
        if not isclose(usd, rows, rel_tol=1e-9, abs_tol=1e-6):
            yield f"money: the rows say {rows:.6f}, the {where} says {usd:.6f}"
    answered = {call.attempt_id for call in seen.calls if call.answered}
    for row in seen.rows:
        if row.attempt is not None and row.id in answered and not row.attempt.cost_usd:
            yield f"money: {row.model} answered {row.attempt.outcome.value} for {row.attempt.cost_usd} dollars"
        if row.attempt is not None and (row.attempt.cost_usd or 0.0) > (row.reserved_usd or 0.0):
            yield f"money: {row.model} counts {row.attempt.cost_usd:.4f}, at most {row.reserved_usd:.4f} was reserved"


def _ended(seen: Seen) -> Iterator[str]:
    """Nothing keeps running, and every row is settled."""
    if seen.left_running:
        yield f"left running: {seen.left_running}"
    if seen.open_rows or any(row.attempt is None for row in seen.rows):
        yield "a row is open"
    if not seen.rows:
        yield "no rows"
    yield from (f"the fault server itself: {error!r}" for error in seen.server_errors)


def _texts(seen: Seen, plain: Content) -> Iterator[str]:
    """Stage 1's text is unchanged, every item has furigana and romaji, and no translation is a placeholder."""
    if seen.lesson is None:
        return
    for section in seen.lesson.sections:
        if section.state is SectionState.MISSING:
            continue
        value = seen.lesson.content.section(section.name)
        derived = section.name is SectionName.FRAME and any(call.fault == "missing items" for call in seen.calls)
        if value != plain.section(section.name) and not derived:
            yield f"{section.name.value}: not what Stage 1 wrote"
    yield from faulty_items(seen.lesson)


def faulty_items(lesson: Lesson) -> Iterator[str]:
    """Items whose text differs from Stage 1's, that lack furigana or romaji, or whose translation is a placeholder."""
    for section in lesson.sections:
        value = lesson.content.section(section.name)
        items = extract_items(section.name, value) if value is not None else ()
        if [item.id for item in items] != [text.id for text in section.texts]:
            yield f"{section.name.value}: other items than Stage 1's"
            continue
        for item, text in zip(items, section.texts, strict=True):
            if not item.text == text.kanji == "".join(segment.text for segment in text.furigana):
                yield f"{item.id}: the furigana spells another text"
            if text.reading_provenance is ReadingProvenance.NONE or not (text.romaji or not has_japanese(text.kanji)):
                yield f"{item.id}: no reading"
            if text.translation and translation_problems(item.text, text.translation, lesson.brief.learner_language):
                yield f"{item.id}: the translation is {text.translation!r}"


def _whole(seen: Seen) -> Iterator[str]:
    """While a healthy model, time and money remain, the lesson is COMPLETE."""
    if seen.cell.row == "first" and (seen.lesson is None or seen.lesson.outcome is not Outcome.COMPLETE):
        yield f"a healthy model was left, and the lesson is {seen.outcome}"


def _units(seen: Seen) -> Iterator[tuple[str, list[Attempt]]]:
    """The attempts at Stage 1 and at each section."""
    things = [("stage1", Stage.STAGE1, None), *((name.value, Stage.STAGE2, name) for name in SectionName)]
    for what, stage, section in things:
        attempts = seen.attempts(stage, section)
        if attempts:
            yield what, attempts
