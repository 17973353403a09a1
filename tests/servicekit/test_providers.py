"""Providers as presets: addresses, keys that go to their own alone and are never told, prices, grants and waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web

from servicekit.llm.calls import CallOutcome, ModelRequest
from servicekit.llm.capabilities import Provider, capabilities, key_variable, preset
from servicekit.llm.client import ModelClient
from servicekit.llm.failures import retry_after_seconds
from servicekit.llm.prices import TokenUsage, cost_usd
from servicekit.llm.request_body import LEAST_OUTPUT_TOKENS
from servicekit.llm.settings import ModelServerSettings, model_client
from servicekit.llm.shutdown_dates import EVERY_SECONDS, ListedEnds, day_of
from servicekit.settings import SettingsError, load
from tests.trio import until

DAY = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
KEYED = (Provider.OPENAI, Provider.GEMINI, Provider.LLAMACPP, Provider.VLLM)
CANARY = "sk-canary-7f3a"


@dataclass
class Server:
    url: str = ""
    headers: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    models: Any = field(default_factory=list)
    status: int = 200


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    kept = Server()

    async def chat(request: web.Request) -> web.Response:
        kept.headers.append(request.headers.get("Authorization", ""))
        kept.bodies.append(await request.json())
        if kept.status != 200:
            return web.json_response({"error": {"message": f"wrong key {CANARY}"}}, status=kept.status)
        choice = {"index": 0, "message": {"content": "はい"}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 2}})

    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": kept.models})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield kept
    finally:
        await runner.cleanup()


def asked(model: str = "gpt-5", **fields: Any) -> ModelRequest:
    settings = {"max_output_tokens": 8000, "timeout_seconds": 10.0} | fields
    return ModelRequest(model=model, system="s", user="u", attempt_id="a-1", **settings)


@pytest.mark.parametrize("provider", [one for one in Provider if one is not Provider.NONE])
def test_every_provider_has_a_preset_and_settings(provider: Provider) -> None:
    settings = load(ModelServerSettings)
    assert settings.address(provider) == preset(provider).base_url
    assert settings.key(provider) == ""


@pytest.mark.parametrize("provider", KEYED)
async def test_a_key_goes_to_its_own_provider_and_is_told_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], provider: Provider
) -> None:
    for other in KEYED:
        monkeypatch.setenv(key_variable(other), f"sk-{other}-other")
    monkeypatch.setenv(key_variable(provider), CANARY)
    async with server() as served:
        monkeypatch.setenv(f"{provider.value.upper()}_BASE_URL", served.url)
        settings = load(ModelServerSettings)
        client = model_client(settings, provider, "CANDO_AI_STAGE1_PROVIDER")
        assert client is not None
        reply = await client.complete(asked("m"))
        served.status = 500
        failed = await client.complete(asked("m"))
        await client.close()
    assert served.headers == [f"Bearer {CANARY}"] * 2
    assert reply.outcome is CallOutcome.OK
    for told in (repr(settings), repr(client), repr(reply), str(settings.model_dump()), capsys.readouterr().out):
        assert CANARY not in told
    assert failed.outcome is CallOutcome.SERVER_ERROR


@pytest.mark.parametrize("provider", [one for one in KEYED if preset(one).key == "yes"])
def test_a_provider_that_needs_a_key_names_it_when_it_has_none(provider: Provider) -> None:
    with pytest.raises(SettingsError, match=f"{key_variable(provider)}: is not set"):
        model_client(load(ModelServerSettings), provider, "CANDO_AI_STAGE2_PROVIDER")


def test_an_override_beats_the_data_set_and_no_price_is_none() -> None:
    million = TokenUsage(1_000_000, 400_000, 1_000_000, 0)
    assert cost_usd(Provider.OPENAI, "gpt-6.1-sol", million, DAY) == pytest.approx(0.6 * 2.0 + 0.4 * 0.1 + 10.0)
    assert cost_usd(Provider.OPENAI, "nobody-knows-it", million, DAY) is None
    assert cost_usd(Provider.OLLAMA, "anything", million, DAY) == 0.0
    assert cost_usd(Provider.GEMINI, "gemini-2.5-flash", million, DAY) is not None


def test_cached_tokens_are_a_part_of_input_however_many_are_told() -> None:
    lying = cost_usd(Provider.OPENAI, "gpt-6-luna", TokenUsage(1000, 5000, 0, 0), DAY)
    assert lying == pytest.approx(1000 * 0.01 / 1e6)


# --- waits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": format_datetime(DAY + timedelta(seconds=42), usegmt=True)}, 42.0),
        ({"retry-after": format_datetime(DAY - timedelta(seconds=42), usegmt=True)}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_what_a_server_asks_to_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, DAY) == seconds


# --- grants -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grant", "tokens"), [(None, 8000), (1.0, 8000), (0.02, 1999), (0.00257, LEAST_OUTPUT_TOKENS)])
async def test_the_limit_of_output_follows_from_the_grant(grant: float | None, tokens: int) -> None:
    async with server() as served:
        client = ModelClient(Provider.OPENAI, served.url, "k", now=lambda: DAY)
        reply = await client.complete(asked(max_cost_usd=grant))
        await client.close()
    assert reply.outcome is CallOutcome.OK
    assert served.bodies[0]["max_completion_tokens"] == tokens


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_grant_too_small_for_any_answer_sends_nothing(streamed: bool) -> None:
    async with server() as served:
        client = ModelClient(Provider.OPENAI, served.url, "k", now=lambda: DAY)
        if streamed:
            async with client.stream(asked(max_cost_usd=0.0001)) as stream:
                assert [delta async for delta in stream] == []
            reply = stream.reply
        else:
            reply = await client.complete(asked(max_cost_usd=0.0001))
        await client.close()
    assert (reply.outcome, reply.usage, served.bodies) == (CallOutcome.BUDGET_TOO_SMALL, None, [])
    assert "$0.0001" in reply.reason


async def test_an_unpriced_model_is_not_cut_by_a_grant_but_by_what_it_can() -> None:
    async with server() as served:
        client = ModelClient(Provider.OPENAI, served.url, "k", now=lambda: DAY)
        await client.complete(asked("nobody-knows-it", max_cost_usd=0.0))
        await client.complete(asked("gpt-4o", max_output_tokens=100_000))
        await client.close()
    assert [body["max_completion_tokens"] for body in served.bodies] == [8000, 16_384]


# --- requests ---------------------------------------------------------------------------------------------------------


async def test_nothing_of_one_models_request_leaks_into_the_next() -> None:
    async with server() as served:
        client = ModelClient(Provider.OPENAI, served.url, "k", now=lambda: DAY)
        for model in ("gpt-5", "gpt-4.1", "gpt-4o-mini", "gpt-5", "never-heard-of"):
            await client.complete(asked(model, temperature=0.0, reasoning_effort="low"))
        await client.close()
    for body in served.bodies:
        able = capabilities(Provider.OPENAI, body["model"])
        assert ("temperature" in body) == able.temperature
        assert ("reasoning_effort" in body) == able.reasons
    assert served.bodies[0] == served.bodies[3]


# --- end dates that providers list ------------------------------------------------------------------------------------


async def test_listed_ends_are_asked_for_without_waiting_and_twice_a_day() -> None:
    now = [0.0]
    async with server() as served:
        served.models = [
            {"id": "gpt-5", "object": "model", "created": 1, "owned_by": "x", "shutdown_date": "2026-12-01"},
            {"id": "other", "object": "model", "created": 1, "owned_by": "x"},
        ]
        client = ModelClient(Provider.OPENAI, served.url, "k")
        ends = ListedEnds(client, clock=lambda: now[0])
        assert ends.known() == {}
        await until(lambda: bool(ends.known()))
        assert ends.known() == {"gpt-5": date(2026, 12, 1)}
        served.models = [{**served.models[0], "shutdown_date": 1796947200}]
        now[0] = EVERY_SECONDS
        ends.known()
        await until(lambda: ends.known()["gpt-5"] == date(2026, 12, 11))
        await ends.close()
        await client.close()


async def test_a_server_that_lists_nothing_is_no_reason_for_anything() -> None:
    client = ModelClient(Provider.OPENAI, "http://127.0.0.1:1/v1", "k")
    ends = ListedEnds(client)
    assert ends.known() == {}
    await asyncio.sleep(0.1)
    assert ends.known() == {}
    await ends.close()
    await client.close()
    assert ListedEnds(None).known() == {}


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("2026-12-11", date(2026, 12, 11)),
        ("2026-12-11T08:00:00+00:00", date(2026, 12, 11)),
        (1796947200, date(2026, 12, 11)),
        ("soon", None),
        (None, None),
        (True, None),
        (1e30, None),
        ({}, None),
    ],
)
def test_an_end_is_read_from_dates_and_times_and_nothing_else(raw: object, day: date | None) -> None:
    assert day_of(raw) == day
