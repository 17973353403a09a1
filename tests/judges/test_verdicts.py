"""What a judge that we did not write thinks of us: llmock breaks in every way it knows, and finds no fault with us.

llmock takes a request that is sent again with the same body after a failure for one more attempt at the same call, and
judges what the caller did between them. One stage is before it at a time; the other's model server is well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from lesson.models import AttemptOutcome, Lesson, Outcome, ReadingProvenance, SectionName, Stage
from tests.judges.judge import Judge, broken_stream, delay, fail, reply, slow_first_token
from tests.model_server import ModelServer
from tests.trio import Trio, trio

pytestmark = pytest.mark.judges

# Models of no known end and price: nothing here depends on the day.
STAGE_1 = {
    "CANDO_AI_STAGE1_MODEL": "judged-a",
    "CANDO_AI_STAGE1_FALLBACK_MODELS": "judged-b",
    "AI_STAGE1_FIRST_TOKEN_SECONDS": "1",
    "AI_STREAM_STALL_SECONDS": "0.5",
}
STAGE_2 = {
    "CANDO_AI_STAGE2_MODEL": "judged-a",
    "CANDO_AI_STAGE2_FALLBACK_MODELS": "judged-b",
    "AI_STAGE2_TIMEOUT_SECONDS": "1.5",
}
ONLY_STAGE_1 = STAGE_1 | {"CANDO_AI_STAGE2_PROVIDER": "offline"}
ONLY_STAGE_2 = STAGE_2 | {"CANDO_AI_STAGE1_PROVIDER": "offline"}

SECTIONS_WITH_ITEMS = 6
"""All but the plan: so many calls does Stage 2 make for JF:349."""

_ITEMS = [{"id": str(number), "translation": "A sentence."} for number in range(1, 81)]
TRANSLATIONS = json.dumps({"items": _ITEMS, "corrections": [], "unsure": []})
"""An answer for any section: an id that names no item is left out."""

Judged = Callable[[dict[str, str]], AbstractAsyncContextManager[Trio]]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, judge: Judge, model: ModelServer) -> Judged:
    """Starts the trio: its provider openai is llmock, its provider offline the server that is well."""
    servers = {"OPENAI_BASE_URL": judge.url, "OFFLINE_MODEL_URL": model.url, "LOG_LEVEL": "error"}
    return lambda env: trio(monkeypatch, model, servers | env)


def outcomes(lesson: Lesson, stage: Stage) -> list[AttemptOutcome]:
    return [attempt.outcome for attempt in lesson.attempts if attempt.stage is stage]


def named(fault: dict[str, Any]) -> str:
    return "-".join(str(fault[key]) for key in ("status", "retry_after", "kind", "after_chunks") if key in fault)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (fail(429, retry_after=1.2), AttemptOutcome.RATE_LIMITED),
        (fail(429), AttemptOutcome.RATE_LIMITED),
        (fail(503, retry_after=1.2), AttemptOutcome.SERVER_ERROR),
        (fail(503), AttemptOutcome.SERVER_ERROR),
        (fail(500), AttemptOutcome.SERVER_ERROR),
        (fail(529), AttemptOutcome.SERVER_ERROR),
        (broken_stream("disconnect", 1), AttemptOutcome.CONNECTION),  # nothing of the answer had come
        (broken_stream("disconnect", 8), AttemptOutcome.BROKEN_STREAM),
        (broken_stream("truncate", 1), AttemptOutcome.BROKEN_STREAM),
        (broken_stream("truncate", 8), AttemptOutcome.BROKEN_STREAM),
        (broken_stream("malformed", 1), AttemptOutcome.BROKEN_STREAM),
        (broken_stream("malformed", 8), AttemptOutcome.BROKEN_STREAM),
        (broken_stream("stall", 8, stall_seconds=20), AttemptOutcome.STALLED),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else None,
)
async def test_a_fault_of_the_way_costs_one_more_attempt_of_the_same_request(
    judged: Judged, model: ModelServer, judge: Judge, fault: dict[str, Any], outcome: AttemptOutcome
) -> None:
    await judge.will(fault, reply(model.good_stage1_text()))
    async with judged(ONLY_STAGE_1) as running:
        lesson, _ = await running.generate()

    assert outcomes(lesson, Stage.STAGE1) == [outcome, AttemptOutcome.OK]
    assert lesson.outcome is Outcome.COMPLETE
    assert await judge.findings() == []
    first, again = await judge.requests()
    assert (first.model, again.model) == ("judged-a", "judged-a")
    assert first.fingerprint == again.fingerprint
    assert first.fault
    assert not again.fault
    assert again.started_at - first.ended_at >= fault.get("retry_after", 0)


async def test_an_outage_ends_in_a_refusal_after_two_attempts_with_each_model(judged: Judged, judge: Judge) -> None:
    await judge.will(fail(503, times=None))
    async with judged(ONLY_STAGE_1) as running:
        refused = await running.refused()

    assert refused.retryable
    assert refused.stage == "stage1"
    assert await judge.findings() == []
    assert [request.model for request in await judge.requests()] == ["judged-a", "judged-a", "judged-b", "judged-b"]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (fail(400, code="context_length_exceeded"), AttemptOutcome.BAD_REQUEST),
        (fail(401), AttemptOutcome.AUTH),
        (fail(403), AttemptOutcome.AUTH),
        (fail(404, code="model_not_found"), AttemptOutcome.UNKNOWN_MODEL),
        (fail(422), AttemptOutcome.BAD_REQUEST),
        (slow_first_token(20), AttemptOutcome.FIRST_TOKEN_TIMEOUT),
    ],
    ids=["400", "401", "403", "404", "422", "slow_first_token"],
)
async def test_what_the_same_model_would_only_say_again_is_asked_of_the_next(
    judged: Judged, model: ModelServer, judge: Judge, fault: dict[str, Any], outcome: AttemptOutcome
) -> None:
    await judge.will(fault, reply(model.good_stage1_text()))
    async with judged(ONLY_STAGE_1) as running:
        lesson, _ = await running.generate()

    assert outcomes(lesson, Stage.STAGE1) == [outcome, AttemptOutcome.OK]
    assert lesson.outcome is Outcome.COMPLETE
    assert await judge.findings() == []
    first, second = await judge.requests()
    assert (first.model, second.model) == ("judged-a", "judged-b")
    assert first.ended_at - first.started_at < 10, "nobody hung up"


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (fail(429, times=SECTIONS_WITH_ITEMS, retry_after=1.2), AttemptOutcome.RATE_LIMITED),
        (fail(503, times=SECTIONS_WITH_ITEMS), AttemptOutcome.SERVER_ERROR),
    ],
    ids=["429", "503"],
)
async def test_every_section_waits_as_it_is_told_and_is_asked_again(
    judged: Judged, judge: Judge, fault: dict[str, Any], outcome: AttemptOutcome
) -> None:
    await judge.will(fault, reply(TRANSLATIONS))
    async with judged(ONLY_STAGE_2) as running:
        lesson, _ = await running.generate()

    assert sorted(outcomes(lesson, Stage.STAGE2)) == sorted(SECTIONS_WITH_ITEMS * [outcome, AttemptOutcome.OK])
    assert lesson.outcome is Outcome.COMPLETE
    assert await judge.findings() == []
    requests = sorted(await judge.requests(), key=lambda request: (request.fingerprint, request.started_at))
    # A section that is written meanwhile waits with the others and is asked once; another may meet two of the six.
    assert len(requests) == 2 * SECTIONS_WITH_ITEMS
    again = [(one, two) for one, two in pairwise(requests) if one.fingerprint == two.fingerprint]
    assert len(again) >= SECTIONS_WITH_ITEMS / 2
    for one, two in again:
        assert two.started_at - one.ended_at >= fault.get("retry_after", 0)


async def test_an_outage_of_stage_2_leaves_a_lesson_without_translations(judged: Judged, judge: Judge) -> None:
    await judge.will(fail(503, times=None))
    async with judged(ONLY_STAGE_2) as running:
        lesson, _ = await running.generate()

    assert lesson.outcome is Outcome.PARTIAL
    texts = [text for section in lesson.sections for text in section.texts]
    assert all(text.translation is None for text in texts)
    assert all(text.reading_provenance is not ReadingProvenance.NONE for text in texts)
    assert set(outcomes(lesson, Stage.STAGE2)) == {AttemptOutcome.SERVER_ERROR}
    assert await judge.findings() == []
    assert len(await judge.requests()) == len(outcomes(lesson, Stage.STAGE2))
    for name in SectionName:
        assert len([attempt for attempt in lesson.attempts if attempt.section is name]) <= 5


async def test_a_section_without_an_answer_in_time_is_asked_of_the_next_model(judged: Judged, judge: Judge) -> None:
    await judge.will(delay(5), reply(TRANSLATIONS))
    async with judged(ONLY_STAGE_2) as running:
        lesson, _ = await running.generate()

    (late,) = [attempt for attempt in lesson.attempts if attempt.outcome is AttemptOutcome.TIMEOUT]
    mine = [(attempt.model, attempt.outcome) for attempt in lesson.attempts if attempt.section is late.section]
    assert mine == [("judged-a", AttemptOutcome.TIMEOUT), ("judged-b", AttemptOutcome.OK)]
    assert lesson.outcome is Outcome.COMPLETE
    assert await judge.findings() == []


async def test_a_bad_quarter_of_an_hour_for_both_stages_costs_attempts_and_nothing_else(
    judged: Judged, model: ModelServer, judge: Judge
) -> None:
    await judge.will(
        fail(503, streamed=True),
        broken_stream("truncate", 8),
        fail(429, times=4, retry_after=1.2, streamed=False),
        fail(500, times=2, streamed=False),
        reply(model.good_stage1_text(), streamed=True),
        reply(TRANSLATIONS, streamed=False),
    )
    async with judged(STAGE_1 | STAGE_2) as running:
        lesson, _ = await running.generate()

    assert lesson.outcome is Outcome.COMPLETE
    stage_1 = [AttemptOutcome.SERVER_ERROR, AttemptOutcome.BROKEN_STREAM, AttemptOutcome.OK]
    assert outcomes(lesson, Stage.STAGE1) == stage_1
    assert outcomes(lesson, Stage.STAGE2).count(AttemptOutcome.OK) == SECTIONS_WITH_ITEMS
    assert await judge.findings() == []
    requests = await judge.requests()
    assert len(requests) == len(lesson.attempts)
    assert len([request for request in requests if request.fault]) == 8
    assert not model.calls


async def test_the_judge_finds_fault_with_a_caller_who_does_all_that_wrong(judge: Judge) -> None:
    async def ask(prompt: str, *, times: int) -> None:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": prompt}]}
        async with aiohttp.ClientSession() as session:
            for _ in range(times):
                with suppress(aiohttp.ClientPayloadError):
                    async with session.post(f"{judge.url}/chat/completions", json=body) as response:
                        await response.read()

    wrongs = {
        "retry_after_ignored": (fail(429, retry_after=5), 2),
        "retried_non_retryable": (fail(400), 2),
        "retry_storm": (fail(503, times=11, retry_after=0), 12),
        "no_backoff": (broken_stream("disconnect", 2, times=3), 4),
        "truncated_stream_accepted": (broken_stream("truncate", 2), 1),
        "malformed_chunk_ignored": (broken_stream("malformed", 2), 1),
        "no_read_timeout": (broken_stream("stall", 2, stall_seconds=1.1), 1),
        "gave_up": (fail(503), 1),
    }
    for wrong, (fault, times) in wrongs.items():
        await judge.reset()
        await judge.will(fault)
        await ask(wrong, times=times)
        assert [finding.partition(":")[0] for finding in await judge.findings()] == [wrong]
