"""Typed clients of the two stages. A failed RPC is an attempt that ended UPSTREAM or SHED, not an exception."""

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
from servicekit.interceptors import LESSON_ID_KEY, REQUEST_ID_KEY
from servicekit.telemetry import log_context
from servicekit.tls import CertificateFiles, LiveCertificate
from servicekit.tracing import headers

_SKIPPED_FULL_REPLICAS = 4
"""Full replicas that a call skips without a pause. Other calls take places of the round robin between two tries, so
three replicas need more than three tries."""

_STATUS_SECONDS = 1.0
"""How long to wait, after a stream's last message, for its status."""
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class StageDescription:
    """The versions that made the lesson, and the end dates that each stage's provider lists, by model."""

    versions: Versions
    stage1_ends: Mapping[str, date] = field(default_factory=dict)
    stage2_ends: Mapping[str, date] = field(default_factory=dict)


def _ends(listed: Iterable[lesson_pb2.ModelEnd]) -> dict[str, date]:
    """Skips what is not a date."""
    ends: dict[str, date] = {}
    for end in listed:
        with contextlib.suppress(ValueError):
            ends[end.model] = date.fromisoformat(end.date)
    return ends


class Upstream:
    """One long-lived channel to each stage; make it inside the running loop. `identity` turns mutual TLS on.

    Raises SettingsError when the files of the identity are not usable.
    """

    def __init__(self, content_address: str, enhancer_address: str, identity: CertificateFiles | None = None) -> None:
        certificate = LiveCertificate(identity) if identity else None
        self._content = ReloadingChannel(content_address, content_service_pb2_grpc.ContentServiceStub, certificate)
        self._enhancer = ReloadingChannel(enhancer_address, enhancer_service_pb2_grpc.EnhancerServiceStub, certificate)

    async def close(self) -> None:
        await asyncio.gather(self._content.close(), self._enhancer.close())

    async def ready(self, stage: Stage, seconds: float) -> bool:
        """Waits until a stage answers, for example after a restart; False when it does not in that time.

        It makes a call, because a channel stays READY for a moment after the process behind it has died.
        """
        describe = self._describe_content if stage is Stage.STAGE1 else self._describe_enhancer
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                await describe(left, wait=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _UNREACHABLE:
                    return True
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return True
        return False

    async def describe(self, timeout_seconds: float) -> StageDescription:
        """How the stages describe themselves; empty for a stage that does not answer, which does not stop a lesson."""
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
        return StageDescription(versions, _ends(content.model_ends), _ends(enhancer.model_ends))

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
        """Yields sections as they come, then always one ContentResult. A broken RPC keeps the sections that came."""
        request = wire.to_message(call)
        stage_call = StageCall(Stage.STAGE1, None, call, timeout_seconds)
        content = Content()
        while True:
            async with self._content.lease() as held:
                rpc = held.stub.GenerateContent(request, timeout=stage_call.left, metadata=_metadata())
                try:
                    async for event in rpc:
                        if event.HasField("result"):
                            yield await run_in_slices(wire.from_message_in_steps(ContentResult, event.result))
                            await _await_status(rpc)
                            return
                        released, value = _released(event.section)
                        content = content.with_section(released.name, value)
                        yield released
                    lost = stage_call.lost("the content service ended without a result")
                except grpc.aio.AioRpcError as error:
                    if await stage_call.waits_for_another_try(error):
                        continue
                    lost = stage_call.failed(error)
                except wire.WireError as error:
                    lost = stage_call.lost(_unreadable(error))
                finally:
                    # Otherwise the stage would keep writing, at our cost.
                    rpc.cancel()
                yield ContentResult(content=content, attempt=lost)
                return

    async def enhance(self, call: EnhanceCall, timeout_seconds: float) -> EnhanceResult:
        """Annotates one section. Failures of the stage are in the result's attempt, never raised."""
        request = wire.to_message(call)
        stage_call = StageCall(Stage.STAGE2, call.section, call, timeout_seconds)
        while True:
            try:
                async with self._enhancer.lease() as held:
                    response = await held.stub.EnhanceSection(request, timeout=stage_call.left, metadata=_metadata())
                return await run_in_slices(wire.from_message_in_steps(EnhanceResult, response))
            except grpc.aio.AioRpcError as error:
                if await stage_call.waits_for_another_try(error):
                    continue
                lost = stage_call.failed(error)
            except wire.WireError as error:
                lost = stage_call.lost(_unreadable(error))
            return EnhanceResult(items=(), attempt=lost)


class StageCall:
    """One call to a stage, over all its tries: a full replica sheds a call before any work, so another one is tried.

    The channel's round robin picks another replica each time. After several full ones in a row, the call waits as long
    as the last one asked. A shed try is not an attempt: nothing was sent to a model.
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
        """Seconds left of the call's time."""
        return self._timeout_seconds - (time.monotonic() - self._started)

    async def waits_for_another_try(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the call was shed and time is left; if so, returns after the pause before the next try."""
        remote = read_error(error)
        if remote.reason != OverloadedError.reason:
            return False
        self._shed += 1
        pause = 0.0 if self._shed <= _SKIPPED_FULL_REPLICAS else remote.retry_after_seconds or 1.0
        pause *= random.uniform(1.0, 1.5)  # noqa: S311 - jitter
        if pause >= self.left:
            return False
        await asyncio.sleep(pause)
        return True

    def failed(self, error: grpc.aio.AioRpcError) -> Attempt:
        """The attempt that an RPC's status ended. A shed call cost nothing; the cost of any other is unknown."""
        remote = read_error(error)
        outcome = AttemptOutcome.SHED if remote.reason == OverloadedError.reason else AttemptOutcome.UPSTREAM
        return self._attempt(outcome, f"{remote.status.name}: {remote.message}", remote.retry_after_seconds)

    def lost(self, reason: str) -> Attempt:
        """The attempt of an RPC without a readable result."""
        return self._attempt(AttemptOutcome.UPSTREAM, reason, None)

    def _attempt(self, outcome: AttemptOutcome, reason: str, retry_after_seconds: float | None) -> Attempt:
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


async def _await_status(rpc: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
    """Waits for the status: a call cancelled before it would count as cancelled at the stage."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STATUS_SECONDS):
            await rpc.code()


def _metadata() -> tuple[tuple[str, str], ...]:
    """The request id, lesson id and trace of the current call, for the stages."""
    bound = log_context()
    pairs = ((REQUEST_ID_KEY, bound.get("request_id")), (LESSON_ID_KEY, bound.get("lesson_id")), *headers().items())
    return tuple((key, value) for key, value in pairs if value)


def _released(section: content_service_pb2.SectionReleased) -> tuple[SectionReleased, SectionValue]:
    released = wire.from_message(SectionReleased, section)
    if released.value is None:
        raise wire.WireError(f"SectionReleased.content: holds no {released.name}")
    return released, released.value


def _unreadable(error: wire.WireError) -> str:
    return f"the answer cannot be read: {error}"
