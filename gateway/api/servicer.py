"""The public edge: checks a request's form, runs the pipeline, turns its events into messages."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway.access.auth import callers_day
from gateway.events import (
    Accepted,
    Completed,
    LessonSpec,
    LoggedEvent,
    SectionEnhanced,
    SectionReady,
    SectionReplaced,
)
from gateway.pipeline import Pipeline
from lesson import wire
from lesson.models import Content, Level
from lesson.steps import run_in_slices
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.errors import DeadlineError, FieldViolation, InvalidRequestError

FULL_NAME = "lesson.v1.LessonService"
_TELL_BEFORE_SECONDS = 0.5
"""Before its own deadline a caller is told, with the lesson's id; later its client makes the status itself."""
_LIMITS = {"can_do_id": 100, "topic": 200, "can_do_text": 1000, "learner_language": 35, "model": 100}
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


class LessonServicer(lesson_service_pb2_grpc.LessonServiceServicer):
    """Both RPCs are one path: GenerateLesson is StreamLesson read to its end."""

    def __init__(self, pipeline: Pipeline, deadline_seconds: float) -> None:
        self._pipeline = pipeline
        self._deadline_seconds = deadline_seconds

    def register(self, server: grpc.aio.Server) -> None:
        lesson_service_pb2_grpc.add_LessonServiceServicer_to_server(self, server)

    async def GenerateLesson(  # noqa: N802 - the contract's name
        self, request: pb.GenerateLessonRequest, context: Any
    ) -> pb.GenerateLessonResponse:
        async with aclosing(self._events(request.spec, context)) as events:
            async for logged in events:
                if isinstance(logged.event, Completed):
                    return pb.GenerateLessonResponse(
                        lesson=wire.to_message(logged.event.lesson), master_json=logged.event.master_json
                    )
        raise AssertionError("a run ends in Completed or in an error")

    async def StreamLesson(  # noqa: N802
        self, request: pb.StreamLessonRequest, context: Any
    ) -> AsyncIterator[pb.StreamLessonResponse]:
        async with aclosing(self._events(request.spec, context)) as events:
            async for logged in events:
                yield await _message(logged)

    async def _events(self, request: pb.LessonSpec, context: Any) -> AsyncGenerator[LoggedEvent, None]:
        """The run's events as long as the caller waits: its deadline bounds its waiting, and it is told before."""
        spec = read_spec(request, self._deadline_seconds)
        remaining = context.time_remaining()
        limit = None if remaining is None else asyncio.get_running_loop().time() + remaining - _TELL_BEFORE_SECONDS
        lesson_id = ""
        async with aclosing(self._pipeline.run(spec, callers_day())) as events:
            while True:
                try:
                    async with asyncio.timeout_at(limit):
                        logged = await anext(events)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    message = "The caller's deadline came before the lesson was done. Allow more time."
                    raise DeadlineError(message, lesson_id=lesson_id) from error
                lesson_id = logged.lesson_id
                yield logged


def read_spec(spec: pb.LessonSpec, deadline_seconds: float) -> LessonSpec:
    """The request, checked for form. Raises InvalidRequestError naming each field that is wrong."""
    violations = list(_violations(spec, deadline_seconds))
    if violations:
        named = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidRequestError(f"The request cannot be served. {named}", violations=violations)
    return LessonSpec(
        can_do_id=spec.can_do_id.strip(),
        topic=spec.topic.strip(),
        level=wire.enum_from_number(Level, spec.level),
        can_do_text=spec.can_do_text.strip(),
        learner_language=spec.learner_language or "en",
        learner_level=spec.learner_level if spec.HasField("learner_level") else None,
        model=spec.model.strip(),
        timeout_seconds=spec.timeout_seconds if spec.HasField("timeout_seconds") else None,
    )


def _violations(spec: pb.LessonSpec, deadline_seconds: float) -> Iterator[FieldViolation]:
    for name, limit in _LIMITS.items():
        problem = _text_problem(getattr(spec, name), limit)
        if problem:
            yield FieldViolation(f"spec.{name}", problem)
    if spec.level and wire.enum_from_number(Level, spec.level) is None:
        yield FieldViolation("spec.level", "unknown level; one of A1, A2, B1, B2, C1, C2")
    if spec.learner_language and not _LANGUAGE_TAG.fullmatch(spec.learner_language):
        yield FieldViolation("spec.learner_language", "no BCP-47 tag; en or pt-BR, for example")
    if spec.HasField("learner_level") and not 1 <= spec.learner_level <= 6:
        yield FieldViolation("spec.learner_level", "must be 1 to 6")
    if spec.HasField("timeout_seconds") and not 0 < spec.timeout_seconds <= deadline_seconds:
        yield FieldViolation("spec.timeout_seconds", f"must be above 0 and at most {deadline_seconds:g}")
    if not spec.can_do_id.strip() and not spec.topic.strip():
        yield FieldViolation("spec.topic", "is empty; give a topic and a level, or a can_do_id")


_HIDDEN_CATEGORIES = ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")
# Format characters that nobody can see and a model can read: embeddings and isolates of direction, and tag characters.
# The other ones stay: some languages cannot be written without joiners.
_HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def _text_problem(text: str, limit: int) -> str:
    if len(text) > limit:
        return f"has {len(text)} characters; at most {limit}"
    if _HIDDEN.search(text) or any(unicodedata.category(char) in _HIDDEN_CATEGORIES for char in text):
        return "holds control characters"
    return ""


async def _message(logged: LoggedEvent) -> pb.StreamLessonResponse:
    message = pb.StreamLessonResponse(sequence=logged.sequence, lesson_id=logged.lesson_id)
    event = logged.event
    match event:
        case Accepted():
            message.accepted.CopyFrom(
                pb.LessonAccepted(
                    brief=wire.to_message(event.brief),
                    stage1_models=event.stage1_models,
                    stage2_models=event.stage2_models,
                )
            )
        case SectionReady():
            content = wire.to_message(Content().with_section(event.name, event.value))
            message.section_ready.CopyFrom(
                pb.SectionReady(
                    name=wire.enum_to_number(event.name),  # type: ignore[arg-type] # enums travel as their numbers
                    revision=event.revision,
                    content=content,
                )
            )
        case SectionEnhanced():
            message.section_enhanced.CopyFrom(
                pb.SectionEnhanced(section=await run_in_slices(wire.section_message(event.section)))
            )
        case SectionReplaced():
            message.section_replaced.CopyFrom(
                pb.SectionReplaced(
                    name=wire.enum_to_number(event.name),  # type: ignore[arg-type]
                    revision=event.revision,
                    reason=event.reason,
                )
            )
        case Completed():
            lesson = await run_in_slices(wire.lesson_message(event.lesson))
            message.completed.CopyFrom(pb.LessonCompleted(lesson=lesson, master_json=event.master_json))
    return message
