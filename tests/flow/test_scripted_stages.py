"""The gateway against scripted gRPC stages that use the contract in ways ours seldom do."""

from __future__ import annotations

import pytest

from lesson import wire
from lesson.models import AttemptOutcome, Content, Outcome, SectionName
from lesson.v1 import content_service_pb2 as pb
from lesson.v1 import lesson_pb2
from lesson.v1 import lesson_service_pb2 as lesson_service_pb
from tests.flow.scripted import content_service, finished, released, whole
from tests.model_server import ModelServer
from tests.trio import trio


async def test_a_section_that_the_stage_revises_is_replaced_and_its_stage_2_begun_anew(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    content = await whole(monkeypatch, model)
    assert content.dialogue
    shorter = content.model_copy(
        update={"dialogue": content.dialogue.model_copy(update={"turns": content.dialogue.turns[:4]})}
    )

    def script(request: pb.GenerateContentRequest) -> list[pb.GenerateContentResponse]:
        dialogue = [released(shorter, SectionName.DIALOGUE), released(content, SectionName.DIALOGUE)]
        return [released(content, SectionName.FRAME), *dialogue, finished(request, content)]

    async with content_service(script) as address, trio(monkeypatch, model, {"CONTENT_ADDRESS": address}) as running:
        request = lesson_service_pb.StreamLessonRequest(spec=lesson_service_pb.LessonSpec(can_do_id="JF:349"))
        events = [event async for event in running.stub.StreamLesson(request, timeout=20)]

    replaced = [event.section_replaced for event in events if event.WhichOneof("event") == "section_replaced"]
    assert [(event.name, event.revision) for event in replaced] == [(lesson_pb2.SECTION_NAME_DIALOGUE, 1)]
    lesson = events[-1].completed.lesson
    assert lesson.outcome == lesson_pb2.OUTCOME_COMPLETE
    assert wire.from_message(Content, lesson.content) == content
    assert {section.name: section.revision for section in lesson.sections}[lesson_pb2.SECTION_NAME_DIALOGUE] == 2


async def test_a_stage_that_ends_without_a_result_is_asked_again_for_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    content = await whole(monkeypatch, model)
    asked: list[list[int]] = []

    def script(request: pb.GenerateContentRequest) -> list[pb.GenerateContentResponse]:
        asked.append(list(request.wanted))
        if len(asked) == 1:
            return [released(content, SectionName.FRAME), released(content, SectionName.READING)]
        return [finished(request, content)]

    async with content_service(script) as address, trio(monkeypatch, model, {"CONTENT_ADDRESS": address}) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert asked == [[1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7]]
    assert lesson.attempts[0].outcome is AttemptOutcome.UPSTREAM


async def test_an_answer_of_a_stage_that_cannot_be_read_is_that_attempts_failure(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    content = await whole(monkeypatch, model)

    def script(request: pb.GenerateContentRequest) -> list[pb.GenerateContentResponse]:
        nameless = pb.GenerateContentResponse(section=pb.SectionReleased())
        return [nameless] if request.model == "gpt-5" else [finished(request, content)]

    async with content_service(script) as address, trio(monkeypatch, model, {"CONTENT_ADDRESS": address}) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert "cannot be read" in lesson.attempts[0].reason
