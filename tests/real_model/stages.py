"""The two stage services, really served on free ports in this process, and the gateway's client of them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

import content_service.__main__ as content_main
import enhancer_service.__main__ as enhancer_main
from content_service.settings import ContentSettings
from enhancer_service.settings import EnhancerSettings
from gateway.runs.stage_clients import Upstream
from lesson.calls import ContentCall, ContentResult, EnhanceCall, EnhanceResult, SectionReleased
from lesson.models import Brief, EnhancementMode, Item, ItemKind, Level, SectionName
from servicekit.server import serving
from servicekit.settings import load
from tests.trio import FREE_PORTS, analyser

MODEL = "smollm2-135m-instruct"
_LIMITS = (
    "AI_STAGE1_TIMEOUT_SECONDS",
    "AI_STAGE1_FIRST_TOKEN_SECONDS",
    "AI_STREAM_STALL_SECONDS",
    "AI_STAGE2_TIMEOUT_SECONDS",
)


@dataclass(frozen=True)
class Stages:
    """One attempt at a time, as the gateway makes it; no retries here."""

    upstream: Upstream
    seconds: float
    """For each call."""

    async def write(self, wanted: Sequence[SectionName] = tuple(SectionName)) -> tuple[ContentResult, set[SectionName]]:
        """Stage 1: how it ended, and which sections it had released on the way."""
        call = ContentCall(
            brief=brief(),
            model=MODEL,
            attempt_id=uuid.uuid4().hex,
            wanted=tuple(wanted),
        )
        released = set()
        async for event in self.upstream.generate(call, self.seconds):
            if isinstance(event, SectionReleased):
                released.add(event.name)
            else:
                return event, released
        raise AssertionError("Stage 1 ended without a result")

    async def annotate(
        self, texts: Sequence[str], language: str = "en", mode: EnhancementMode = EnhancementMode.ANALYSER
    ) -> EnhanceResult:
        """Stage 2: these sentences, as those of a reading."""
        items = tuple(
            Item(id=f"reading.text.{number}", text=text, kind=ItemKind.SENTENCE, needs_translation=True)
            for number, text in enumerate(texts)
        )
        call = EnhanceCall(
            section=SectionName.READING,
            brief=brief(language),
            frame=None,
            items=items,
            model=MODEL,
            attempt_id=uuid.uuid4().hex,
            mode=mode,
            wanted_ids=tuple(item.id for item in items),
        )
        return await self.upstream.enhance(call, self.seconds)


def brief(language: str = "en") -> Brief:
    return Brief(
        can_do_id="JF:349",
        topic="食生活",
        level=Level.A1,
        learner_language=language,
        can_do_text="",
        can_do_text_ja="",
        activity="",
    )


@asynccontextmanager
async def stages(monkeypatch: pytest.MonkeyPatch, model_url: str, seconds: float, **env: str) -> AsyncIterator[Stages]:
    """Provider openai is the server at `model_url`; a call may take so many seconds, all of them in silence."""
    ours = {"OPENAI_BASE_URL": model_url, "OPENAI_API_KEY": "test-key"} | dict.fromkeys(_LIMITS, str(seconds))
    for name, value in (FREE_PORTS | ours | env).items():
        monkeypatch.setenv(name, value)
    async with (
        serving(await content_main.build(load(ContentSettings))) as content,
        serving(await enhancer_main.build(load(EnhancerSettings), analyser())) as enhancer,
    ):
        upstream = Upstream(f"127.0.0.1:{content.grpc}", f"127.0.0.1:{enhancer.grpc}")
        try:
            yield Stages(upstream, seconds)
        finally:
            await upstream.close()
