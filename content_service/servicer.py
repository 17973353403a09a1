"""Message to model, stage, model to message; nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from content_service import prompts
from content_service.stage import ContentFinished, ContentRequest, ContentStage, SectionReleased
from lesson import wire
from lesson.models import Brief, Content, SectionName
from lesson.v1 import content_service_pb2 as pb
from lesson.v1 import content_service_pb2_grpc, lesson_pb2
from servicekit.errors import FieldViolation, InvalidRequestError
from servicekit.llm.capabilities import Provider
from servicekit.llm.shutdown_dates import ListedEnds

FULL_NAME = "lesson.v1.ContentService"
# What an answer needs on its way back once the model is done.
_REPLY_SECONDS = 0.5


class ContentServicer(content_service_pb2_grpc.ContentServiceServicer):
    """Serves one stage with its default limits."""

    def __init__(
        self,
        stage: ContentStage,
        provider: Provider,
        timeout_seconds: float,
        max_output_tokens: int,
        *,
        ends: ListedEnds,
    ) -> None:
        self._stage = stage
        self._provider = provider
        self._ends = ends
        self._timeout_seconds = timeout_seconds
        self._max_output_tokens = max_output_tokens

    def register(self, server: grpc.aio.Server) -> None:
        content_service_pb2_grpc.add_ContentServiceServicer_to_server(self, server)

    async def GenerateContent(  # noqa: N802 - the contract's name
        self, request: pb.GenerateContentRequest, context: Any
    ) -> AsyncIterator[pb.GenerateContentResponse]:
        wanted = self._request(request, context.time_remaining())
        async with aclosing(self._stage.generate(wanted)) as events:
            async for event in events:
                yield _released(event) if isinstance(event, SectionReleased) else _finished(event)

    async def Describe(  # noqa: N802
        self, _request: pb.ContentServiceDescribeRequest, _context: Any
    ) -> pb.ContentServiceDescribeResponse:
        return pb.ContentServiceDescribeResponse(
            prompt_version=prompts.prompt_version(),
            schema_version=prompts.SCHEMA_VERSION,
            provider=self._provider.value,
            model_ends=[
                lesson_pb2.ModelEnd(model=name, date=on.isoformat()) for name, on in self._ends.known().items()
            ],
            sample=self._provider is Provider.OFFLINE,
        )

    def _request(self, request: pb.GenerateContentRequest, remaining: float | None) -> ContentRequest:
        violations = [] if request.model.strip() else [FieldViolation("model", "name a model")]
        violations += [] if request.attempt_id else [FieldViolation("attempt_id", "give the attempt an id")]
        try:
            brief = wire.from_message(Brief, request.brief)
            confirmed = wire.from_message(Content, request.confirmed)
        except wire.WireError as error:
            violations.append(FieldViolation("brief", str(error)))
        if violations:
            raise InvalidRequestError(
                "The request cannot be served: " + violations[0].description, violations=violations
            )
        wanted = [wire.enum_from_number(SectionName, number) for number in request.sections_wanted]
        budget = self._timeout_seconds if remaining is None else remaining - _REPLY_SECONDS
        return ContentRequest(
            brief=brief,
            model=request.model,
            attempt_id=request.attempt_id,
            timeout_seconds=max(0.001, min(self._timeout_seconds, budget)),
            max_output_tokens=request.max_output_tokens or self._max_output_tokens,
            wanted=tuple(name for name in SectionName if name in wanted) or tuple(SectionName),
            confirmed=confirmed,
            reask_reasons=tuple(request.reask_reasons),
            max_cost_usd=request.max_cost_usd if request.HasField("max_cost_usd") else None,
        )


def _released(event: SectionReleased) -> pb.GenerateContentResponse:
    content = wire.to_message(Content().with_section(event.name, event.value))
    section = pb.SectionReleased(
        name=wire.enum_to_number(event.name),  # type: ignore[arg-type] # enums travel as their numbers
        revision=event.revision,
        content=content,
    )
    return pb.GenerateContentResponse(section=section)


def _finished(event: ContentFinished) -> pb.GenerateContentResponse:
    finished = pb.ContentFinished(
        content=wire.to_message(event.content),
        attempt=wire.to_message(event.attempt),
        notes=event.notes,
        faults=event.faults,
        style_faults=event.style_faults,
        origin=event.origin,
    )
    return pb.GenerateContentResponse(finished=finished)
