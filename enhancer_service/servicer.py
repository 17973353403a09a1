"""The gRPC API of Stage 2: converts messages to models and back, and calls the stage."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import Message

from enhancer_service import prompts
from enhancer_service.stage import EnhancerStage
from lesson import wire
from lesson.calls import EnhanceCall
from lesson.limits import ITEM_BYTES, SECTION_BYTES, SECTION_ITEMS
from lesson.models import Brief, EnhancementMode, Frame, Issue, ItemKind, Model, SectionName
from lesson.v1 import enhancer_service_pb2 as pb
from lesson.v1 import enhancer_service_pb2_grpc, lesson_pb2
from servicekit.errors import FieldViolation, InvalidRequestError, UnsupportedError
from servicekit.llm.shutdown_dates import ShutdownDates

FULL_NAME = "lesson.v1.EnhancerService"
_REPLY_SECONDS = 0.5


class EnhancerServicer(enhancer_service_pb2_grpc.EnhancerServiceServicer):
    """Serves one stage. `timeout_seconds` limits its model call when the caller's deadline allows more."""

    def __init__(self, stage: EnhancerStage, timeout_seconds: float, ends: ShutdownDates) -> None:
        self._stage = stage
        self._ends = ends
        self._timeout_seconds = timeout_seconds

    def register(self, server: grpc.aio.Server) -> None:
        enhancer_service_pb2_grpc.add_EnhancerServiceServicer_to_server(self, server)

    async def EnhanceSection(  # noqa: N802 - the contract's name
        self, request: pb.EnhanceSectionRequest, context: Any
    ) -> pb.EnhanceSectionResponse:
        call, remaining = self._call(request), context.time_remaining()
        seconds = self._timeout_seconds if remaining is None else min(self._timeout_seconds, remaining - _REPLY_SECONDS)
        result = await self._stage.enhance(call, max(0.001, seconds))
        response: pb.EnhanceSectionResponse = wire.to_message(result)
        return response

    async def Describe(  # noqa: N802
        self, _request: pb.EnhancerServiceDescribeRequest, _context: Any
    ) -> pb.EnhancerServiceDescribeResponse:
        return pb.EnhancerServiceDescribeResponse(
            prompt_version=prompts.prompt_version(),
            annotator_version=self._stage.annotator.version,
            model_ends=[
                lesson_pb2.ModelEnd(model=name, date=on.isoformat()) for name, on in self._ends.known().items()
            ],
        )

    def _call(self, request: pb.EnhanceSectionRequest) -> EnhanceCall:
        if violations := _violations(request):
            raise InvalidRequestError(
                "The request cannot be served: " + violations[0].description, violations=violations
            )
        language = self._stage.annotator.language
        if request.language and request.language.split("-", maxsplit=1)[0].lower() != language:
            raise UnsupportedError(
                f"This service annotates items in {language!r}, not in {request.language!r}.",
                reason="LANGUAGE_NOT_SERVED",
            )
        return wire.from_message(EnhanceCall, request)


def _items_are_valid(request: pb.EnhanceSectionRequest) -> bool:
    return all(item.id and wire.enum_from_number(ItemKind, item.kind) for item in request.items)


def _items_problem(request: pb.EnhanceSectionRequest) -> str:
    if len(request.items) > SECTION_ITEMS:
        return f"has {len(request.items):,} items; at most {SECTION_ITEMS:,}"
    sizes = [len(item.text.encode()) for item in request.items]
    if max(sizes, default=0) > ITEM_BYTES:
        return f"a text has more than {ITEM_BYTES:,} bytes"
    if sum(sizes) > SECTION_BYTES:
        return f"all texts together have more than {SECTION_BYTES:,} bytes"
    return "" if _items_are_valid(request) else "every item needs an id and a kind"


def _violations(request: pb.EnhanceSectionRequest) -> list[FieldViolation]:
    """All wrong fields of the request."""
    ids = [item.id for item in request.items]
    checks = {
        "section": "name a section" if wire.enum_from_number(SectionName, request.section) is None else "",
        "items": _items_problem(request),
        "items.id": "ids must be unique" if len(set(ids)) < len(ids) else "",
        "wanted_ids": "must be ids of items" if set(request.wanted_ids) - set(ids) else "",
        "brief.learner_language": "" if request.brief.learner_language else "name the language of the translations",
        "mode": "name a mode" if wire.enum_from_number(EnhancementMode, request.mode) is None else "",
        "attempt_id": "give the attempt an id" if request.model and not request.attempt_id else "",
    }
    violations = [FieldViolation(name, text) for name, text in checks.items() if text]
    parts: list[tuple[str, type[Model], Message]] = [("brief", Brief, request.brief)]
    parts += [*(("reask_reasons", Issue, reason) for reason in request.reask_reasons)]
    parts += [("frame", Frame, request.frame)] if request.HasField("frame") else []
    for name, kind, message in parts:
        try:
            wire.from_message(kind, message)
        except wire.WireError as error:
            violations.append(FieldViolation(name, str(error)))
    return violations
