"""A content service that says what its script says, over a real gRPC server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lesson import wire
from lesson.models import AttemptOutcome, Content, SectionName, Stage, attempt_reported
from lesson.v1 import content_service_pb2 as pb
from lesson.v1 import content_service_pb2_grpc
from servicekit.llm.calls import Reply
from servicekit.server import Service, serving
from servicekit.telemetry import Registry
from tests.model_server import ModelServer
from tests.trio import trio

Script = Callable[[pb.GenerateContentRequest], list[pb.GenerateContentResponse]]


class Scripted(content_service_pb2_grpc.ContentServiceServicer):
    """Says what its script says."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def GenerateContent(self, request: Any, _context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for event in self._script(request):
            yield event

    async def Describe(self, _request: Any, _context: Any) -> pb.ContentServiceDescribeResponse:  # noqa: N802
        return pb.ContentServiceDescribeResponse()

    def register(self, server: Any) -> None:
        content_service_pb2_grpc.add_ContentServiceServicer_to_server(self, server)


@asynccontextmanager
async def content_service(script: Script) -> AsyncIterator[str]:
    service = Service(
        name="scripted", bind="127.0.0.1", port=0, health_port=0, metrics_port=0, grpc_names=(),
        register=Scripted(script).register, registry=Registry(), longest_call_seconds=5.0, calls_limit=10,
    )  # fmt: skip
    async with serving(service) as ports:
        yield f"127.0.0.1:{ports.grpc}"


def released(content: Content, name: SectionName) -> pb.GenerateContentResponse:
    value = content.section(name)
    assert value is not None
    message: Any = pb.SectionReleased(content=wire.to_message(Content().with_section(name, value)))
    message.name = wire.enum_to_number(name)
    return pb.GenerateContentResponse(section=message)


def finished(request: pb.GenerateContentRequest, content: Content) -> pb.GenerateContentResponse:
    attempt = attempt_reported(
        Reply(), attempt_id=request.attempt_id, stage=Stage.STAGE1, section=None, provider="openai",
        model=request.model, outcome=AttemptOutcome.OK, reason="",
    )  # fmt: skip
    done = pb.ContentResult(content=wire.to_message(content), attempt=wire.to_message(attempt))
    return pb.GenerateContentResponse(result=done)


async def whole(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> Content:
    async with trio(monkeypatch, model) as running:
        lesson, _ = await running.generate()
    return lesson.content
