"""Each setting, by its documented name, changes what goes over the wire."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import content_service.__main__ as content_main
from content_service.settings import ContentSettings
from enhancer_service.settings import EnhancerSettings
from gateway.settings import GatewaySettings
from lesson.models import AttemptOutcome, Outcome, ReadingProvenance, SectionName, Stage
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.server import serving
from servicekit.settings import SettingsError, load
from tests.model_server import Answer, ModelServer
from tests.trio import FREE_PORTS, trio, until


async def stage1_body(monkeypatch: Any, model: ModelServer, env: dict[str, str], **fields: Any) -> dict[str, Any]:
    async with trio(monkeypatch, model, env) as running:
        await running.generate(**fields)
    return model.asked("stage1")[0].body


async def test_cando_ai_stage1_model_is_the_model_asked(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    body = await stage1_body(monkeypatch, model, {"CANDO_AI_STAGE1_MODEL": "gpt-4o"})
    assert body["model"] == "gpt-4o"


async def test_the_default_stage_1_model_is_gpt_5(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    assert (await stage1_body(monkeypatch, model, {}))["model"] == "gpt-5"


async def test_cando_ai_stage1_fallback_models_are_what_a_caller_may_ask_for(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    env = {"CANDO_AI_STAGE1_FALLBACK_MODELS": "model-a, model-b"}
    async with trio(monkeypatch, model, env) as running:
        await running.generate(model="model-b")
        refused = await running.refused(model="gpt-4o")
    assert model.asked("stage1")[0].body["model"] == "model-b"
    assert refused.violations[0].field == "spec.model"


async def test_cando_ai_stage2_model_is_the_model_asked(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    async with trio(monkeypatch, model, {"CANDO_AI_STAGE2_MODEL": "gpt-4o"}) as running:
        await running.generate()
    assert {call.body["model"] for call in model.calls if call.key != "stage1"} == {"gpt-4o"}


async def test_cando_ai_stage2_fallback_models_are_told_in_their_order(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"CANDO_AI_STAGE2_FALLBACK_MODELS": "x,y,gpt-4.1"}) as running:
        request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
        call = running.stub.StreamLesson(request, timeout=10)
        async for event in call:
            assert event.accepted.stage2_models == ["gpt-4.1", "x", "y"]
            break
        call.cancel()


async def test_cando_ai_stage2_provider_none_leaves_the_analyser_alone(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"CANDO_AI_STAGE2_PROVIDER": "none"}) as running:
        lesson, _ = await running.generate()
    assert [call.key for call in model.calls] == ["stage1"]
    assert lesson.outcome is Outcome.PARTIAL
    read = {text.reading_provenance for section in lesson.sections for text in section.texts}
    assert read == {ReadingProvenance.ANALYSER, ReadingProvenance.FRAME}


async def test_cando_ai_stage1_provider_offline_asks_the_offline_models_address(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    env = {
        "CANDO_AI_STAGE1_PROVIDER": "offline",
        "CANDO_AI_STAGE2_PROVIDER": "offline",
        "OFFLINE_MODEL_URL": model.url,
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "OPENAI_API_KEY": "",
    }
    async with trio(monkeypatch, model, env) as running:
        lesson, master = await running.generate()
    assert {call.body["model"] for call in model.calls} == {"nidan-offline"}
    assert lesson.sample
    assert master["metadata"]["sampleNote"] == "built-in lesson, not reviewed by a teacher"
    assert master["metadata"]["costUsd"] == 0


async def test_ai_stage1_timeout_seconds_bounds_the_attempt(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(delay_seconds=5)
    async with trio(monkeypatch, model, {"AI_STAGE1_TIMEOUT_SECONDS": "0.2"}) as running:
        refused = await running.refused()
    assert "no end within 0.2 s" in refused.message


async def test_ai_stage1_first_token_seconds_bounds_the_wait_for_text(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(delay_seconds=5)]
    async with trio(monkeypatch, model, {"AI_STAGE1_FIRST_TOKEN_SECONDS": "0.3"}) as running:
        lesson, _ = await running.generate()
    assert lesson.attempts[0].outcome is AttemptOutcome.FIRST_TOKEN_TIMEOUT
    assert lesson.attempts[0].reason == "no text within 0.3 s"
    assert lesson.outcome is Outcome.COMPLETE


async def test_ai_stream_stall_seconds_bounds_a_silence_and_keeps_what_was_confirmed(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["stage1"] = [Answer(stall_after=6000)]
    async with trio(monkeypatch, model, {"AI_STREAM_STALL_SECONDS": "0.4"}) as running:
        lesson, _ = await running.generate()
    first, again = model.asked("stage1")
    assert lesson.attempts[0].outcome is AttemptOutcome.STALLED
    assert lesson.outcome is Outcome.COMPLETE
    assert list(again.data["confirmed"]) == first.data["sections"][: -len(again.data["sections"])]
    assert again.data["confirmed"]


async def test_ai_stage2_timeout_seconds_bounds_each_section(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["reading"] = Answer(delay_seconds=5)
    async with trio(monkeypatch, model, {"AI_STAGE2_TIMEOUT_SECONDS": "0.2"}) as running:
        lesson, _ = await running.generate()
    reading = next(section for section in lesson.sections if section.name is SectionName.READING)
    assert "no end within 0.2 s" in reading.reason


async def test_ai_stage1_reasoning_effort_goes_to_models_that_take_one(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    body = await stage1_body(monkeypatch, model, {"AI_STAGE1_REASONING_EFFORT": "high"})
    assert body["reasoning_effort"] == "high"


async def test_ai_stage1_reasoning_effort_stays_away_from_models_that_take_none(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    body = await stage1_body(monkeypatch, model, {"CANDO_AI_STAGE1_MODEL": "gpt-4o"})
    assert "reasoning_effort" not in body


async def test_ai_stage2_reasoning_effort_goes_to_models_that_take_one(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["culture"] = [Answer(text="", refusal="no")]
    async with trio(
        monkeypatch, model, {"CANDO_AI_STAGE2_MODEL": "gpt-6-luna", "AI_STAGE2_REASONING_EFFORT": "none"}
    ) as running:
        await running.generate()
    sent = [(call.body["model"], call.body.get("reasoning_effort")) for call in model.calls if call.key != "stage1"]
    assert set(sent) == {("gpt-6-luna", "none"), ("gpt-4o-mini", None)}


async def test_an_effort_that_the_model_does_not_take_is_sent_as_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"CANDO_AI_STAGE1_MODEL": "gpt-6.1-sol", "AI_STAGE1_REASONING_EFFORT": "minimal"}
    assert (await stage1_body(monkeypatch, model, env))["reasoning_effort"] == "low"
    assert capsys.readouterr().out.count("reasoning_effort_adapted") == 1


async def test_ai_service_tier_flex_halves_the_price_of_the_models_that_have_it(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"AI_SERVICE_TIER": "flex"}) as running:
        lesson, _ = await running.generate()
    (stage1,) = model.asked("stage1")
    assert stage1.body["service_tier"] == "flex"
    assert all("service_tier" not in call.body for call in model.calls if call.key != "stage1")
    costs = {attempt.model: attempt.cost_usd for attempt in lesson.attempts if attempt.model}
    # 1,000 tokens in and 500 out: gpt-5 at half its price, gpt-4.1 at its whole one.
    assert costs["gpt-5"] == pytest.approx((1000 * 1.25 + 500 * 10) / 2 / 1e6)
    assert costs["gpt-4.1"] == pytest.approx((1000 * 2 + 500 * 8) / 1e6)


async def test_a_full_flex_tier_is_passed_by_in_the_same_attempt(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    model.script["stage1"] = [Answer(status=429, error={"message": "busy", "code": "resource_unavailable"})]
    async with trio(monkeypatch, model, {"AI_SERVICE_TIER": "flex"}) as running:
        lesson, _ = await running.generate()
    assert [call.body.get("service_tier") for call in model.asked("stage1")] == ["flex", None]
    (attempt,) = (attempt for attempt in lesson.attempts if attempt.stage is Stage.STAGE1)
    assert attempt.cost_usd == pytest.approx((1000 * 1.25 + 500 * 10) / 1e6)
    assert "unavailable_tier=flex" in capsys.readouterr().out


async def test_stage_2_reasons_little_and_its_output_limit_leaves_room_for_it(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.script["culture"] = [Answer(text="", refusal="no")]
    async with trio(monkeypatch, model, {"CANDO_AI_STAGE2_MODEL": "gpt-6-luna"}) as running:
        await running.generate()
    reasons, does_not = model.asked("culture")
    assert reasons.body["reasoning_effort"] == "low"
    assert reasons.body["max_completion_tokens"] == does_not.body["max_completion_tokens"] + 2000


async def test_ai_stage1_max_output_tokens_is_the_limit_sent(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    body = await stage1_body(monkeypatch, model, {"AI_STAGE1_MAX_OUTPUT_TOKENS": "30000"})
    assert body["max_completion_tokens"] == 30000
    assert "max_tokens" not in body


async def test_openai_api_key_is_the_bearer_of_every_call(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    async with trio(monkeypatch, model, {"OPENAI_API_KEY": "sk-canary"}) as running:
        await running.generate()
    assert {call.authorization for call in model.calls} == {"Bearer sk-canary"}


async def test_openai_base_url_is_where_the_calls_go(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    async with trio(monkeypatch, model, {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}) as running:
        refused = await running.refused()
    assert refused.reason == "STAGE1_CONNECTION"
    assert not model.calls


async def test_lesson_deadline_seconds_is_the_most_a_caller_may_ask_for(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, {"LESSON_DEADLINE_SECONDS": "100"}) as running:
        refused = await running.refused(timeout_seconds=101)
    assert refused.violations[0].description == "must be above 0 and at most 100"


async def test_stage2_reserve_seconds_is_kept_from_stage_1(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    model.always["stage1"] = Answer(delay_seconds=10)
    env = {"LESSON_DEADLINE_SECONDS": "8", "STAGE2_RESERVE_SECONDS": "4.9"}
    async with trio(monkeypatch, model, env) as running:
        refused = await running.refused()
    # 8 - 4.9 s, less what an answer needs on its way back; no second attempt has the time.
    assert refused.reason == "STAGE1_TIMEOUT"
    assert "no end within 2.5" in refused.message or "no end within 2.6" in refused.message
    assert len(model.asked("stage1")) == 1


async def test_a_lower_timeout_of_the_callers_lowers_the_reserve_with_it(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate(timeout_seconds=20)
    assert lesson.outcome is Outcome.COMPLETE


@pytest.mark.parametrize("value", ["cancel", "finish"])
async def test_on_disconnect_says_what_becomes_of_a_lesson_nobody_waits_for(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, value: str
) -> None:
    model.always["stage1"] = Answer(chunk_delay_seconds=0.0005)
    async with trio(monkeypatch, model, {"ON_DISCONNECT": value}) as running:
        call = running.stub.StreamLesson(pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349")), timeout=20)
        async for _ in call:
            break
        call.cancel()
        outcome = "cancelled" if value == "cancel" else "complete"
        wanted = f'nidan_lessons_total{{outcome="{outcome}",source="generated"}} 1.0'
        async with asyncio.timeout(15):
            while wanted not in await running.metrics():  # noqa: ASYNC110 - a real /metrics is asked
                await asyncio.sleep(0.05)


async def test_lessons_limit_refuses_new_lessons_and_says_when_to_come_back(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    model.always["stage1"] = Answer(delay_seconds=1)
    async with trio(monkeypatch, model, {"LESSONS_LIMIT": "1"}) as running:
        first = asyncio.create_task(running.generate())
        await until(lambda: bool(model.calls))
        refused = await running.refused()
        lesson, _ = await first
    assert (refused.status, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refused.retry_after_seconds == 5
    assert lesson.outcome is Outcome.COMPLETE


async def test_stage2_calls_limit_bounds_the_calls_under_way(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    most = 0

    def watch(_answer: object) -> None:
        nonlocal most
        most = max(most, model.in_flight)

    for name in SectionName:
        model.always[name.value] = Answer(edit=watch, delay_seconds=0.05)
    model.always["stage1"] = Answer()
    async with trio(monkeypatch, model, {"STAGE2_CALLS_LIMIT": "1"}) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert most <= 2  # one of Stage 2, and Stage 1 beside it


@pytest.mark.parametrize("value", ["macron", "double", "kana"])
async def test_romaji_style_is_the_style_of_every_item(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, value: str
) -> None:
    async with trio(monkeypatch, model, {"ROMAJI_STYLE": value}) as running:
        lesson, _ = await running.generate()
    romaji = " ".join(text.romaji for section in lesson.sections for text in section.texts)
    assert ("ō" in romaji) == (value == "macron")


@pytest.mark.parametrize("value", ["False", "false", "0", "no"])
async def test_use_twostage_generation_off_refuses_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, value: str
) -> None:
    async with trio(monkeypatch, model, {"USE_TWOSTAGE_GENERATION": value}) as running:
        refused = await running.refused()
        text = await running.metrics()
    assert (refused.reason, refused.status) == ("TWOSTAGE_DISABLED", grpc.StatusCode.UNIMPLEMENTED)
    assert "nidan_twostage_enabled 0.0" in text
    assert 'nidan_lessons_total{outcome="rejected",source="generated"} 1.0' in text
    assert not model.calls


@pytest.mark.parametrize("value", ["True", "true", "1"])
async def test_use_twostage_generation_on_makes_lessons(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, value: str
) -> None:
    async with trio(monkeypatch, model, {"USE_TWOSTAGE_GENERATION": value}) as running:
        lesson, _ = await running.generate()
        assert "nidan_twostage_enabled 1.0" in await running.metrics()
    assert lesson.outcome is Outcome.COMPLETE


async def test_grpc_reflection_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    async def listed(address: int) -> bool:
        channel: Any
        async with grpc.aio.insecure_channel(f"127.0.0.1:{address}") as channel:
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            try:
                reply = await call.read()
            except grpc.aio.AioRpcError:
                return False
            names = {service.name for service in reply.list_services_response.service}
            return "lesson.v1.LessonService" in names

    async with trio(monkeypatch, model) as running:
        assert not await listed(running.gateway.grpc)
    async with trio(monkeypatch, model, {"GRPC_REFLECTION": "true"}) as running:
        assert await listed(running.gateway.grpc)


async def test_bind_is_the_one_address_that_is_listened_on(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> None:
    async def reached(address: str) -> bool:
        try:
            _, writer = await asyncio.open_connection(*address.split(":"))
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    monkeypatch.setenv("BIND", "127.0.0.2")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for name, value in FREE_PORTS.items():
        monkeypatch.setenv(name, value)
    async with serving(await content_main.build(load(ContentSettings))) as ports:
        for port in (ports.grpc, ports.health, ports.metrics):
            assert await reached(f"127.0.0.2:{port}")
            assert not await reached(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("kind", "ports"),
    [
        (GatewaySettings, (50050, 50060, 9100)),
        (ContentSettings, (50051, 50061, 9101)),
        (EnhancerSettings, (50052, 50062, 9102)),
    ],
)
def test_the_documented_ports_are_the_defaults(kind: type[Any], ports: tuple[int, int, int]) -> None:
    settings = load(kind)
    prefix = kind.__name__.removesuffix("Settings").lower()
    assert ports == tuple(getattr(settings, f"{prefix}_{name}") for name in ("port", "health_port", "metrics_port"))
    assert settings.bind == "127.0.0.1"


WRONG: list[tuple[type[Any], str, str]] = [
    (GatewaySettings, "LESSON_DEADLINE_SECONDS", "soon"),
    (GatewaySettings, "LESSON_DEADLINE_SECONDS", "-1"),
    (GatewaySettings, "LESSON_DEADLINE_SECONDS", "63"),
    (GatewaySettings, "USE_TWOSTAGE_GENERATION", "perhaps"),
    (GatewaySettings, "GATEWAY_PORT", "70000"),
    (GatewaySettings, "CANDO_AI_STAGE1_PROVIDER", "none"),
    (GatewaySettings, "CANDO_AI_STAGE2_PROVIDER", "oracle"),
    (GatewaySettings, "LOG_LEVEL", "loud"),
    (ContentSettings, "AI_STAGE1_TIMEOUT_SECONDS", "0"),
    (ContentSettings, "AI_STAGE1_REASONING_EFFORT", "extreme"),
    (ContentSettings, "AI_STAGE1_MAX_OUTPUT_TOKENS", "1"),
    (EnhancerSettings, "AI_STAGE2_TIMEOUT_SECONDS", "1e9"),
    (EnhancerSettings, "AI_STAGE2_REASONING_EFFORT", "high"),
    (EnhancerSettings, "ROMAJI_STYLE", "kunrei"),
]


@pytest.mark.parametrize(("kind", "name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, kind: type[Any], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load(kind)


@pytest.mark.parametrize(
    ("module", "variable"),
    [("content_service", "CANDO_AI_STAGE1_PROVIDER"), ("enhancer_service", "CANDO_AI_STAGE2_PROVIDER")],
)
def test_provider_openai_without_a_key_ends_the_process_before_its_port_opens(module: str, variable: str) -> None:
    run = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=False, timeout=30)
    assert run.returncode == 2
    assert "OPENAI_API_KEY" in run.stderr
    assert f"{variable}=offline" in run.stderr
    assert "server_started" not in run.stdout


def test_a_key_is_never_shown_by_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    settings = load(ContentSettings)
    assert "canary" not in repr(settings) + str(settings) + settings.model_dump_json()
