"""Typed clients of the two stages. A stage's RPC that fails is an attempt that ended UPSTREAM, not an exception."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import grpc

from lesson import wire
from lesson.models import (
    Attempt,
    AttemptKind,
    AttemptOutcome,
    Brief,
    Content,
    EnhancedItem,
    EnhancementMode,
    Frame,
    Item,
    SectionName,
    SectionValue,
    Stage,
    Versions,
)
from lesson.v1 import (
    content_service_pb2,
    content_service_pb2_grpc,
    enhancer_service_pb2,
    enhancer_service_pb2_grpc,
)
from servicekit.errors import read_error
from servicekit.server import LESSON_ID_KEY, REQUEST_ID_KEY, channel_options
from servicekit.telemetry import log_context


@dataclass(frozen=True)
class ContentCall:
    """One attempt at the content."""

    brief: Brief
    model: str
    attempt_id: str
    timeout_seconds: float
    max_output_tokens: int
    wanted: tuple[SectionName, ...] = tuple(SectionName)
    confirmed: Content = field(default_factory=Content)
    reask_reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class SectionReleased:
    """A section, while the model may still write the next one."""

    name: SectionName
    revision: int
    value: SectionValue


@dataclass(frozen=True)
class ContentResult:
    """The end of an attempt."""

    content: Content
    attempt: Attempt
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnhanceCall:
    """One attempt at a section; no model: the analyser alone."""

    section: SectionName
    brief: Brief
    frame: Frame | None
    items: tuple[Item, ...]
    model: str
    attempt_id: str
    timeout_seconds: float
    mode: EnhancementMode
    wanted_ids: tuple[str, ...] = ()
    reask_reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnhanceResult:
    """Every wanted item that the enhancer answered, and the model call's attempt when there was one."""

    items: tuple[EnhancedItem, ...]
    attempt: Attempt | None
    failure: str = ""
    """Why there is no answer at all; empty when there is."""


class Upstream:
    """One long-lived channel to each stage; make it inside the running loop."""

    def __init__(self, content_address: str, enhancer_address: str) -> None:
        self._channels = [
            grpc.aio.insecure_channel(address, options=channel_options())
            for address in (content_address, enhancer_address)
        ]
        self._content = content_service_pb2_grpc.ContentServiceStub(self._channels[0])
        self._enhancer = enhancer_service_pb2_grpc.EnhancerServiceStub(self._channels[1])

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def ready(self, stage: Stage, seconds: float) -> bool:
        """Waits until a stage can be reached, as after a restart of it; False when it could not in that time."""
        channel = self._channels[0 if stage is Stage.STAGE1 else 1]
        try:
            async with asyncio.timeout(seconds):
                await channel.channel_ready()
        except TimeoutError:
            return False
        return True

    async def describe(self, timeout_seconds: float) -> Versions:
        """What the stages say made the lesson; empty where one does not answer, which is no reason to make none."""
        content, enhancer = await asyncio.gather(
            self._content.Describe(
                content_service_pb2.ContentServiceDescribeRequest(), timeout=timeout_seconds, metadata=_metadata()
            ),
            self._enhancer.Describe(
                enhancer_service_pb2.EnhancerServiceDescribeRequest(), timeout=timeout_seconds, metadata=_metadata()
            ),
            return_exceptions=True,
        )
        if isinstance(content, BaseException):
            content = content_service_pb2.ContentServiceDescribeResponse()
        if isinstance(enhancer, BaseException):
            enhancer = enhancer_service_pb2.EnhancerServiceDescribeResponse()
        return Versions(
            prompt_stage1=content.prompt_version,
            lesson_schema=content.schema_version,
            prompt_stage2=enhancer.prompt_version,
            annotator=enhancer.annotator_version,
        )

    async def generate(self, call: ContentCall) -> AsyncGenerator[SectionReleased | ContentResult, None]:
        """Sections as they come, then always one ContentResult. A broken RPC keeps the sections that came."""
        request = content_service_pb2.GenerateContentRequest(
            brief=wire.to_message(call.brief),
            model=call.model,
            attempt_id=call.attempt_id,
            sections_wanted=[wire.enum_to_number(name) for name in call.wanted],  # type: ignore[misc]
            confirmed=wire.to_message(call.confirmed),
            reask_reasons=call.reask_reasons,
        )
        started = time.monotonic()
        rpc = self._content.GenerateContent(request, timeout=call.timeout_seconds, metadata=_metadata())
        content = Content()
        try:
            async for event in rpc:
                if event.HasField("finished"):
                    yield _content_result(event.finished)
                    return
                released = _released(event.section)
                content = content.with_section(released.name, released.value)
                yield released
            reason = "the content service ended without a result"
        except (grpc.aio.AioRpcError, wire.WireError) as error:
            reason = _told(error)
        finally:
            # A stream that is merely no longer read would go on at the other end, at our cost.
            rpc.cancel()
        yield ContentResult(content, _lost(Stage.STAGE1, None, call, reason, started))

    async def enhance(self, call: EnhanceCall) -> EnhanceResult:
        """One section. Never raises for what the other side does."""
        request = enhancer_service_pb2.EnhanceSectionRequest(
            section=wire.enum_to_number(call.section),  # type: ignore[arg-type] # enums travel as their numbers
            brief=wire.to_message(call.brief),
            frame=wire.to_message(call.frame) if call.frame else None,
            items=[wire.to_message(item) for item in call.items],
            wanted_ids=call.wanted_ids,
            learner_language=call.brief.learner_language,
            mode=wire.enum_to_number(call.mode),  # type: ignore[arg-type]
            model=call.model,
            attempt_id=call.attempt_id,
            reask_reasons=call.reask_reasons,
        )
        started = time.monotonic()
        try:
            response = await self._enhancer.EnhanceSection(request, timeout=call.timeout_seconds, metadata=_metadata())
            items = tuple(wire.from_message(EnhancedItem, item) for item in response.items)
            attempt = wire.from_message(Attempt, response.attempt) if response.HasField("attempt") else None
        except (grpc.aio.AioRpcError, wire.WireError) as error:
            reason = _told(error)
            lost = _lost(Stage.STAGE2, call.section, call, reason, started) if call.model else None
            return EnhanceResult((), lost, reason)
        return EnhanceResult(items, attempt)


def _metadata() -> tuple[tuple[str, str], ...]:
    """Request id and lesson id of the call being served travel on to the stages."""
    bound = log_context()
    pairs = ((REQUEST_ID_KEY, bound.get("request_id")), (LESSON_ID_KEY, bound.get("lesson_id")))
    return tuple((key, value) for key, value in pairs if value)


def _released(section: content_service_pb2.SectionReleased) -> SectionReleased:
    name = wire.enum_from_number(SectionName, section.name)
    value = wire.from_message(Content, section.content).section(name) if name else None
    if name is None or value is None:
        raise wire.WireError("SectionReleased: names no section, or holds none")
    return SectionReleased(name, section.revision, value)


def _content_result(finished: content_service_pb2.ContentFinished) -> ContentResult:
    return ContentResult(
        wire.from_message(Content, finished.content),
        wire.from_message(Attempt, finished.attempt),
        tuple(finished.notes),
        tuple(finished.faults),
    )


def _told(error: grpc.aio.AioRpcError | wire.WireError) -> str:
    if isinstance(error, wire.WireError):
        return f"an answer that cannot be read: {error}"
    remote = read_error(error)
    return f"{remote.status.name}: {remote.message}"


def _lost(
    stage: Stage, section: SectionName | None, call: ContentCall | EnhanceCall, reason: str, started: float
) -> Attempt:
    """The RPC gave no result: whether the model was called, and what it cost, is not known."""
    return Attempt(
        id=call.attempt_id,
        stage=stage,
        section=section,
        provider="",
        model=call.model,
        kind=AttemptKind.FIRST,
        outcome=AttemptOutcome.UPSTREAM,
        reason=reason,
        retry_after_seconds=None,
        usage=None,
        cost_usd=None,
        first_token_seconds=None,
        duration_seconds=time.monotonic() - started,
    )
