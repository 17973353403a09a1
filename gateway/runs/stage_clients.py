"""Typed clients of the two stages. A stage's RPC that fails is an attempt that ended UPSTREAM, not an exception."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Generic, TypeVar

import grpc

from lesson import wire
from lesson.models import (
    Attempt,
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
from servicekit.server import LESSON_ID_KEY, REQUEST_ID_KEY, channel_options
from servicekit.telemetry import log_context
from servicekit.tls import CertificateFiles, LiveCertificate, channel_credentials
from servicekit.tracing import headers

Stub = TypeVar("Stub")

_FULL_IN_A_ROW = 4
"""So many full replicas are passed over at once; then the call waits. Other calls take turns of the round robin between
two tries, so that three replicas need more than three."""

_STATUS_SECONDS = 1.0
"""From a stream's last message to its status, which has to come but is worth nothing to a lesson."""
_NOT_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_LOOK_AGAIN_SECONDS = 0.05


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
    max_cost_usd: float | None = None


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
    style_faults: tuple[str, ...] = ()
    origin: str = ""


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
    max_cost_usd: float | None = None


@dataclass(frozen=True)
class EnhanceResult:
    """Every wanted item that the enhancer answered, and the model call's attempt when there was one."""

    items: tuple[EnhancedItem, ...]
    attempt: Attempt | None
    failure: str = ""
    """Why there is no answer at all; empty when there is."""


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


class _Line(Generic[Stub]):
    """The channel to one stage, made anew when this process's certificate is; make it inside the running loop.

    gRPC reads a channel's certificate once. So calls that begin after a change take a new channel, those under way end
    on the old one, and the last of them closes it.
    """

    def __init__(
        self, address: str, stub: Callable[[grpc.aio.Channel], Stub], certificate: LiveCertificate | None
    ) -> None:
        self._address = address
        self._stub = stub
        self._certificate = certificate
        self._read = certificate.look() if certificate else None
        self._open = self._opened()
        self._retired: set[asyncio.Task[None]] = set()

    def _opened(self) -> _Open[Stub]:
        options = channel_options()
        if self._read is None:
            channel = grpc.aio.insecure_channel(self._address, options)
        else:
            channel = grpc.aio.secure_channel(self._address, channel_credentials(self._read), options)
        return _Open(channel, self._stub(channel))

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[_Open[Stub]]:
        """Channel and stub of now; the channel stays open inside the block, whatever happens to the certificate."""
        held = self._current()
        held.users += 1
        try:
            yield held
        finally:
            held.users -= 1
            if held is not self._open and not held.users:
                await held.channel.close()

    def _current(self) -> _Open[Stub]:
        read = self._certificate.look() if self._certificate else None
        if read is not self._read:
            self._read = read
            old, self._open = self._open, self._opened()
            if not old.users:
                closing = asyncio.ensure_future(old.channel.close())
                self._retired.add(closing)
                closing.add_done_callback(self._retired.discard)
        return self._open

    async def close(self) -> None:
        await asyncio.gather(self._open.channel.close(), *self._retired)


@dataclass
class _Open(Generic[Stub]):
    """A channel, its stub, and how many calls hold it."""

    channel: grpc.aio.Channel
    stub: Stub
    users: int = 0


class Upstream:
    """One long-lived channel to each stage; make it inside the running loop. With `identity`, mutual TLS.

    Raises SettingsError when the identity's files are not usable.
    """

    def __init__(self, content_address: str, enhancer_address: str, identity: CertificateFiles | None = None) -> None:
        certificate = LiveCertificate(identity) if identity else None
        self._content = _Line(content_address, content_service_pb2_grpc.ContentServiceStub, certificate)
        self._enhancer = _Line(enhancer_address, enhancer_service_pb2_grpc.EnhancerServiceStub, certificate)

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
        async with self._content.held() as held:
            return await held.stub.Describe(request, timeout=timeout_seconds, metadata=_metadata(), wait_for_ready=wait)

    async def _describe_enhancer(
        self, timeout_seconds: float, *, wait: bool = False
    ) -> enhancer_service_pb2.EnhancerServiceDescribeResponse:
        request = enhancer_service_pb2.EnhancerServiceDescribeRequest()
        async with self._enhancer.held() as held:
            return await held.stub.Describe(request, timeout=timeout_seconds, metadata=_metadata(), wait_for_ready=wait)

    async def generate(self, call: ContentCall) -> AsyncGenerator[SectionReleased | ContentResult, None]:
        """Sections as they come, then always one ContentResult. A broken RPC keeps the sections that came."""
        request = content_service_pb2.GenerateContentRequest(
            brief=wire.to_message(call.brief),
            model=call.model,
            attempt_id=call.attempt_id,
            sections_wanted=[wire.enum_to_number(name) for name in call.wanted],  # type: ignore[misc]
            confirmed=wire.to_message(call.confirmed),
            reask_reasons=call.reask_reasons,
            max_cost_usd=call.max_cost_usd,
        )
        asked = _Asked(Stage.STAGE1, None, call)
        content = Content()
        while True:
            async with self._content.held() as held:
                rpc = held.stub.GenerateContent(request, timeout=asked.left, metadata=_metadata())
                try:
                    async for event in rpc:
                        if event.HasField("finished"):
                            yield _content_result(event.finished)
                            await _ended(rpc)
                            return
                        released = _released(event.section)
                        content = content.with_section(released.name, released.value)
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
                yield ContentResult(content, lost)
                return

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
            max_cost_usd=call.max_cost_usd,
        )
        asked = _Asked(Stage.STAGE2, call.section, call)
        while True:
            try:
                async with self._enhancer.held() as held:
                    response = await held.stub.EnhanceSection(request, timeout=asked.left, metadata=_metadata())
                items = await run_in_slices(wire.from_messages(EnhancedItem, response.items))
                attempt = wire.from_message(Attempt, response.attempt) if response.HasField("attempt") else None
                return EnhanceResult(items, attempt)
            except grpc.aio.AioRpcError as error:
                if await asked.may_ask_again(error):
                    continue
                lost = asked.failed(error)
            except wire.WireError as error:
                lost = asked.lost(_unreadable(error))
            return EnhanceResult((), lost if call.model else None, lost.reason)


class _Asked:
    """One call to a stage, while it is asked: a replica that is full sheds it before any work, so another is asked.

    The channel's round robin makes the next try another replica's. When several in a row are full, the next waits as
    long as the last one said. None of these is an attempt: nothing was sent to a model.
    """

    def __init__(self, stage: Stage, section: SectionName | None, call: ContentCall | EnhanceCall) -> None:
        self._stage = stage
        self._section = section
        self._call = call
        self._started = time.monotonic()
        self._shed = 0

    @property
    def left(self) -> float:
        """Seconds of the call's time that are left."""
        return self._call.timeout_seconds - (time.monotonic() - self._started)

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
        tuple(finished.style_faults),
        finished.origin,
    )


def _unreadable(error: wire.WireError) -> str:
    return f"an answer that cannot be read: {error}"
