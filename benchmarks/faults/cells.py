"""The cells of the matrix: reads wanted.tsv and runs a cell as one lesson through the trio."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal

import grpc

from benchmarks.faults.kinds import END, REFUSED, stage1_fault, stage2_fault
from benchmarks.faults.server import STAGE1, Call, Fault, FaultServer
from benchmarks.in_process import CHAINS, InProcess, KeptLedger, in_process
from enhancer_service.japanese.reading import Analyser
from gateway.attempts.ledger import Row
from lesson import wire
from lesson.models import Attempt, AttemptKind, AttemptOutcome, Lesson, SectionName, Stage
from lesson.v1 import lesson_service_pb2 as pb
from offline_model.bank import SECTION_KEYS, Bank
from servicekit.errors import RemoteError, read_error

CAN_DO: Final = "JF:349"
ALL: Final = "all"
WHOLE: Final = "-"
ANY: Final = "any"
DEADLINE_SECONDS: Final = 30.0
SETTINGS: Final[Mapping[str, object]] = {
    "ai_stage1_timeout_seconds": 8.0,
    "ai_stage1_first_token_seconds": 1.5,
    "ai_stream_stall_seconds": 1.5,
    "ai_stage2_timeout_seconds": 1.5,
    "lesson_deadline_seconds": DEADLINE_SECONDS,
    "stage2_reserve_seconds": 8.0,
    # Leave money for every possible attempt: one of unknown usage costs its reservation.
    "lesson_cost_limit_usd": 50.0,
}
_SETTLING_SECONDS = 3.0
_NEXT: Final = {
    AttemptKind.FIRST: "first",
    AttemptKind.RETRY: "retry",
    AttemptKind.REASK: "re-ask",
    AttemptKind.FALLBACK: "next model",
}


@dataclass(frozen=True)
class Cell:
    """One fault at one place, and the wanted result."""

    stage: Literal["stage1", "stage2"]
    fault: str
    position: str
    row: Literal["first", "every"]
    outcomes: str
    next: str
    lesson: str

    @property
    def name(self) -> str:
        return f"{self.stage} / {self.fault} / {self.position} / {self.row}"

    @property
    def unit(self) -> SectionName | None:
        """The section whose attempts count; None for Stage 1."""
        return None if self.stage == STAGE1 or self.position == ALL else SectionName(self.position)

    def hits(self, key: str, model: str) -> bool:
        """Whether the fault happens on a call of that key to that model."""
        if self.row == "first" and model != CHAINS[self.stage][0]:
            return False
        if self.stage == STAGE1:
            return key == STAGE1
        return key != STAGE1 if self.position == ALL else key == self.position

    @property
    def play(self) -> Fault:
        whole = bank_stage1()
        return stage1_fault(self.fault, self.position, whole) if self.stage == STAGE1 else stage2_fault(self.fault)


@dataclass(frozen=True)
class Seen:
    """The observed run of a cell."""

    cell: Cell
    lesson: Lesson | None
    master: Mapping[str, Any]
    error: RemoteError | None
    rows: tuple[Row, ...]
    open_rows: int
    calls: tuple[Call, ...]
    seconds: float
    counted_usd: float
    """By the counter of /metrics."""
    left_running: str
    server_errors: tuple[BaseException, ...]

    def attempts(self, stage: Stage, section: SectionName | None) -> list[Attempt]:
        """The attempts at Stage 1 or one section, in order."""
        mine = [row for row in self.rows if row.stage is stage and row.section is section]
        return [row.attempt for row in mine if row.attempt is not None]

    @property
    def unit(self) -> list[Attempt]:
        stage = Stage.STAGE1 if self.cell.stage == STAGE1 else Stage.STAGE2
        return self.attempts(stage, self.cell.unit)

    @property
    def outcomes(self) -> str:
        return ANY if self.cell.position == ALL else ", ".join(attempt.outcome.value for attempt in self.unit)

    @property
    def next(self) -> str:
        """What followed each attempt: `re-ask, done`."""
        if self.cell.position == ALL:
            return ANY
        steps = [_NEXT.get(attempt.kind, attempt.kind.value) for attempt in self.unit[1:]]
        return ", ".join([*steps, "fail" if self._given_up else "done"])

    @property
    def _given_up(self) -> bool:
        if self.cell.stage == STAGE1:
            return self.lesson is None or any(self.lesson.content.section(name) is None for name in SectionName)
        return not self.unit or self.unit[-1].outcome is not AttemptOutcome.OK

    @property
    def outcome(self) -> str:
        """The lesson's outcome, with the reason if it failed."""
        if self.lesson is not None:
            return self.lesson.outcome.value.upper()
        return f"FAILED {self.error.reason if self.error else ''}".strip()


def wanted() -> list[Cell]:
    """Every cell, in the order of the file. Raises ValueError for a malformed line."""
    text = resources.files("benchmarks.faults").joinpath("wanted.tsv").read_text(encoding="utf-8")
    _, *lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    cells: list[Cell] = []
    for line in lines:
        stage, fault, positions, row, outcomes, following, lesson = line.split("\t")
        if stage not in ("stage1", "stage2") or row not in ("first", "every"):
            raise ValueError(f"wanted.tsv: {line!r}")
        cells += [
            Cell(stage, fault, position, row, outcomes, following, lesson)  # type: ignore[arg-type] # checked above
            for position in positions.split()
        ]
    return cells


_BANK: list[Bank] = []


def use_bank(bank: Bank) -> None:
    """Sets the bank of this process; reading its YAML takes a while, so it is read once."""
    _BANK[:] = [bank]


def bank_stage1() -> dict[str, Any]:
    return _BANK[0].stage1(CAN_DO, SECTION_KEYS)


class _GatedLedger(KeptLedger):
    """Closes the server's port while an attempt that must be refused is open.

    One port serves all models, so the open row shows which model the next call is for. Stage 2's calls then go one by
    one.
    """

    def __init__(self, cell: Cell, server: FaultServer) -> None:
        super().__init__()
        self._cell = cell
        self._server = server
        self._refused: set[str] = set()

    def open(self, row: Row) -> None:
        super().open(row)
        if self._cell.fault == REFUSED and self._cell.hits(row.section.value if row.section else STAGE1, row.model):
            self._refused.add(row.id)
            self._server.close_port()

    def settle(self, row_id: str, attempt: Attempt) -> Attempt:
        self._refused.discard(row_id)
        if not self._refused:
            self._server.open_port()
        return super().settle(row_id, attempt)


async def run(cell: Cell, analyser: Analyser) -> Seen:
    """Makes one lesson with the fault, in a trio of its own, so that no breaker remembers another cell."""
    refusing = cell.fault == REFUSED
    play = None if refusing else cell.play

    def decide(call: Call) -> tuple[str, Fault] | None:
        return (cell.fault, play) if play is not None and cell.hits(call.key, call.model) else None

    server = FaultServer(_BANK[0], decide, keep_alive=not refusing)
    settings = {**SETTINGS, **({"stage2_calls_limit": 1} if refusing else {})}
    settings["stage2_mode"] = "model" if cell.fault.endswith("mode model") else "review"
    async with server.serving():
        ledger = _GatedLedger(cell, server)
        async with in_process(server.url, ledger, settings, analyser) as trio:
            return await _seen(cell, trio, server, ledger)


async def _seen(cell: Cell, trio: InProcess, server: FaultServer, ledger: KeptLedger) -> Seen:
    begun = time.monotonic()
    lesson, master, error, lesson_id = await ask(trio, DEADLINE_SECONDS + 5.0)
    seconds = time.monotonic() - begun
    left = await _left_running(trio, server)
    return Seen(
        cell=cell,
        lesson=lesson,
        master=master,
        error=error,
        rows=ledger.take(lesson_id),
        open_rows=len(ledger.open_rows),
        calls=server.take(),
        seconds=seconds,
        counted_usd=await trio.metric("nidan_model_cost_usd_total"),
        left_running=left,
        server_errors=tuple(server.errors),
    )


async def ask(
    trio: InProcess, timeout_seconds: float, **spec: Any
) -> tuple[Lesson | None, Mapping[str, Any], RemoteError | None, str]:
    """Asks for a lesson. Gives the lesson and its master JSON, or the error, and the lesson's id."""
    request = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id=CAN_DO, **spec))
    try:
        response = await trio.stub.GenerateLesson(request, timeout=timeout_seconds)
    except grpc.aio.AioRpcError as failed:
        error = read_error(failed)
        return None, {}, error, error.lesson_id
    lesson = wire.from_message(Lesson, response.lesson)
    return lesson, json.loads(response.master_json), None, lesson.lesson_id


async def _left_running(trio: InProcess, server: FaultServer) -> str:
    """What still runs a while after the lesson; empty if nothing does."""
    until = time.monotonic() + _SETTLING_SECONDS
    while True:
        counts = {
            "calls at the model server": float(server.in_flight),
            "lessons": await trio.metric("nidan_lessons_in_flight"),
            "model calls of Stage 1": await trio.metric("nidan_model_pool_in_use", trio.stages[0]),
            "model calls of Stage 2": await trio.metric("nidan_model_pool_in_use", trio.stages[1]),
        }
        left = ", ".join(f"{number:g} {what}" for what, number in counts.items() if number)
        if not left or time.monotonic() > until:
            return left
        await asyncio.sleep(0.05)


__all__ = ["ALL", "ANY", "END", "WHOLE", "Cell", "Seen", "ask", "run", "use_bank", "wanted"]
