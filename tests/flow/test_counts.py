"""Metrics in the cases that are easy to miss: before the first event, at the deadline, without any attempt."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lesson.models import Outcome
from tests.model_server import Answer, ModelServer
from tests.trio import trio, until
from tools.ops.metrics_doc import catalogue

FAR = datetime(2027, 2, 1, tzinfo=UTC)
SHORT = {"LESSON_DEADLINE_SECONDS": "8", "STAGE2_RESERVE_SECONDS": "3"}


class Scrape:
    """A /metrics page: the value of a series, or None."""

    def __init__(self, text: str) -> None:
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        self.names = {sample.name for sample in samples}
        self._values = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}

    def value(self, name: str, **labels: str) -> float | None:
        return self._values.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """The sum over the series that have these labels."""
        wanted = labels.items()
        return sum(value for (told, has), value in self._values.items() if told == name and wanted <= has)


async def test_every_series_that_an_alert_counts_is_there_before_its_first_event(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        gateway, content = Scrape(await running.metrics()), Scrape(await running.metrics(running.content))
    assert gateway.value("nidan_stage1_total", outcome="failed", model="gpt-6.1-sol") == 0
    assert gateway.value("nidan_lesson_sections_enhanced_total", count="0") == 0
    assert gateway.value("nidan_lessons_total", outcome="rejected", source="generated") == 0
    assert gateway.value("nidan_lesson_duration_seconds_bucket", outcome="partial", le="240.0") == 0
    assert gateway.value("nidan_lesson_cost_usd_bucket", outcome="complete", le="0.05") == 0
    labels = {"section": "culture", "state": "missing", "model": "gpt-4o-mini"}
    assert gateway.value("nidan_section_enhancements_total", **labels) == 0
    labels = {"stage": "stage2", "model": "gpt-4o-mini", "kind": "fallback", "outcome": "ok"}
    assert gateway.value("nidan_model_attempts_total", **labels) == 0
    labels = {"grpc_service": "lesson.v1.ContentService", "grpc_method": "GenerateContent", "grpc_code": "INTERNAL"}
    assert content.value("grpc_server_handled_total", **labels) == 0


async def test_without_a_model_for_stage_2_its_sections_are_counted_under_no_name(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"CANDO_AI_STAGE2_PROVIDER": "none"}) as running:
        before = Scrape(await running.metrics())
        await running.generate()
        after = Scrape(await running.metrics())
    labels = {"section": "reading", "state": "plain", "model": ""}
    assert before.value("nidan_section_enhancements_total", **labels) == 0
    assert after.value("nidan_section_enhancements_total", **labels) == 1
    assert after.total("nidan_model_attempts_total", stage="stage2") == 0


async def test_every_exported_series_is_in_the_catalogue_without_created_times(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    known = {told.name for told in catalogue()}
    async with trio(monkeypatch, model) as running:
        await running.generate()
        pages = [await running.metrics(ports) for ports in (running.gateway, running.content, running.enhancer)]
    for page in pages:
        names = Scrape(page).names
        bare = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in names}
        assert bare <= known
        assert Scrape(page).total("process_resident_memory_bytes") > 10_000_000


async def test_a_chain_that_has_ended_whole_counts_as_a_stage_1_that_failed(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    chain = {"CANDO_AI_STAGE1_FALLBACK_MODELS": "gpt-5"}
    async with trio(monkeypatch, model, chain, now=lambda: FAR) as running:
        await running.refused()
        counted = Scrape(await running.metrics())
    assert counted.value("nidan_stage1_total", outcome="failed", model="gpt-5") == 1


async def test_a_stage_1_without_money_counts_as_a_refusal_and_not_as_a_failure(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"DAILY_COST_LIMIT_USD": "0.0001"}) as running:
        await running.refused()
        counted = Scrape(await running.metrics())
    assert counted.total("nidan_stage1_total") == 0
    assert counted.value("nidan_budget_refusals_total", scope="day") == 1
    assert counted.value("nidan_lessons_total", outcome="failed", source="generated") == 1


async def test_sections_cut_short_or_never_written_are_counted_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def without_culture(answer: dict[str, object]) -> None:
        answer.pop("culture", None)

    model.always["stage1"] = Answer(edit=without_culture)
    model.always["dialogue"] = Answer(delay_seconds=30)
    async with trio(monkeypatch, model, SHORT) as running:
        lesson, _ = await running.generate()
        counted = Scrape(await running.metrics())
    assert lesson.outcome is Outcome.PARTIAL
    ended = "nidan_section_enhancements_total"
    assert counted.total(ended, section="culture", state="missing") == 1
    assert counted.total(ended, section="dialogue", state="enhanced") == 0
    assert counted.total(ended, section="dialogue") == 1
    assert counted.value("nidan_section_duration_seconds_count", section="dialogue") == 1
    assert counted.value("nidan_section_duration_seconds_count", section="culture") == 0
    for section in ("frame", "reading", "grammar", "practice", "lesson_plan"):
        assert counted.total(ended, section=section, state="enhanced") == 1
    assert counted.total("nidan_stage1_total") == 1


async def test_a_lesson_that_there_is_no_room_for_counts_as_rejected(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(delay_seconds=1)
    async with trio(monkeypatch, model, {"LESSONS_LIMIT": "1"}) as running:
        first = asyncio.create_task(running.generate())
        await until(lambda: bool(model.calls))
        await running.refused()
        await first
        counted = Scrape(await running.metrics())
    assert counted.value("nidan_lessons_total", outcome="rejected", source="generated") == 1
    assert counted.value("nidan_shed_total", service="gateway") == 1


async def test_running_model_calls_are_counted_streamed_or_not(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["frame"] = Answer(delay_seconds=1)
    model.script["stage1"] = [Answer(delay_seconds=1)]
    async with trio(monkeypatch, model) as running:
        making = asyncio.create_task(running.generate())
        await until(lambda: bool(model.asked("stage1")))
        writing = Scrape(await running.metrics(running.content))
        await until(lambda: bool(model.asked("frame")))
        reading = Scrape(await running.metrics(running.enhancer))
        await making
    assert writing.value("nidan_model_pool_in_use") == 1
    assert (reading.value("nidan_model_pool_in_use") or 0) >= 1
