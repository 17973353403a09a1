"""A service killed in the middle of a lesson (SIGKILL, real processes): what the gateway still makes of that lesson.

The model server runs in this process, so that its pace is set here and its calls can be counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import pytest_asyncio

from lesson import wire
from lesson.models import Lesson, Outcome, ReadingProvenance, SectionName, SectionState
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import read_error
from tests.model_server import Answer, ModelServer, model_server
from tests.services.processes import House, stub
from tests.trio import check_lesson, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("killed")]

AWAY_SECONDS = 1.0
"""Between a process's end and its next start; its start takes as long again."""
PACED = Answer(chunk_delay_seconds=0.0005)
"""A Stage 1 answer that takes a second or two."""
NEVER = Answer(delay_seconds=60.0)
SPEC = pb.LessonSpec(can_do_id="JF:349")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_model() -> AsyncIterator[ModelServer]:
    async with model_server() as model:
        yield model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(shared_model: ModelServer) -> AsyncIterator[House]:
    house = House(
        {
            "CANDO_AI_STAGE1_PROVIDER": "openai",
            "CANDO_AI_STAGE2_PROVIDER": "openai",
            "OPENAI_BASE_URL": shared_model.url,
            "OPENAI_API_KEY": "test",
        }
    )
    try:
        yield house
    finally:
        await house.end()


@pytest_asyncio.fixture(loop_scope="module")
async def house(shared: House) -> House:
    """All three run."""
    await shared.make_whole()
    return shared


@pytest_asyncio.fixture(loop_scope="module")
async def model(house: House, shared_model: ModelServer) -> ModelServer:
    """The model server of the house, which has been asked nothing yet."""
    shared_model.calls.clear()
    shared_model.script.clear()
    shared_model.always.clear()
    shared_model.chunks_written = 0
    return shared_model


async def kill_and_start_again(house: House, module: str) -> None:
    await house.kill(module)
    await asyncio.sleep(AWAY_SECONDS)
    await house.start(module)


class Caller:
    """Reads StreamLesson event by event."""

    def __init__(self, call: Any) -> None:
        self._call: AsyncIterator[pb.StreamLessonResponse] = aiter(call)
        self.events: list[pb.StreamLessonResponse] = []

    async def until(self, what: str, name: SectionName | None = None) -> pb.StreamLessonResponse:
        """Reads on to the event of that kind (and of that section). Raises grpc.aio.AioRpcError when the call fails."""
        async with asyncio.timeout(30):
            async for event in self._call:
                self.events.append(event)
                if event.WhichOneof("event") == what and (name is None or _section_of(event) is name):
                    return event
        raise AssertionError(f"the lesson ended without {what} {name or ''}")

    async def lesson(self) -> Lesson:
        """Reads to the end: the lesson, checked."""
        lesson = wire.from_message(Lesson, (await self.until("completed")).completed.lesson)
        check_lesson(lesson)
        return lesson

    async def error(self) -> Any:
        """Reads to the end, which must be an error."""
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self.until("completed")
        return read_error(failed.value)

    def told(self, what: str) -> list[SectionName | None]:
        """The sections of all events of that kind, in order."""
        return [_section_of(event) for event in self.events if event.WhichOneof("event") == what]


def _section_of(event: pb.StreamLessonResponse) -> SectionName | None:
    match event.WhichOneof("event"):
        case "section_ready":
            return wire.enum_from_number(SectionName, event.section_ready.name)
        case "section_enhanced":
            return wire.enum_from_number(SectionName, event.section_enhanced.section.name)
        case "section_replaced":
            return wire.enum_from_number(SectionName, event.section_replaced.name)
    return None


@asynccontextmanager
async def caller(house: House) -> AsyncIterator[Callable[[], Caller]]:
    """Gives a function that begins a lesson; a lesson still read at the end of the block is cancelled."""
    async with stub(house.processes["gateway"]) as lessons:
        yield lambda: Caller(lessons.StreamLesson(pb.StreamLessonRequest(spec=SPEC), timeout=60))


async def some_chunks_more(model: ModelServer) -> None:
    before = model.chunks_written
    await until(lambda: model.chunks_written > before + 20)


PHASES = [
    pytest.param(None, id="before any section", marks=pytest.mark.slow),
    pytest.param(SectionName.FRAME, id="after frame", marks=pytest.mark.slow),
    pytest.param(SectionName.DIALOGUE, id="after dialogue", marks=pytest.mark.slow),
    pytest.param(SectionName.GRAMMAR, id="after grammar", marks=pytest.mark.slow),
    pytest.param(SectionName.CULTURE, id="while practice is written"),
]


@pytest.mark.parametrize("last_written", PHASES)
async def test_a_content_service_killed_and_started_again_ends_its_lesson(
    house: House, model: ModelServer, last_written: SectionName | None
) -> None:
    model.script["stage1"] = [PACED]
    async with caller(house) as begin:
        reader = begin()
        if last_written:
            await reader.until("section_ready", last_written)
        await some_chunks_more(model)
        await kill_and_start_again(house, "content_service")
        lesson = await reader.lesson()

    assert lesson.outcome is Outcome.COMPLETE
    # What had come is kept: no section is asked again, told again or taken back.
    assert sorted(reader.told("section_ready"), key=str) == sorted(SectionName)
    assert reader.told("section_replaced") == []
    asked_again = model.asked("stage1")[-1].data["sections"]
    assert asked_again == [name.json_key for name in list(SectionName)[-len(asked_again) :]]
    assert last_written is None or last_written.json_key not in asked_again
    assert len(model.asked("stage1")) == 2


async def test_an_enhancer_killed_and_started_again_ends_its_lesson(house: House, model: ModelServer) -> None:
    annotated = [name for name in SectionName if name is not SectionName.LESSON_PLAN]
    model.script = {name.value: [Answer(delay_seconds=10.0)] for name in annotated}
    async with caller(house) as begin:
        reader = begin()
        await reader.until("section_ready", SectionName.LESSON_PLAN)
        await until(lambda: all(model.asked(name.value) for name in annotated))
        await kill_and_start_again(house, "enhancer_service")
        lesson = await reader.lesson()
    assert lesson.outcome is Outcome.COMPLETE


async def test_without_its_enhancer_a_lesson_keeps_every_text_and_annotation(house: House, model: ModelServer) -> None:
    model.always = {name.value: NEVER for name in SectionName if name is not SectionName.FRAME}
    async with caller(house) as begin:
        reader = begin()
        await reader.until("section_enhanced", SectionName.FRAME)
        await until(lambda: model.in_flight == 5)  # the other sections are being annotated
        await house.kill("enhancer_service")
        lesson = await reader.lesson()

    assert lesson.outcome is Outcome.PARTIAL
    assert lesson.content.written == tuple(SectionName)
    frame, *others, plan = lesson.sections
    assert (frame.state, plan.state) == (SectionState.ENHANCED, SectionState.ENHANCED)
    for section in others:
        assert section.state is SectionState.PLAIN
        assert "UNAVAILABLE" in section.reason
        assert {text.reading_provenance for text in section.texts} == {ReadingProvenance.NONE}


async def test_without_its_content_service_a_lesson_is_partial_after_its_grammar(
    house: House, model: ModelServer
) -> None:
    model.script["stage1"] = [PACED, Answer(chunk_delay_seconds=1.0)]
    async with caller(house) as begin:
        far = begin()
        await far.until("section_ready", SectionName.GRAMMAR)
        near = begin()
        await until(lambda: len(model.asked("stage1")) == 2)
        await house.kill("content_service")
        lesson, error = await asyncio.gather(far.lesson(), near.error())

    assert lesson.outcome is Outcome.PARTIAL
    assert {SectionName.FRAME, SectionName.READING, SectionName.DIALOGUE, SectionName.GRAMMAR} <= set(
        lesson.content.written
    )
    for section in lesson.sections:
        missing = section.name not in lesson.content.written
        assert section.state is (SectionState.MISSING if missing else SectionState.ENHANCED)
    assert lesson.state(SectionName.LESSON_PLAN) is SectionState.MISSING
    assert error.status is grpc.StatusCode.UNAVAILABLE
    assert (error.stage, error.retryable, error.reason) == ("stage1", True, "STAGE1_UPSTREAM")


async def test_a_killed_gateway_leaves_no_model_call_behind(house: House, model: ModelServer) -> None:
    model.always = {name.value: NEVER for name in SectionName} | {"stage1": Answer(chunk_delay_seconds=0.003)}
    async with caller(house) as begin:
        reader = begin()
        await reader.until("section_ready", SectionName.READING)
        await until(lambda: model.in_flight == 3)  # Stage 1, and Stage 2 of frame and reading
        await house.kill("gateway")
        error = await reader.error()
    assert error.status is grpc.StatusCode.UNAVAILABLE
    await until(lambda: model.in_flight == 0, seconds=1.0)
    before = len(model.calls), model.chunks_written
    await asyncio.sleep(0.2)
    assert (len(model.calls), model.chunks_written) == before
