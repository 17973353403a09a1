"""The gRPC API of Stage 1: converts messages to models and back, and calls the stage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from content_service import prompts
from content_service.stage import ContentStage
from lesson import wire
from lesson.calls import ContentCall, ContentResult, SectionReleased
from lesson.v1 import content_service_pb2 as pb
from lesson.v1 import content_service_pb2_grpc, lesson_pb2
from servicekit.errors import FieldViolation, InvalidRequestError
from servicekit.llm.shutdown_dates import ShutdownDates

FULL_NAME = "lesson.v1.ContentService"
# The time that an answer needs on its way back after the model call.
_REPLY_SECONDS = 0.5


class ContentServicer(content_service_pb2_grpc.ContentServiceServicer):
    """Serves one stage. `timeout_seconds` limits its model call when the caller's deadline allows more."""

    def __init__(
        self,
        stage: ContentStage,
        timeout_seconds: float,
        *,
        ends: ShutdownDates,
    ) -> None:
        self._stage = stage
        self._ends = ends
        self._timeout_seconds = timeout_seconds

    def register(self, server: grpc.aio.Server) -> None:
        content_service_pb2_grpc.add_ContentServiceServicer_to_server(self, server)

    async def GenerateContent(  # noqa: N802 - the contract's name
        self, request: pb.GenerateContentRequest, context: Any
    ) -> AsyncIterator[pb.GenerateContentResponse]:
        call, remaining = _call(request), context.time_remaining()
        seconds = self._timeout_seconds if remaining is None else min(self._timeout_seconds, remaining - _REPLY_SECONDS)
        async with aclosing(self._stage.generate(call, max(0.001, seconds))) as events:
            async for event in events:
                yield _response(event)

    async def Describe(  # noqa: N802
        self, _request: pb.ContentServiceDescribeRequest, _context: Any
    ) -> pb.ContentServiceDescribeResponse:
        return pb.ContentServiceDescribeResponse(
            prompt_version=prompts.prompt_version(),
            schema_version=prompts.SCHEMA_VERSION,
            model_ends=[
                lesson_pb2.ModelEnd(model=name, date=on.isoformat()) for name, on in self._ends.known().items()
            ],
        )


def _call(request: pb.GenerateContentRequest) -> ContentCall:
    violations = [] if request.model.strip() else [FieldViolation("model", "name a model")]
    violations += [] if request.attempt_id else [FieldViolation("attempt_id", "give the attempt an id")]
    try:
        call = wire.from_message(ContentCall, request)
    except wire.WireError as error:
        violations.append(FieldViolation("brief", str(error)))
    if violations:
        raise InvalidRequestError("The request cannot be served: " + violations[0].description, violations=violations)
    return call


def _response(event: SectionReleased | ContentResult) -> pb.GenerateContentResponse:
    if isinstance(event, SectionReleased):
        return pb.GenerateContentResponse(section=wire.to_message(event))
    return pb.GenerateContentResponse(result=wire.to_message(event))
