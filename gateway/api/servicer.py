"""The public gRPC API: runs the pipeline for a request and converts its events to messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway.access.auth import caller_lease
from gateway.api.requests import read_spec
from gateway.events import (
    Accepted,
    Completed,
    LoggedEvent,
    SectionEnhanced,
    SectionReady,
    SectionReplaced,
)
from gateway.pipeline import Pipeline
from lesson import wire
from lesson.models import Content
from lesson.steps import run_in_slices
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.errors import DeadlineError

FULL_NAME = "lesson.v1.LessonService"
_DEADLINE_MARGIN_SECONDS = 0.5
"""Reports a missed deadline this much early: later the caller's own client ends the call, without a lesson id."""


class LessonServicer(lesson_service_pb2_grpc.LessonServiceServicer):
    """Both RPCs take one path: GenerateLesson waits for the last event of StreamLesson."""

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
                    response = pb.GenerateLessonResponse(master_json=logged.event.master_json)
                    await run_in_slices(wire.fill(response.lesson, logged.event.lesson))
                    return response
        raise AssertionError("a run ends in Completed or in an error")

    async def StreamLesson(  # noqa: N802
        self, request: pb.StreamLessonRequest, context: Any
    ) -> AsyncIterator[pb.StreamLessonResponse]:
        async with aclosing(self._events(request.spec, context)) as events:
            async for logged in events:
                yield await _message(logged)

    async def _events(self, request: pb.LessonSpec, context: Any) -> AsyncGenerator[LoggedEvent, None]:
        """The run's events. Raises DeadlineError shortly before the caller's deadline."""
        spec = read_spec(request, self._deadline_seconds)
        remaining = context.time_remaining()
        limit = None if remaining is None else asyncio.get_running_loop().time() + remaining - _DEADLINE_MARGIN_SECONDS
        lesson_id = ""
        async with aclosing(self._pipeline.run(spec, caller_lease())) as events:
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
            await run_in_slices(wire.fill(message.section_enhanced.section, event.section))
        case SectionReplaced():
            message.section_replaced.CopyFrom(
                pb.SectionReplaced(
                    name=wire.enum_to_number(event.name),  # type: ignore[arg-type]
                    revision=event.revision,
                    reason=event.reason,
                )
            )
        case Completed():
            message.completed.master_json = event.master_json
            await run_in_slices(wire.fill(message.completed.lesson, event.lesson))
    return message
