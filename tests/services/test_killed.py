"""A service killed in the middle of a lesson (SIGKILL, real processes): what the gateway still makes of that lesson.

The model server runs in this process, so that its pace is set here and its calls can be counted.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
import pytest_asyncio

from lesson import wire
from lesson.models import Lesson, Outcome, ReadingProvenance, SectionName, SectionState
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import read_error
from tests.model_server import Answer, ModelServer, model_server
from tests.services.test_processes import Process, start, stub
from tests.trio import check_lesson, port_of_its_own, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

AWAY_SECONDS = 1.0
"""Between a process's end and its next start; its start takes as long again."""
PACED = Answer(chunk_delay_seconds=0.0005)
"""A Stage 1 answer that takes a second or two."""
NEVER = Answer(delay_seconds=60.0)
MODULES = ("content_service", "enhancer_service", "gateway")
SPEC = pb.LessonSpec(can_do_id="JF:349")


@dataclass
class House:
    """The three services as processes, and the model server they ask."""

    model: ModelServer
    processes: dict[str, Process] = field(default_factory=dict)

    async def start(self, module: str) -> None:
        """Starts it, on the port it had if it ran before."""
        port = self.processes[module].port if module in self.processes else port_of_its_own()
        env = {
            "CANDO_AI_STAGE1_PROVIDER": "openai",
            "CANDO_AI_STAGE2_PROVIDER": "openai",
            "OPENAI_BASE_URL": self.model.url,
            "OPENAI_API_KEY": "test",
        }
        if module == "gateway":
            env["CONTENT_ADDRESS"] = f"127.0.0.1:{self.processes['content_service'].port}"
            env["ENHANCER_ADDRESS"] = f"127.0.0.1:{self.processes['enhancer_service'].port}"
        name = module.removesuffix("_service").upper()
        self.processes[module] = await start(module, **env, **{f"{name}_PORT": str(port)})

    async def kill(self, module: str) -> None:
        assert await self.processes[module].end(signal.SIGKILL) == -signal.SIGKILL

    async def kill_and_start_again(self, module: str) -> None:
        await self.kill(module)
        await asyncio.sleep(AWAY_SECONDS)
        await self.start(module)

    async def make_whole(self) -> None:
        """Starts what does not run, and then a new gateway, which has met no dead stage yet."""
        dead = [name for name in MODULES if name not in self.processes or self.processes[name].running.returncode]
        await asyncio.gather(*(self.start(name) for name in dead if name != "gateway"))
        if not dead:
            return
        if "gateway" not in dead:
            await self.processes["gateway"].end()
        await self.start("gateway")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[House]:
    async with model_server() as model:
        house = House(model)
        try:
            yield house
        finally:
            await asyncio.gather(*(process.end() for process in house.processes.values()))


@pytest_asyncio.fixture(loop_scope="module")
async def house(shared: House) -> House:
    """All three run, and the model server has been asked nothing yet."""
    await shared.make_whole()
    shared.model.calls.clear()
    shared.model.script.clear()
    shared.model.always.clear()
    shared.model.chunks_written = 0
    return shared


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


PHASES = [None, SectionName.FRAME, SectionName.DIALOGUE, SectionName.GRAMMAR, SectionName.CULTURE]
PHASE_NAMES = ["before_any_section", "after_frame", "after_dialogue", "after_grammar", "while_practice_is_written"]


@pytest.mark.parametrize("last_written", PHASES, ids=PHASE_NAMES)
async def test_a_lesson_whose_content_service_is_killed_and_started_again_ends_complete(
    house: House, last_written: SectionName | None
) -> None:
    house.model.script["stage1"] = [PACED]
    async with caller(house) as begin:
        reader = begin()
        if last_written:
            await reader.until("section_ready", last_written)
        await some_chunks_more(house.model)
        await house.kill_and_start_again("content_service")
        lesson = await reader.lesson()

    assert lesson.outcome is Outcome.COMPLETE
    # What had come is kept: no section is asked again, told again or taken back.
    assert sorted(reader.told("section_ready"), key=str) == sorted(SectionName)
    assert reader.told("section_replaced") == []
    asked_again = house.model.asked("stage1")[-1].data["sections"]
    assert asked_again == [name.json_key for name in list(SectionName)[-len(asked_again) :]]
    assert last_written is None or last_written.json_key not in asked_again
    assert len(house.model.asked("stage1")) == 2


async def test_a_lesson_whose_enhancer_is_killed_and_started_again_ends_complete(house: House) -> None:
    annotated = [name for name in SectionName if name is not SectionName.LESSON_PLAN]
    house.model.script = {name.value: [Answer(delay_seconds=10.0)] for name in annotated}
    async with caller(house) as begin:
        reader = begin()
        await reader.until("section_ready", SectionName.LESSON_PLAN)
        await until(lambda: all(house.model.asked(name.value) for name in annotated))
        await house.kill_and_start_again("enhancer_service")
        lesson = await reader.lesson()
    assert lesson.outcome is Outcome.COMPLETE


async def test_a_lesson_whose_enhancer_is_gone_is_partial_with_every_text_and_what_was_annotated(house: House) -> None:
    house.model.always = {name.value: NEVER for name in SectionName if name is not SectionName.FRAME}
    async with caller(house) as begin:
        reader = begin()
        await reader.until("section_enhanced", SectionName.FRAME)
        await until(lambda: house.model.in_flight == 5)  # the other sections are being annotated
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


async def test_a_lesson_whose_content_service_is_gone_is_partial_once_it_has_its_grammar_and_else_an_error(
    house: House,
) -> None:
    house.model.script["stage1"] = [PACED, Answer(chunk_delay_seconds=1.0)]
    async with caller(house) as begin:
        far = begin()
        await far.until("section_ready", SectionName.GRAMMAR)
        near = begin()
        await until(lambda: len(house.model.asked("stage1")) == 2)
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


async def test_a_killed_gateway_leaves_no_model_call_behind(house: House) -> None:
    model = house.model
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
