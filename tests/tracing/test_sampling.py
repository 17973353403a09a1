"""The caller decides whether its lesson is traced; without a decision the configured share applies."""

from __future__ import annotations

import pytest

from tests.model_server import ModelServer
from tests.services.processes import REQUEST
from tests.tracing.collector import Collector
from tests.trio import Trio, trio

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def generate(running: Trio, flags: str) -> None:
    parent = (("traceparent", f"00-{TRACE}-{SPAN}-{flags}"),)
    await running.stub.GenerateLesson(REQUEST, timeout=20, metadata=parent)


async def test_none_is_traced_with_a_share_of_none(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trio(monkeypatch, model, {"OTEL_TRACES_SAMPLER_ARG": "0"}) as running:
        await running.generate()
    assert not taken.exports
    assert "trace_id" not in capsys.readouterr().out


async def test_a_caller_that_samples_has_its_lesson_traced_as_a_part_of_its_own_trace(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    async with trio(monkeypatch, model, {"OTEL_TRACES_SAMPLER_ARG": "0"}) as running:
        await generate(running, "01")
    assert {span.trace_id for span in taken.spans} == {TRACE}
    assert taken.only("lesson.v1.LessonService/GenerateLesson").parent_id == SPAN
    assert {span.service for span in taken.spans} == {"gateway", "content_service", "enhancer_service"}


async def test_every_service_respects_a_caller_that_does_not_sample(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    # If the gateway did not pass the decision on, the stages would begin traces of their own.
    async with trio(monkeypatch, model, {"OTEL_TRACES_SAMPLER_ARG": "1"}) as running:
        await generate(running, "00")
    assert not taken.exports


async def test_an_unreadable_trace_header_is_ignored(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    headers = ("", "nonsense", "00-0-0-01", "ff-" + "f" * 500)
    async with trio(monkeypatch, model) as running:
        for header in headers:
            await running.stub.GenerateLesson(REQUEST, timeout=20, metadata=(("traceparent", header),))
    tops = taken.named("lesson.v1.LessonService/GenerateLesson")
    assert [top.parent_id for top in tops] == [""] * len(headers)
    assert len({top.trace_id for top in tops} - {TRACE}) == len(headers)
