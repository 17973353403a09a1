"""Overload: a full stage sheds a call before any work, and no lesson pays for it."""

from __future__ import annotations

import asyncio
import re

import grpc
import pytest

import enhancer_service.__main__ as enhancer_main
from enhancer_service.settings import EnhancerSettings
from lesson.models import Outcome, ReadingProvenance, Stage
from lesson.v1 import content_service_pb2 as pb
from servicekit.errors import OverloadedError
from servicekit.server import serving
from servicekit.settings import load
from tests.flow.scripted import content_service, finished, whole
from tests.model_server import Answer, ModelServer
from tests.trio import Trio, analyser, port_of_its_own, trio, until


def shed(metrics: str) -> float:
    found = re.search(r"^nidan_shed_total{.*} (\S+)$", metrics, re.MULTILINE)
    assert found
    return float(found[1])


async def test_sections_that_a_full_enhancer_sheds_get_their_turn_and_it_is_no_attempt(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["frame"] = Answer(delay_seconds=0.5)  # the first section, so that the others meet a full enhancer
    async with trio(monkeypatch, model, {"ENHANCER_CALLS_LIMIT": "1"}) as running:
        lesson, _ = await running.generate()
        refused = shed(await running.metrics(running.enhancer))

    assert lesson.outcome is Outcome.COMPLETE
    assert refused >= 1
    assert len(lesson.attempts) == len(model.calls) == 7


async def test_a_lesson_that_a_full_content_service_sheds_is_written_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(delay_seconds=0.5)]
    async with trio(monkeypatch, model, {"CONTENT_CALLS_LIMIT": "1"}) as running:
        lessons = await asyncio.gather(running.generate(), running.generate())
        refused = shed(await running.metrics(running.content))

    assert refused >= 1
    for lesson, _ in lessons:
        assert lesson.outcome is Outcome.COMPLETE
        assert len([attempt for attempt in lesson.attempts if attempt.stage is Stage.STAGE1]) == 1


async def test_a_call_that_one_replica_sheds_goes_to_the_next_at_once(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    content = await whole(monkeypatch, model)
    full: list[str] = []

    def never(request: pb.GenerateContentRequest) -> list[pb.GenerateContentResponse]:
        full.append(request.attempt_id)
        raise OverloadedError("full", retry_after_seconds=20.0)

    async with (
        content_service(never) as one,
        content_service(never) as two,
        content_service(lambda request: [finished(request, content)]) as three,
        trio(monkeypatch, model, {"CONTENT_ADDRESS": f"ipv4:{one},{two},{three}"}) as running,
    ):
        for _ in range(3):
            lesson, _ = await running.generate()
            assert lesson.outcome is Outcome.COMPLETE
            assert lesson.duration_seconds < 10
    assert full


async def test_a_lesson_that_every_replica_sheds_costs_nothing_and_names_a_retry_delay(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    def never(_request: pb.GenerateContentRequest) -> list[pb.GenerateContentResponse]:
        raise OverloadedError("full", retry_after_seconds=7.0)

    async with content_service(never) as address, trio(monkeypatch, model, {"CONTENT_ADDRESS": address}) as running:
        error = await running.refused(timeout_seconds=5)
        cost = await spent(running)

    assert (error.status, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STAGE1_SHED")
    assert (error.retry_after_seconds, error.retryable) == (7.0, True)
    assert cost == 0.0
    assert not model.calls


async def spent(running: Trio) -> float:
    text = await running.metrics()
    return sum(float(usd) for usd in re.findall(r"^nidan_model_cost_usd_total{.*} (\S+)", text, re.MULTILINE))


async def test_an_enhancer_that_comes_late_still_gives_every_reading(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    """With no model to ask, the readings are all there is to get: the call is made once more when it can be."""
    port = port_of_its_own()
    env = {"CANDO_AI_STAGE2_PROVIDER": "none", "ENHANCER_ADDRESS": f"127.0.0.1:{port}"}
    async with trio(monkeypatch, model, env) as running:
        making = asyncio.create_task(running.generate())
        await until(lambda: bool(model.calls))
        await asyncio.sleep(0.5)
        monkeypatch.setenv("ENHANCER_PORT", str(port))
        async with serving(await enhancer_main.build(load(EnhancerSettings), analyser())):
            lesson, _ = await making

    assert lesson.outcome is Outcome.PARTIAL
    texts = [text for section in lesson.sections for text in section.texts]
    assert {text.reading_provenance for text in texts} == {ReadingProvenance.ANALYSER, ReadingProvenance.FRAME}
    assert [attempt.stage for attempt in lesson.attempts] == [Stage.STAGE1]
