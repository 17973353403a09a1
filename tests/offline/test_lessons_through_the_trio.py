"""Built-in lessons through the three services and the real offline model, checked item by item against the bank."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from enhancer_service.japanese.furigana import to_brackets
from lesson.models import AttemptKind, Content, Lesson, Outcome, ReadingProvenance, SectionState, TranslationProvenance
from offline_model.bank import SECTION_KEYS, Bank, BankLesson, load_bank
from offline_model.server import make_app
from tests.trio import DAY, Trio, trio

BANK = load_bank()
WORK_A1 = (Path(__file__).resolve().parents[2] / "offline_model/bank/work-a1.yaml").read_text(encoding="utf-8")
LABEL = "built-in lesson, not reviewed by a teacher"


@dataclass
class Serving:
    """What `trio` wants to know of a model server."""

    url: str
    in_flight: int = 0
    calls: list[object] = field(default_factory=list)


@asynccontextmanager
async def offline(patch: pytest.MonkeyPatch, bank: Bank, at: datetime = DAY) -> AsyncIterator[Trio]:
    runner = web.AppRunner(make_app(bank))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        providers = dict.fromkeys(("CANDO_AI_STAGE1_PROVIDER", "CANDO_AI_STAGE2_PROVIDER"), "offline")
        async with trio(patch, Serving(url), providers | {"OFFLINE_MODEL_URL": url}, lambda: at) as running:  # type: ignore[arg-type]  # it asks only what Serving has
            yield running
    finally:
        await runner.cleanup()


async def test_the_offline_model_works_a_year_later_without_any_paid_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with offline(monkeypatch, BANK, DAY + timedelta(days=365)) as running:
        made, _ = await running.generate()

    assert (made.outcome, made.notes) == (Outcome.COMPLETE, ())
    assert {attempt.kind for attempt in made.attempts} == {AttemptKind.FIRST}


@pytest.mark.parametrize("lesson", BANK.lessons, ids=lambda lesson: lesson.can_do_id)
async def test_a_built_in_lesson_comes_out_as_it_stands_in_the_bank(
    monkeypatch: pytest.MonkeyPatch, lesson: BankLesson
) -> None:
    async with offline(monkeypatch, BANK) as running:
        made, master = await running.generate(lesson.can_do_id)

    assert made.outcome is Outcome.COMPLETE
    assert {section.state for section in made.sections} == {SectionState.ENHANCED}
    assert made.content == Content.model_validate(BANK.stage1(lesson.can_do_id, SECTION_KEYS))
    assert (made.brief.level, made.brief.topic) == (lesson.level, lesson.topic)
    seen = list(_differences(made, lesson))
    assert seen == []
    assert (made.sample, made.sample_note) == (True, LABEL)
    assert LABEL in master["ui"]["header"]["chips"]
    assert made.notes == ()


def _differences(made: Lesson, lesson: BankLesson) -> Iterator[str]:
    """Every text whose furigana or translation is not the bank's, or that nobody stands behind."""
    for section in made.sections:
        for text in section.texts:
            held = lesson.annotations[text.kanji.strip()]
            shown = re.sub(r"\[\]", "", to_brackets(text.furigana)).strip()
            if shown != held.brackets:
                yield f"{text.id}: {shown}, in the bank {held.brackets}"
            if text.needs_translation and text.translation != held.translation:
                yield f"{text.id}: {text.translation}, in the bank {held.translation}"
            if text.needs_translation and text.translation_provenance is not TranslationProvenance.MODEL:
                yield f"{text.id}: its translation is nobody's"
            if text.reading_provenance is ReadingProvenance.NONE or not text.romaji:
                yield f"{text.id}: has no reading or no romaji"


async def test_a_lesson_that_a_teacher_reviewed_says_by_whom_and_when(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reviewed = WORK_A1.replace("reviewedBy: null", "reviewedBy: A. Teacher")
    reviewed = reviewed.replace("reviewedOn: null", "reviewedOn: 2026-12-01")
    (tmp_path / "lesson.yaml").write_text(reviewed, encoding="utf-8")
    async with offline(monkeypatch, load_bank(tmp_path)) as running:
        made, master = await running.generate("nidan:work-a1-1")
    assert made.sample_note == "built-in lesson, reviewed by A. Teacher on 2026-12-01"
    assert master["metadata"]["sampleNote"] == made.sample_note


async def test_a_neighbour_of_the_same_topic_gets_no_other_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    async with offline(monkeypatch, BANK) as running:
        for can_do_id in ("nidan:food-b2-1", "nidan:health-a1-1"):
            error = await running.refused(can_do_id)
            assert "no lesson for" in error.message
        for fields in (
            {"topic": "食生活", "level": 1, "can_do_text": "Can order a coffee."},
            {"topic": "食生活", "level": 1},
        ):
            error = await running.refused("", **fields)
            assert "no lesson for" in error.message
        await asyncio.gather(*(running.generate(can_do_id) for can_do_id in ("nidan:food-a1-1", "JFまるごと:349")))
