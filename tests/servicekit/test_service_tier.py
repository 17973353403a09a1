"""The service tier against a real HTTP server: who is sent one, what it costs, and what a full one leads to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from servicekit.llm.calls import CallOutcome, ModelRequest, Reply
from servicekit.llm.capabilities import EFFORTS, Provider, capabilities
from servicekit.llm.client import ATTEMPT_HEADER, ModelClient
from servicekit.llm.data_block import data_block
from servicekit.llm.prices import cheapest_first
from tests.model_server import Answer, ModelServer

DAY = datetime(2026, 11, 25, tzinfo=UTC)
KEY = "culture"
REQUEST = ModelRequest("gpt-5", "system", data_block({"section": KEY}), "attempt-1", 500, 5.0)
OK = Answer(text="{}")
STANDARD_USD = (1000 * 1.25 + 500 * 10) / 1e6
"""What gpt-5 takes for the usage that the server reports."""
FULL = {"message": "Resource Unavailable", "code": "resource_unavailable"}


@asynccontextmanager
async def flex_client(model: ModelServer, tier: str = "flex") -> AsyncIterator[ModelClient]:
    client = ModelClient(Provider.OPENAI, model.url, "sk-test", now=lambda: DAY, service_tier=tier)
    try:
        yield client
    finally:
        await client.close()


async def ask(client: ModelClient, streamed: bool, request: ModelRequest = REQUEST) -> Reply:
    if not streamed:
        return await client.complete(request)
    async with client.stream(request) as stream:
        async for _ in stream:
            pass
    return stream.reply


def tiers(model: ModelServer) -> list[str | None]:
    return [call.body.get("service_tier") for call in model.calls]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_tier_is_sent_to_the_models_that_have_it_and_to_no_other(model: ModelServer, streamed: bool) -> None:
    model.always[KEY] = OK
    names = ("gpt-5", "gpt-4.1", "gpt-6-luna", "gpt-4o-mini", "gpt-6.1-sol", "gpt-4o", "never-heard-of")
    async with flex_client(model) as client:
        for name in names:
            await ask(client, streamed, replace(REQUEST, model=name))
    assert tiers(model) == ["flex", None, "flex", None, "flex", None, None]


@pytest.mark.parametrize("streamed", [True, False])
async def test_without_the_setting_no_tier_is_sent(model: ModelServer, streamed: bool) -> None:
    model.always[KEY] = OK
    async with flex_client(model, tier="") as client:
        reply = await ask(client, streamed)
    assert tiers(model) == [None]
    assert reply.cost_usd == pytest.approx(STANDARD_USD)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("served_at", "usd"),
    [(None, STANDARD_USD / 2), ("flex", STANDARD_USD / 2), ("default", STANDARD_USD), ("unheard-of", STANDARD_USD)],
)
async def test_the_cost_is_that_of_the_tier_that_the_server_names(
    model: ModelServer, served_at: str | None, usd: float, streamed: bool
) -> None:
    model.always[KEY] = replace(OK, service_tier=served_at)
    async with flex_client(model) as client:
        reply = await ask(client, streamed)
    assert (reply.outcome, reply.service_tier) == (CallOutcome.OK, served_at or "flex")
    assert reply.cost_usd == pytest.approx(usd)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("error", [FULL, {"message": "busy", "type": "resource_unavailable"}])
async def test_a_tier_without_capacity_is_followed_by_the_standard_one_at_once(
    model: ModelServer, error: dict[str, str], streamed: bool
) -> None:
    model.script[KEY] = [Answer(status=429, error=error, headers={"retry-after": "30"}), OK]
    seen: list[Reply] = []
    client = ModelClient(
        Provider.OPENAI, model.url, "sk-test", lambda _, reply: seen.append(reply), now=lambda: DAY, service_tier="flex"
    )
    started = time.monotonic()
    reply = await ask(client, streamed)
    await client.close()
    assert time.monotonic() - started < 2.0
    assert tiers(model) == ["flex", None]
    assert {call.headers[ATTEMPT_HEADER] for call in model.calls} == {"attempt-1"}
    assert (reply.outcome, reply.service_tier, reply.unavailable_tier) == (CallOutcome.OK, "", "flex")
    assert reply.cost_usd == pytest.approx(STANDARD_USD)
    assert seen == [reply]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_second_429_ends_the_call_as_rate_limited(model: ModelServer, streamed: bool) -> None:
    again = Answer(status=429, error=FULL, headers={"retry-after": "7"})
    model.script[KEY] = [Answer(status=429, error=FULL, headers={"retry-after": "30"}), again]
    async with flex_client(model) as client:
        reply = await ask(client, streamed)
    assert (reply.outcome, reply.retry_after_seconds) == (CallOutcome.RATE_LIMITED, 7.0)
    assert reply.reason == "HTTP 429: Resource Unavailable (after tier flex had no capacity)"
    assert reply.cost_usd is None
    assert len(model.calls) == 2


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("name", "answer", "outcome"),
    [
        ("gpt-5", Answer(status=429, error={"message": "slow down"}), CallOutcome.RATE_LIMITED),
        ("gpt-5", Answer(status=429, error={"message": "", "code": "insufficient_quota"}), CallOutcome.QUOTA),
        ("gpt-5", Answer(status=503, error=FULL), CallOutcome.SERVER_ERROR),
        ("gpt-4.1", Answer(status=429, error=FULL), CallOutcome.RATE_LIMITED),
    ],
)
async def test_any_other_refusal_is_not_sent_again(
    model: ModelServer, name: str, answer: Answer, outcome: CallOutcome, streamed: bool
) -> None:
    model.script[KEY] = [answer]
    async with flex_client(model) as client:
        reply = await ask(client, streamed, replace(REQUEST, model=name))
    assert reply.outcome is outcome
    assert len(model.calls) == 1


@pytest.mark.parametrize("streamed", [True, False])
async def test_one_time_limit_covers_both_requests(model: ModelServer, streamed: bool) -> None:
    model.script[KEY] = [Answer(status=429, error=FULL, delay_seconds=0.3), replace(OK, delay_seconds=5.0)]
    async with flex_client(model) as client:
        reply = await ask(client, streamed, replace(REQUEST, timeout_seconds=0.6))
    assert reply.outcome is CallOutcome.TIMEOUT
    assert reply.duration_seconds < 2.0


async def test_the_limit_of_output_is_reckoned_at_the_standard_price(model: ModelServer) -> None:
    model.always[KEY] = OK
    limited = replace(REQUEST, max_output_tokens=8000, max_cost_usd=0.02)
    for tier in ("", "flex"):
        async with flex_client(model, tier) as client:
            await client.complete(limited)
    first, second = (call.body["max_completion_tokens"] for call in model.calls)
    assert first == second < 2000


# --- what models.toml says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted", "sent"),
    [
        ("gpt-5", "none", "minimal"),
        ("gpt-5", "high", "high"),
        ("gpt-6.1-sol", "minimal", "low"),
        ("gpt-6.1-sol", "none", "low"),
        ("gpt-6-luna", "none", "none"),
        ("gpt-6-luna", "minimal", "low"),
        ("gpt-4.1", "low", ""),
    ],
)
def test_an_effort_becomes_the_nearest_one_that_the_model_takes(name: str, wanted: str, sent: str) -> None:
    assert capabilities(Provider.OPENAI, name).effort(wanted) == sent


def test_every_effort_of_the_table_is_a_known_one() -> None:
    names = ("gpt-5", "gpt-6.1-sol", "gpt-6-luna", "gpt-4.1", "gpt-4o", "gpt-4o-mini", "never-heard-of")
    known = {effort for name in names for effort in capabilities(Provider.OPENAI, name).reasoning_efforts}
    assert known <= set(EFFORTS)


def test_the_cheapest_model_of_a_chain_goes_first_and_the_rest_keep_their_order() -> None:
    chain = ("gpt-4.1", "gpt-4o-mini", "gpt-6-luna", "gpt-6.1-sol")
    assert cheapest_first(Provider.OPENAI, chain, DAY) == ("gpt-6-luna", "gpt-4.1", "gpt-4o-mini", "gpt-6.1-sol")
    assert cheapest_first(Provider.OPENAI, ("unpriced", "also-unpriced"), DAY) == ("unpriced", "also-unpriced")
    assert cheapest_first(Provider.OPENAI, (), DAY) == ()
