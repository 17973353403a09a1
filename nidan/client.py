"""Calls the gateway and the enhancer: requests in, models out. The only module of the command line that knows gRPC.

Everything is synchronous: a command does one thing at a time, and Ctrl-C must end a call where it waits.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lesson import wire
from lesson.models import Brief, EnhancedSection, EnhancementMode, Item, JapaneseText, Lesson, Level, SectionName
from lesson.v1 import enhancer_service_pb2, enhancer_service_pb2_grpc, lesson_pb2, lesson_service_pb2_grpc
from lesson.v1 import lesson_service_pb2 as pb
from nidan.credentials import Access, is_local
from servicekit.errors import RemoteError, read_error
from servicekit.safe_json import safe_json

LessonSpec = pb.LessonSpec
ANONYMOUS = Access()
"""No key, and plaintext."""
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_ANSWER_SLACK_SECONDS = 2.0
"""A run ends by its own deadline and says why. The call's deadline is later: it is for a gateway that hangs."""
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # a lesson costs money: only the caller decides to ask again
    ("grpc.keepalive_time_ms", 40_000),  # detects a gateway that freezes during a lesson
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]


@dataclass(frozen=True)
class Accepted:
    """The run has started. Models are in the order in which they are tried."""

    brief: Brief
    stage1_models: tuple[str, ...]
    stage2_models: tuple[str, ...]


@dataclass(frozen=True)
class SectionReady:
    """Stage 1 wrote a section."""

    name: SectionName
    revision: int


@dataclass(frozen=True)
class SectionEnhanced:
    """Stage 2 has finished with a section; its state says how well."""

    section: EnhancedSection


@dataclass(frozen=True)
class SectionReplaced:
    """Earlier events of the section no longer hold."""

    name: SectionName
    revision: int
    reason: str


@dataclass(frozen=True)
class Completed:
    """The lesson, as a model and as the web client's JSON, unchanged."""

    lesson: Lesson
    master_json: str


Event = Accepted | SectionReady | SectionEnhanced | SectionReplaced | Completed


class CallError(Exception):
    """A call failed; `error` is the service's answer."""

    def __init__(self, error: RemoteError) -> None:
        super().__init__(error.message)
        self.error = error


class LessonError(CallError):
    """The gateway returned no lesson."""


class AnnotateError(CallError):
    """The enhancer returned no annotations."""


class LessonClient:
    """Calls LessonService at HOST:PORT over its own channel, or over a channel that the caller owns."""

    def __init__(self, gateway: grpc.Channel | str, access: Access = ANONYMOUS) -> None:
        self._own = _open(gateway, access) if isinstance(gateway, str) else None
        self._metadata = (("authorization", f"Bearer {access.key}"),) if access.key else ()
        channel = gateway if self._own is None else self._own
        self._stub = lesson_service_pb2_grpc.LessonServiceStub(channel)  # type: ignore[arg-type] # never a str here

    def close(self) -> None:
        """Closes its own channel. A channel of the caller stays open."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stream(self, spec: LessonSpec) -> Generator[Event, None, None]:
        """Yields the events of one lesson; the last is Completed. Closing the iterator early cancels the call.

        Raises LessonError when there is no lesson, or when the gateway's answer makes no sense.
        """
        timeout = spec.timeout_seconds + _ANSWER_SLACK_SECONDS if spec.HasField("timeout_seconds") else None
        call = self._stub.StreamLesson(pb.StreamLessonRequest(spec=spec), timeout=timeout, metadata=self._metadata)
        completed = False
        try:
            for message in call:
                event = _event(message)
                completed = completed or isinstance(event, Completed)
                if event is not None:
                    yield event
        except grpc.RpcError as error:
            if not completed:
                raise LessonError(read_error(error)) from error
        except wire.WireError as error:
            raise LessonError(_bad_gateway_answer(f"the gateway's answer cannot be read: {error}")) from error
        finally:
            call.cancel()
        if not completed:
            raise LessonError(_bad_gateway_answer("the gateway ended the call without a lesson"))


class EnhancerClient:
    """Asks the analyser of the EnhancerService at HOST:PORT. It never asks a model, so calls cost nothing."""

    def __init__(self, address: str) -> None:
        self._channel = _open(address)
        self._stub = enhancer_service_pb2_grpc.EnhancerServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def annotate(self, items: Sequence[Item], timeout_seconds: float) -> tuple[JapaneseText, ...]:
        """The annotation of each item, in order. Raises AnnotateError, also for an answer about other texts."""
        try:
            reply = self._stub.EnhanceSection(_analysis(items), timeout=timeout_seconds)
            texts = tuple(wire.from_message(JapaneseText, item.text) for item in reply.items)
        except grpc.RpcError as error:
            raise AnnotateError(read_error(error)) from error
        except wire.WireError as error:
            raise AnnotateError(_bad_enhancer_answer(f"the enhancer's answer cannot be read: {error}")) from error
        if [(text.id, text.kanji) for text in texts] != [(item.id, item.text) for item in items]:
            raise AnnotateError(_bad_enhancer_answer("the enhancer's answer is about other texts than the request"))
        return texts


def is_serving(address: str, service: str = "", timeout_seconds: float = 0.5, access: Access = ANONYMOUS) -> bool:
    """Whether the gRPC server at HOST:PORT reports this service as SERVING. Never raises. Sends no key."""
    if not accepts_connections(address, timeout_seconds):
        return False  # gRPC would keep trying until the timeout
    with _open(address, access) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its published types lack the methods
            reply = stub.Check(request, timeout=timeout_seconds)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def accepts_connections(address: str, timeout_seconds: float = 0.5) -> bool:
    """Whether anything listens at HOST:PORT. Never raises."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_seconds):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def _open(address: str, access: Access = ANONYMOUS) -> grpc.Channel:
    """Uses the proxy that the environment names, except for this machine."""
    options = [*_OPTIONS, ("grpc.enable_http_proxy", int(not is_local(address)))]
    if access.tls:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(access.ca), options)
    return grpc.insecure_channel(address, options)


def lesson_spec(
    *,
    can_do_id: str = "",
    topic: str = "",
    level: str = "",
    can_do_text: str = "",
    learner_language: str = "",
    model: str = "",
    timeout_seconds: float | None = None,
) -> LessonSpec:
    """The lesson to make: an id, or topic and level (A1 to C2), or both. The gateway chooses what is empty or None."""
    return LessonSpec(
        can_do_id=can_do_id,
        topic=topic,
        level=wire.enum_to_number(Level(level) if level else None),  # type: ignore[arg-type] # enums travel as numbers
        can_do_text=can_do_text,
        learner_language=learner_language,
        model=model,
        timeout_seconds=timeout_seconds,
    )


def _analysis(items: Sequence[Item]) -> enhancer_service_pb2.EnhanceSectionRequest:
    """A request for the analyser alone. There is no lesson: section, level and language only make it well-formed.

    The reading is the section that holds nothing but sentences. Without a model, nothing reads the level.
    """
    return enhancer_service_pb2.EnhanceSectionRequest(
        section=wire.enum_to_number(SectionName.READING),  # type: ignore[arg-type] # enums travel as their numbers
        brief=lesson_pb2.Brief(
            level=wire.enum_to_number(Level.A1),  # type: ignore[arg-type]
            learner_language="und",  # BCP-47: undetermined
        ),
        items=[wire.to_message(item) for item in items],
        mode=wire.enum_to_number(EnhancementMode.ANALYSER),  # type: ignore[arg-type]
    )


def _event(message: pb.StreamLessonResponse) -> Event | None:
    """None for an event that this build does not know, from a newer gateway."""
    match message.WhichOneof("event"):
        case "accepted":
            accepted = message.accepted
            brief = wire.from_message(Brief, accepted.brief)
            return Accepted(brief, tuple(accepted.stage1_models), tuple(accepted.stage2_models))
        case "section_ready":
            ready = wire.enum_from_number(SectionName, message.section_ready.name)
            return SectionReady(ready, message.section_ready.revision) if ready else None
        case "section_enhanced":
            return SectionEnhanced(wire.from_message(EnhancedSection, message.section_enhanced.section))
        case "section_replaced":
            replaced = message.section_replaced
            name = wire.enum_from_number(SectionName, replaced.name)
            return SectionReplaced(name, replaced.revision, replaced.reason) if name else None
        case "completed":
            completed = message.completed
            return Completed(wire.from_message(Lesson, completed.lesson), safe_json(completed.master_json))
        case _:
            return None


def _bad_gateway_answer(message: str) -> RemoteError:
    return RemoteError(grpc.StatusCode.INTERNAL, message, reason="GATEWAY_NOT_UNDERSTOOD", fault="service")


def _bad_enhancer_answer(message: str) -> RemoteError:
    return RemoteError(grpc.StatusCode.INTERNAL, message, reason="ENHANCER_NOT_UNDERSTOOD", fault="service")
