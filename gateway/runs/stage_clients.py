"""Typed clients of the two stages. A stage's RPC that fails is an attempt that ended UPSTREAM, not an exception."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import grpc

from gateway.runs.channel import ReloadingChannel
from lesson import wire
from lesson.calls import ContentCall, ContentResult, EnhanceCall, EnhanceResult, SectionReleased
from lesson.models import (
    Attempt,
    AttemptOutcome,
    Content,
    SectionName,
    SectionValue,
    Stage,
    Versions,
    unanswered_attempt,
)
from lesson.steps import run_in_slices
from lesson.v1 import (
    content_service_pb2,
    content_service_pb2_grpc,
    enhancer_service_pb2,
    enhancer_service_pb2_grpc,
    lesson_pb2,
)
from servicekit.errors import OverloadedError, read_error
from servicekit.server import LESSON_ID_KEY, REQUEST_ID_KEY
from servicekit.telemetry import log_context
from servicekit.tls import CertificateFiles, LiveCertificate
from servicekit.tracing import headers

_FULL_IN_A_ROW = 4
"""So many full replicas are passed over at once; then the call waits. Other calls take turns of the round robin between
two tries, so that three replicas need more than three."""

_STATUS_SECONDS = 1.0
"""From a stream's last message to its status, which has to come but is worth nothing to a lesson."""
_NOT_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_LOOK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Described:
    """What made the lesson, and when the models of each stage end as far as their provider lists it."""

    versions: Versions
    stage1_ends: Mapping[str, date] = field(default_factory=dict)
    stage2_ends: Mapping[str, date] = field(default_factory=dict)


def _ends(listed: Iterable[lesson_pb2.ModelEnd]) -> dict[str, date]:
    """Without what is no date."""
    ends: dict[str, date] = {}
    for end in listed:
        with contextlib.suppress(ValueError):
            ends[end.model] = date.fromisoformat(end.date)
    return ends


class Upstream:
    """One long-lived channel to each stage; make it inside the running loop. With `identity`, mutual TLS.

    Raises SettingsError when the identity's files are not usable.
    """

    def __init__(self, content_address: str, enhancer_address: str, identity: CertificateFiles | None = None) -> None:
        certificate = LiveCertificate(identity) if identity else None
        self._content = ReloadingChannel(content_address, content_service_pb2_grpc.ContentServiceStub, certificate)
        self._enhancer = ReloadingChannel(enhancer_address, enhancer_service_pb2_grpc.EnhancerServiceStub, certificate)

    async def close(self) -> None:
        await asyncio.gather(self._content.close(), self._enhancer.close())

    async def ready(self, stage: Stage, seconds: float) -> bool:
        """Waits until a stage answers, as after a restart of it; False when it did not in that time.

        A call asks, not the channel's state: that stays READY for a moment after the process behind it has died.
        """
        describe = self._describe_content if stage is Stage.STAGE1 else self._describe_enhancer
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                await describe(left, wait=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _NOT_THERE:
                    return True
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            else:
                return True
        return False

    async def describe(self, timeout_seconds: float) -> Described:
        """What the stages say of themselves; empty where one does not answer, which is no reason to make no lesson."""
        content, enhancer = await asyncio.gather(
            self._describe_content(timeout_seconds), self._describe_enhancer(timeout_seconds), return_exceptions=True
        )
        if isinstance(content, BaseException):
            content = content_service_pb2.ContentServiceDescribeResponse()
        if isinstance(enhancer, BaseException):
            enhancer = enhancer_service_pb2.EnhancerServiceDescribeResponse()
        versions = Versions(
            prompt_stage1=content.prompt_version,
            lesson_schema=content.schema_version,
            prompt_stage2=enhancer.prompt_version,
            annotator=enhancer.annotator_version,
        )
        return Described(versions, _ends(content.model_ends), _ends(enhancer.model_ends))

    async def _describe_content(
        self, timeout_seconds: float, *, wait: bool = False
    ) -> content_service_pb2.ContentServiceDescribeResponse:
        request = content_service_pb2.ContentServiceDescribeRequest()
        async with self._content.lease() as held:
            return await held.stub.Describe(request, timeout=timeout_seconds, metadata=_metadata(), wait_for_ready=wait)

    async def _describe_enhancer(
        self, timeout_seconds: float, *, wait: bool = False
    ) -> enhancer_service_pb2.EnhancerServiceDescribeResponse:
        request = enhancer_service_pb2.EnhancerServiceDescribeRequest()
        async with self._enhancer.lease() as held:
            return await held.stub.Describe(request, timeout=timeout_seconds, metadata=_metadata(), wait_for_ready=wait)

    async def generate(
        self, call: ContentCall, timeout_seconds: float
    ) -> AsyncGenerator[SectionReleased | ContentResult, None]:
        """Sections as they come, then always one ContentResult. A broken RPC keeps the sections that came."""
        request = wire.to_message(call)
        asked = _Asked(Stage.STAGE1, None, call, timeout_seconds)
        content = Content()
        while True:
            async with self._content.lease() as held:
                rpc = held.stub.GenerateContent(request, timeout=asked.left, metadata=_metadata())
                try:
                    async for event in rpc:
                        if event.HasField("result"):
                            yield await run_in_slices(wire.from_message_in_steps(ContentResult, event.result))
                            await _ended(rpc)
                            return
                        released, value = _released(event.section)
                        content = content.with_section(released.name, value)
                        yield released
                    lost = asked.lost("the content service ended without a result")
                except grpc.aio.AioRpcError as error:
                    if await asked.may_ask_again(error):
                        continue
                    lost = asked.failed(error)
                except wire.WireError as error:
                    lost = asked.lost(_unreadable(error))
                finally:
                    # A stream that is merely no longer read would go on at the other end, at our cost.
                    rpc.cancel()
                yield ContentResult(content=content, attempt=lost)
                return

    async def enhance(self, call: EnhanceCall, timeout_seconds: float) -> EnhanceResult:
        """One section. Never raises for what the other side does."""
        request = wire.to_message(call)
        asked = _Asked(Stage.STAGE2, call.section, call, timeout_seconds)
        while True:
            try:
                async with self._enhancer.lease() as held:
                    response = await held.stub.EnhanceSection(request, timeout=asked.left, metadata=_metadata())
                return await run_in_slices(wire.from_message_in_steps(EnhanceResult, response))
            except grpc.aio.AioRpcError as error:
                if await asked.may_ask_again(error):
                    continue
                lost = asked.failed(error)
            except wire.WireError as error:
                lost = asked.lost(_unreadable(error))
            return EnhanceResult(items=(), attempt=lost)


class _Asked:
    """One call to a stage, while it is asked: a replica that is full sheds it before any work, so another is asked.

    The channel's round robin makes the next try another replica's. When several in a row are full, the next waits as
    long as the last one said. None of these is an attempt: nothing was sent to a model.
    """

    def __init__(
        self, stage: Stage, section: SectionName | None, call: ContentCall | EnhanceCall, timeout_seconds: float
    ) -> None:
        self._stage = stage
        self._section = section
        self._call = call
        self._timeout_seconds = timeout_seconds
        self._started = time.monotonic()
        self._shed = 0

    @property
    def left(self) -> float:
        """Seconds of the call's time that are left."""
        return self._timeout_seconds - (time.monotonic() - self._started)

    async def may_ask_again(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the call was shed and there is time to ask again; returns when to do it."""
        remote = read_error(error)
        if remote.reason != OverloadedError.reason:
            return False
        self._shed += 1
        pause = 0.0 if self._shed <= _FULL_IN_A_ROW else remote.retry_after_seconds or 1.0
        pause *= random.uniform(1.0, 1.5)  # noqa: S311 - jitter
        if pause >= self.left:
            return False
        await asyncio.sleep(pause)
        return True

    def failed(self, error: grpc.aio.AioRpcError) -> Attempt:
        """The attempt that an RPC's status ended. What was shed cost nothing; of anything else nobody knows."""
        remote = read_error(error)
        outcome = AttemptOutcome.SHED if remote.reason == OverloadedError.reason else AttemptOutcome.UPSTREAM
        return self._ended(outcome, f"{remote.status.name}: {remote.message}", remote.retry_after_seconds)

    def lost(self, reason: str) -> Attempt:
        """The RPC gave no result that can be read."""
        return self._ended(AttemptOutcome.UPSTREAM, reason, None)

    def _ended(self, outcome: AttemptOutcome, reason: str, retry_after_seconds: float | None) -> Attempt:
        return unanswered_attempt(
            attempt_id=self._call.attempt_id,
            stage=self._stage,
            section=self._section,
            provider="",
            model=self._call.model,
            outcome=outcome,
            reason=reason,
            retry_after_seconds=retry_after_seconds,
            duration_seconds=time.monotonic() - self._started,
        )


async def _ended(rpc: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
    """Its status is on its way. Were the call cancelled first, the stage would count a good one as cancelled."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STATUS_SECONDS):
            await rpc.code()


def _metadata() -> tuple[tuple[str, str], ...]:
    """Request id and lesson id of the call being served, and its trace, travel on to the stages."""
    bound = log_context()
    pairs = ((REQUEST_ID_KEY, bound.get("request_id")), (LESSON_ID_KEY, bound.get("lesson_id")), *headers().items())
    return tuple((key, value) for key, value in pairs if value)


def _released(section: content_service_pb2.SectionReleased) -> tuple[SectionReleased, SectionValue]:
    released = wire.from_message(SectionReleased, section)
    if released.value is None:
        raise wire.WireError(f"SectionReleased.content: holds no {released.name}")
    return released, released.value


def _unreadable(error: wire.WireError) -> str:
    return f"an answer that cannot be read: {error}"
