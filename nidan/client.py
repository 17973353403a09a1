"""Gateway and enhancer as their callers see them: requests in, models out. The only module here that knows gRPC.

Everything is synchronous: a command line has one thing to do at a time, and Ctrl-C must end a call where it waits.
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

ANYBODY = Access()
"""No key, and plaintext."""
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_ANSWER_SLACK_SECONDS = 2.0
"""A run ends by its own deadline and says why; ours comes later and is for a gateway that says nothing."""
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # a lesson is money: whoever wants it twice says so twice
    ("grpc.keepalive_time_ms", 40_000),  # the only way to notice a gateway that froze in mid-lesson
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
]


@dataclass(frozen=True)
class LessonRequest:
    """Which lesson is wanted: an id, or topic and level, or both. What is empty or None is left to the gateway."""

    can_do_id: str = ""
    topic: str = ""
    level: Level | None = None
    can_do_text: str = ""
    learner_language: str = ""
    model: str = ""
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class Accepted:
    """The run has begun; models in the order in which they are tried."""

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
    """Stage 2 has done with a section, well or badly: its state says which."""

    section: EnhancedSection


@dataclass(frozen=True)
class SectionReplaced:
    """What was said of a section no longer holds."""

    name: SectionName
    revision: int
    reason: str


@dataclass(frozen=True)
class Completed:
    """The lesson, typed and as the web client's JSON, letter for letter."""

    lesson: Lesson
    master_json: str


Event = Accepted | SectionReady | SectionEnhanced | SectionReplaced | Completed


class CallError(Exception):
    """A call that gave nothing; `error` says why, as the service told it."""

    def __init__(self, error: RemoteError) -> None:
        super().__init__(error.message)
        self.error = error


class LessonError(CallError):
    """There is no lesson."""


class AnnotateError(CallError):
    """There are no annotations."""


class LessonClient:
    """Calls LessonService over a channel that the caller owns, or over one of its own to HOST:PORT."""

    def __init__(self, gateway: grpc.Channel | str, access: Access = ANYBODY) -> None:
        self._own = _open(gateway, access) if isinstance(gateway, str) else None
        self._metadata = (("authorization", f"Bearer {access.key}"),) if access.key else ()
        channel = gateway if self._own is None else self._own
        self._stub = lesson_service_pb2_grpc.LessonServiceStub(channel)  # type: ignore[arg-type] # never a str here

    def close(self) -> None:
        """Closes its own channel; one that was given stays open."""
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stream(self, request: LessonRequest) -> Generator[Event, None, None]:
        """The events of one lesson; the last is Completed. Closing the iterator early cancels the call.

        Raises LessonError when there is no lesson, also when the gateway's answer cannot be understood.
        """
        timeout = None if request.timeout_seconds is None else request.timeout_seconds + _ANSWER_SLACK_SECONDS
        call = self._stub.StreamLesson(
            pb.StreamLessonRequest(spec=_spec(request)), timeout=timeout, metadata=self._metadata
        )
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
            raise LessonError(_not_understood(f"the gateway's answer cannot be read: {error}")) from error
        finally:
            call.cancel()
        if not completed:
            raise LessonError(_not_understood("the gateway ended the call without a lesson"))


class EnhancerClient:
    """Asks the analyser of the EnhancerService at HOST:PORT, and never a model: it costs nothing, however often."""

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
        """The annotation of each item, in order. Raises AnnotateError, also when the answer is of something else."""
        try:
            reply = self._stub.EnhanceSection(_analysis(items), timeout=timeout_seconds)
            texts = tuple(wire.from_message(JapaneseText, item.text) for item in reply.items)
        except grpc.RpcError as error:
            raise AnnotateError(read_error(error)) from error
        except wire.WireError as error:
            raise AnnotateError(_answer_unread(f"the enhancer's answer cannot be read: {error}")) from error
        if [(text.id, text.kanji) for text in texts] != [(item.id, item.text) for item in items]:
            raise AnnotateError(_answer_unread("the enhancer's answer is of other texts than it was asked for"))
        return texts


def is_serving(address: str, service: str = "", timeout_seconds: float = 0.5, access: Access = ANYBODY) -> bool:
    """Whether a gRPC server at HOST:PORT says that this service of its is SERVING. Never raises. Sends no key."""
    if not accepts_connections(address, timeout_seconds):
        return False  # at once, where gRPC would go on trying
    with _open(address, access) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its published types know no methods
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


def _open(address: str, access: Access = ANYBODY) -> grpc.Channel:
    """A proxy that the environment names is for the world, not for this machine."""
    options = [*_OPTIONS, ("grpc.enable_http_proxy", int(not is_local(address)))]
    if access.tls:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(access.ca), options)
    return grpc.insecure_channel(address, options)


def _spec(request: LessonRequest) -> pb.LessonSpec:
    return pb.LessonSpec(
        can_do_id=request.can_do_id,
        topic=request.topic,
        level=wire.enum_to_number(request.level),  # type: ignore[arg-type] # enums travel as their numbers
        can_do_text=request.can_do_text,
        learner_language=request.learner_language,
        model=request.model,
        timeout_seconds=request.timeout_seconds,
    )


def _analysis(items: Sequence[Item]) -> enhancer_service_pb2.EnhanceSectionRequest:
    """For the analyser alone. There is no lesson; section, level and language are only there to be well-formed.

    A reading is the section that is all sentences. No model is named, so nobody reads the level or translates.
    """
    return enhancer_service_pb2.EnhanceSectionRequest(
        section=wire.enum_to_number(SectionName.READING),  # type: ignore[arg-type] # enums travel as their numbers
        brief=lesson_pb2.Brief(
            level=wire.enum_to_number(Level.A1),  # type: ignore[arg-type]
            learner_language="und",  # BCP-47 for a language that is not known
        ),
        items=[wire.to_message(item) for item in items],
        mode=wire.enum_to_number(EnhancementMode.ANALYSER),  # type: ignore[arg-type]
    )


def _event(message: pb.StreamLessonResponse) -> Event | None:
    """None for an event that this build does not know: a newer gateway may tell more than we can show."""
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
            return Completed(wire.from_message(Lesson, completed.lesson), completed.master_json)
        case _:
            return None


def _not_understood(message: str) -> RemoteError:
    return RemoteError(grpc.StatusCode.INTERNAL, message, reason="GATEWAY_NOT_UNDERSTOOD", fault="service")


def _answer_unread(message: str) -> RemoteError:
    return RemoteError(grpc.StatusCode.INTERNAL, message, reason="ENHANCER_NOT_UNDERSTOOD", fault="service")
