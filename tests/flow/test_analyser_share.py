"""Whatever goes wrong with the model's call, every item has the analyser's reading, and so has a long text."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest

from lesson import wire
from lesson.calls import EnhanceCall
from lesson.models import Brief, EnhancementMode, Item, ItemKind, Level, SectionName
from lesson.v1 import enhancer_service_pb2_grpc, lesson_pb2
from tests.model_server import ModelServer
from tests.trio import trio

BRIEF = Brief(
    can_do_id="", topic="food", level=Level.A1, learner_language="en", can_do_text="", can_do_text_ja="", activity=""
)


def section(text: str, **fields: Any) -> Any:
    item = Item(id="reading.body.0", text=text, kind=ItemKind.SENTENCE, needs_translation=True)
    asked = {"model": "", "attempt_id": ""} | fields
    call = EnhanceCall(
        section=SectionName.READING, brief=BRIEF, frame=None, items=(item,), mode=EnhancementMode.REVIEW, **asked
    )
    return wire.to_message(call)


async def enhanced(monkeypatch: pytest.MonkeyPatch, model: ModelServer, request: Any) -> Any:
    async with (
        trio(monkeypatch, model) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.enhancer.grpc}") as channel,
    ):
        stub: Any = enhancer_service_pb2_grpc.EnhancerServiceStub(channel)
        return await stub.EnhanceSection(request, timeout=10)


async def test_a_call_that_cannot_even_be_made_costs_no_reading(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    """A limit of money that is no number fails before anything is sent."""
    request = section("魚を食べる。", model="gpt-4.1", attempt_id="a", max_cost_usd=math.nan)
    reply = await enhanced(monkeypatch, model, request)
    assert [item.text.reading for item in reply.items] == ["さかなをたべる。"]
    assert lesson_pb2.AttemptOutcome.Name(reply.attempt.outcome).endswith("_SERVER_ERROR")
    assert not model.calls


async def test_a_long_text_has_the_reading_of_its_sentences(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    reply = await enhanced(monkeypatch, model, section("魚を食べる。" * 100))
    assert reply.items[0].text.reading == "さかなをたべる。" * 100
