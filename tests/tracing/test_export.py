"""Traces never cost a lesson: when off they do nothing, and no lesson waits for a missing collector."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time

import pytest

from content_service.settings import ContentSettings
from lesson.models import Outcome
from servicekit.otlp import Tracer
from servicekit.settings import SettingsError, load
from servicekit.tracing import tracing
from tests.model_server import ModelServer
from tests.tracing.collector import Collector
from tests.trio import trio, until

BUILD = """
import asyncio, sys
import content_service.__main__, enhancer_service.__main__, gateway.service
from content_service.settings import ContentSettings
from enhancer_service.settings import EnhancerSettings
from gateway.settings import GatewaySettings

def loaded():
    return sorted(name for name in sys.modules if name.startswith("opentelemetry"))[:1]

async def main():
    await content_service.__main__.build(ContentSettings())
    await gateway.service.build(GatewaySettings())
    await enhancer_service.__main__.build(EnhancerSettings())
    print(loaded())
    await content_service.__main__.build(ContentSettings(otel_exporter_otlp_endpoint="http://127.0.0.1:1"))
    print(loaded())

asyncio.run(main())
"""


def test_the_library_is_imported_only_when_traces_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDO_AI_STAGE1_PROVIDER", "offline")
    monkeypatch.setenv("CANDO_AI_STAGE2_PROVIDER", "offline")
    run = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, check=False, timeout=300)
    assert run.stdout.splitlines()[-2:] == ["[]", "['opentelemetry']"], run.stderr


async def test_without_an_endpoint_nothing_is_sent_and_no_log_line_names_a_trace(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trio(monkeypatch, model, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert not taken.exports
    logged = capsys.readouterr().out
    assert "twostage_generation_completed" in logged
    assert "trace_id" not in logged


async def test_lessons_need_no_collector_and_each_service_logs_its_loss_once(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trio(monkeypatch, model, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    logged = [line for line in capsys.readouterr().out.splitlines() if "traces_not_exported" in line]
    assert len(logged) == 3
    for service in ("gateway", "content_service", "enhancer_service"):
        assert sum(f"service={service}" in line for line in logged) == 1


async def test_lessons_do_not_wait_for_a_collector_that_is_slow(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    taken.ready.clear()
    async with trio(monkeypatch, model) as running:
        await running.generate()
        await until(lambda: bool(taken.waiting), 60)  # a service is in the middle of an export
        lesson, _ = await running.generate()
        assert lesson.outcome is Outcome.COMPLETE
        assert taken.waiting
        assert not taken.spans
        taken.ready.set()
    assert lesson.lesson_id in {span.attributes.get("nidan.lesson_id") for span in taken.named("lesson")}


async def test_a_silent_collector_does_not_delay_the_end() -> None:
    # The kernel accepts the connections, and no process reads from them.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracer = Tracer("gateway", f"http://127.0.0.1:{silent.getsockname()[1]}", 1.0, with_text=False)
        for _ in range(3000):
            tracer.begin("lesson", "internal", {}, {}).end()
        began = time.monotonic()
        await tracer.close()
        took = time.monotonic() - began
    assert 2 < took < 20  # the library itself would wait for 30


async def test_a_failing_collector_is_logged_once_until_it_recovers(
    taken: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    tracer = Tracer("gateway", taken.endpoint, 1.0, with_text=True)
    for refuse in (True, True, False, False, True):
        taken.refuse = refuse
        before = taken.exports
        for _ in range(32):  # a full batch is sent at once
            tracer.begin("lesson", "internal", {}, {}).end()
        async with asyncio.timeout(60):
            while taken.exports == before:  # noqa: ASYNC110 - a real collector is asked
                await asyncio.sleep(0.01)
    await tracer.close()
    logged = [line for line in capsys.readouterr().out.splitlines() if "traces_" in line]
    assert ["not_exported" in line for line in logged] == [True, False, True]
    assert len(taken.spans) == 64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317/v1/traces"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load(ContentSettings)


def test_variables_of_the_exporter_are_checked_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    with pytest.raises(SettingsError, match="OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"):
        tracing("content_service", load(ContentSettings))
