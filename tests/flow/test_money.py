"""Money, retired models and breakers through the wire: no limit is exceeded, and the lesson says why."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest

from gateway.attempts.breaker import FAILURES_TO_OPEN
from lesson.models import AttemptKind, AttemptOutcome, Outcome, ReadingProvenance, SectionName, SectionState, Stage
from tests.model_server import Answer, ModelServer
from tests.trio import trio

DOWN = Answer(status=503, error={"message": "down"})
STAGE1_USD = (5000 * 1.25 + 8000 * 10) / 1e6
WITHOUT_GPT_5 = datetime(2026, 12, 20, tzinfo=UTC)
FAR = datetime(2027, 6, 1, tzinfo=UTC)


async def test_the_default_limit_at_list_prices_allows_the_first_models(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"LESSON_COST_LIMIT_USD": ""}) as running:
        lesson, _ = await running.generate()
        metrics = await running.metrics()
    assert lesson.outcome is Outcome.COMPLETE
    assert {call.body["model"] for call in model.calls} == {"gpt-5", "gpt-4.1"}
    (stage1,) = model.asked("stage1")
    assert 7500 < stage1.body["max_completion_tokens"] <= 8000
    assert 'nidan_budget_refusals_total{scope="lesson"} 0.0' in metrics


async def test_a_day_without_room_for_stage_1_refuses_the_lesson_before_anything_is_spent(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"DAILY_COST_LIMIT_USD": "0.05"}) as running:
        error = await running.refused()
        metrics = await running.metrics()
    assert error.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (error.reason, error.retryable) == ("BUDGET_EXCEEDED", False)
    assert [violation.field for violation in error.violations] == ["DAILY_COST_LIMIT_USD"]
    assert not model.calls
    assert 'nidan_budget_refusals_total{scope="day"} 1.0' in metrics


async def test_a_model_that_does_not_fit_any_more_is_passed_over_for_a_cheaper_one(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    settings = {
        "CANDO_AI_STAGE2_MODEL": "gpt-4.1",
        "CANDO_AI_STAGE2_FALLBACK_MODELS": "gpt-4o-mini,gpt-6-luna",
        "DAILY_COST_LIMIT_USD": str(STAGE1_USD + 0.012),
    }
    async with trio(monkeypatch, model, settings) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    stage2 = {call.body["model"] for call in model.calls if call.key != "stage1"}
    assert stage2 <= {"gpt-4o-mini", "gpt-6-luna", "gpt-4.1"}
    assert stage2 & {"gpt-4o-mini", "gpt-6-luna"}


async def test_without_money_for_stage_2_the_analyser_reads_and_the_lesson_says_why(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    # While Stage 1 writes, all is reserved for it.
    model.always["stage1"] = Answer(chunk_delay_seconds=0.0005)
    async with trio(monkeypatch, model, {"DAILY_COST_LIMIT_USD": str(STAGE1_USD + 0.00001)}) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.PARTIAL
    frame = next(section for section in lesson.sections if section.name is SectionName.FRAME)
    assert frame.state is SectionState.PLAIN
    assert "the day's cost limit leaves no model" in frame.reason
    assert all(text.reading_provenance is not ReadingProvenance.NONE for text in frame.texts)


async def test_what_the_attempts_cost_is_what_the_lesson_says_and_the_metrics_count(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        lesson, master = await running.generate()
        metrics = await running.metrics()
    counted = [line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("nidan_model_cost_usd_total{")]
    assert lesson.cost_usd == pytest.approx(sum(float(value) for _, value in counted))
    assert master["metadata"]["costUsd"] == pytest.approx(lesson.cost_usd, abs=1e-6)


# --- ended models -----------------------------------------------------------------------------------------------------


async def test_models_past_their_end_are_skipped_without_a_call_and_the_lesson_says_so(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, now=lambda: FAR) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert {call.body["model"] for call in model.asked("stage1")} == {"gpt-6.1-sol"}
    assert {call.body["model"] for call in model.calls if call.key != "stage1"} == {"gpt-6-luna"}
    assert "gpt-5 ended on 2026-12-11; its provider names gpt-6.1-sol; it was not asked" in map(str, lesson.notes)


async def test_a_chain_without_a_living_model_is_refused_before_any_call(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    chain = {"CANDO_AI_STAGE1_FALLBACK_MODELS": "gpt-5"}
    async with trio(monkeypatch, model, chain, now=lambda: FAR) as running:
        error = await running.refused()
    assert (error.status, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STAGE1_RETIRED")
    assert "gpt-5 ended on 2026-12-11; its provider names gpt-6.1-sol" in error.message
    assert not model.calls


async def test_with_stage_2_ended_whole_the_lesson_has_the_analysers_readings(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    chain = {"CANDO_AI_STAGE2_MODEL": "gpt-4.1", "CANDO_AI_STAGE2_FALLBACK_MODELS": "gpt-4o-mini"}
    async with trio(monkeypatch, model, chain, now=lambda: FAR) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.PARTIAL
    assert {call.key for call in model.calls} == {"stage1"}
    reading = next(section for section in lesson.sections if section.name is SectionName.READING)
    assert "gpt-4.1 ended on 2027-01-14" in reading.reason
    assert all(text.romaji for text in reading.texts)


async def test_the_ends_that_a_provider_lists_count_from_the_next_lesson_on(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.listed = [{"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "x", "shutdown_date": "2026-12-15"}]
    async with trio(monkeypatch, model, now=lambda: WITHOUT_GPT_5) as running:
        made = []
        for _ in range(10):
            await running.generate()
            made.append(model.asked("stage1")[-1].body["model"])
            if made[-1] == "gpt-6.1-sol":
                break
        metrics = await running.metrics()
    assert made[0] == "gpt-4o"
    assert made[-1] == "gpt-6.1-sol"
    assert 'nidan_model_shutdown_timestamp_seconds{model="gpt-4o"} 1.7972928' in metrics


# --- breakers ---------------------------------------------------------------------------------------------------------


async def test_a_model_that_keeps_failing_is_held_back_in_the_lessons_after(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        model.script["stage1"] = []
        for _ in range(FAILURES_TO_OPEN // 2):
            model.script["stage1"] = [DOWN, DOWN]
            lesson, _ = await running.generate()
            assert lesson.outcome is Outcome.COMPLETE
        opened = await running.metrics()
        model.calls.clear()
        lesson, _ = await running.generate()
    assert 'nidan_breaker_open{model="gpt-5"} 1.0' in opened
    assert {call.body["model"] for call in model.asked("stage1")} == {"gpt-4o"}
    kinds = [attempt.kind for attempt in lesson.attempts if attempt.stage is Stage.STAGE1]
    assert kinds == [AttemptKind.FALLBACK]


@pytest.mark.parametrize("headers", [{"retry-after-ms": "300"}, {"retry-after": "0.3"}])
async def test_a_wait_that_the_provider_asks_for_is_kept(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, headers: dict[str, str]
) -> None:
    model.script["stage1"] = [Answer(status=429, error={"message": "slow down"}, headers=headers)]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert lesson.attempts[0].outcome is AttemptOutcome.RATE_LIMITED
    assert lesson.stage1_seconds >= 0.3


async def test_a_wait_beyond_the_deadline_goes_to_the_next_model(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(status=429, error={"message": "slow down"}, headers={"retry-after": "900"})]
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert [call.body["model"] for call in model.asked("stage1")] == ["gpt-5", "gpt-4o"]
    assert lesson.stage1_seconds < 5
