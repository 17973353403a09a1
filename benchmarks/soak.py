"""Many lessons, one model call in five faulty: `python -m benchmarks.soak [--lessons 500] [--seed 6]`.

Time limits are short and the model server is fast, so days of bad luck take minutes. Each process has its own trio and
model server. The seed, the lesson and the call's number alone decide whether and how a call fails.
Exit status 1: too few lessons are COMPLETE, a lesson breaks an invariant of the fault matrix, or something leaks.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import isclose
from multiprocessing import get_context
from random import Random
from typing import Final

import uvloop

from benchmarks import where
from benchmarks.faults.cells import ALL, DEADLINE_SECONDS, SETTINGS, Cell, Seen, ask, wanted
from benchmarks.faults.invariants import broken
from benchmarks.faults.kinds import REFUSED, stage1_fault, stage2_fault
from benchmarks.faults.server import STAGE1, Call, Fault, FaultServer
from benchmarks.in_process import Held, InProcess, KeptLedger, in_process, plain_process, resident_bytes
from enhancer_service.japanese.reading import Analyser
from lesson.models import Content, Outcome
from offline_model.bank import SECTION_KEYS, Bank, load_bank

SHARE_FAULTY: Final = 0.2
COMPLETE_SHARE: Final = 0.99
LESSON_SHARE: Final = 0.999
"""COMPLETE or PARTIAL."""
GROWTH_BYTES: Final = 64 * 1024 * 1024
"""The most a process may grow between its first lessons and the end."""
_LESSONS: Final = 500
_AT_ONCE: Final = 8
"""Lessons in flight per process: enough to overlap their waits, few enough that only the model causes a time-out."""
_WARM: Final = 0.1
"""The share of lessons before the first memory reading: pools, caches and compiled patterns exist by then."""
_LIMITS: Final = {
    "ai_stage1_first_token_seconds": 1.0,
    "ai_stream_stall_seconds": 1.0,
    "ai_stage2_timeout_seconds": 1.0,
    # An attempt of unknown usage costs its reservation; no lesson should end for lack of money here.
    "lesson_cost_limit_usd": 50.0,
}
_LEFT_OUT: Final = {REFUSED, "huge"}
"""`refused` closes a port that all models and lessons share; `huge` would make 9 MB answers dominate the figures."""
_PAGE: Final = where.ROOT / "docs" / "soak.md"
_HEAD: Final = """\
# Many lessons, one model call in five faulty

`FULL=1 make soak` writes this page; [benchmarks/README.md](../benchmarks/README.md) describes the method. The run
passes when 99 % of the lessons are COMPLETE and 99.9 % are COMPLETE or PARTIAL, every lesson keeps the invariants of
the fault matrix (furigana and romaji on every item, Stage 1's text unchanged, no placeholder, the same cost in rows,
reply and metric), no task, connection, call or row leaks, and no process grows by 64 MB. The page lists every lesson
that is not COMPLETE.
"""
_ANY_LESSON: Final = Cell("stage2", "", ALL, "every", "", "", "")


@dataclass
class Tally:
    """The results of one process."""

    lessons: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    faulty: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    broken: list[str] = field(default_factory=list)
    not_whole: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    resident: list[tuple[int, int]] = field(default_factory=list)
    """(lessons made, bytes)."""
    left: list[str] = field(default_factory=list)

    @property
    def growth(self) -> int:
        """Bytes between the first memory reading and the last."""
        return self.resident[-1][1] - self.resident[0][1] if self.resident else 0


Faulty = Callable[[Call], tuple[str, Fault] | None]
"""Gives the name and the fault of a call, or None for a good answer."""


class Luck:
    """Decides which call fails, and how. All faults of a stage in the fault matrix are equally likely."""

    def __init__(self, seed: int, without: Sequence[str], bank: Bank) -> None:
        self._seed = seed
        self._whole = bank.stage1("JF:349", SECTION_KEYS)
        left_out = {*_LEFT_OUT, *without}
        cells = [cell for cell in wanted() if cell.fault not in left_out and not cell.fault.endswith("mode model")]
        self._stage1: dict[str, list[str]] = {}
        for cell in cells:
            if cell.stage == STAGE1 and cell.position not in self._stage1.setdefault(cell.fault, []):
                self._stage1[cell.fault].append(cell.position)
        self._stage2 = list(dict.fromkeys(cell.fault for cell in cells if cell.stage != STAGE1))

    def __call__(self, call: Call) -> tuple[str, Fault] | None:
        luck = Random(f"{self._seed} {call.lesson} {call.key} {call.number}")  # noqa: S311 - must be reproducible
        if luck.random() >= SHARE_FAULTY:
            return None
        if call.key != STAGE1:
            name = luck.choice(self._stage2)
            return name, stage2_fault(name)
        name = luck.choice(list(self._stage1))
        return name, stage1_fault(name, luck.choice(self._stage1[name]), self._whole)


async def soak(lessons: Sequence[int], luck: Callable[[Bank], Faulty], name: str) -> Tally:
    """Makes the lessons with these numbers and tallies them."""
    bank, analyser, tally = load_bank(), Analyser.load(), Tally()
    server, ledger = FaultServer(bank, luck(bank)), KeptLedger()
    before = Held.now()
    async with server.serving(), in_process(server.url, ledger, {**SETTINGS, **_LIMITS}, analyser) as trio:
        plain, plain_usd = await _plain(trio, server, ledger)
        one = _Lessons(trio, server, ledger, tally, plain)
        numbers, begun = iter(lessons), time.monotonic()

        async def some() -> None:
            for number in numbers:
                await one.make(f"soak {number}")
                _progress(tally, len(lessons), name, time.monotonic() - begun)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        tally.left += await _left_in_services(trio, server, ledger)
        counted = await trio.metric("nidan_model_cost_usd_total")
        if not isclose(counted, one.rows_usd + plain_usd, rel_tol=1e-9):
            tally.broken.append(f"money: the metric says {counted:.6f}, the rows say {one.rows_usd + plain_usd:.6f}")
    tally.left += [left] if (left := await before.left_over()) else []
    tally.left += [f"the model server itself: {error!r}" for error in server.errors]
    return tally


class _Lessons:
    """Makes lessons one after another and checks each."""

    def __init__(self, trio: InProcess, server: FaultServer, ledger: KeptLedger, tally: Tally, plain: Content) -> None:
        self._trio, self._server, self._ledger, self._told, self._plain = trio, server, ledger, tally, plain
        self.rows_usd = 0.0

    async def make(self, topic: str) -> None:
        begun = time.monotonic()
        lesson, master, error, lesson_id = await ask(self._trio, DEADLINE_SECONDS + 5.0, topic=topic)
        seconds = time.monotonic() - begun
        rows = self._ledger.take(lesson_id)
        usd = sum(row.attempt.cost_usd or 0.0 for row in rows if row.attempt)
        seen = Seen(_ANY_LESSON, lesson, master, error, rows, 0, self._server.take(topic), seconds, usd, "", ())
        self.rows_usd += usd
        self._count(seen, topic)

    def _count(self, seen: Seen, topic: str) -> None:
        tally = self._told
        tally.lessons += 1
        tally.outcomes[seen.outcome] += 1
        tally.calls += len(seen.calls)
        tally.faulty += sum(bool(call.fault) for call in seen.calls)
        tally.faults.update(call.fault for call in seen.calls if call.fault)
        tally.attempts += len(seen.rows)
        tally.seconds.append(seen.seconds)
        tally.broken += [f"{topic}: {line}" for line in broken(seen, self._plain)]
        if seen.lesson is None or seen.lesson.outcome is not Outcome.COMPLETE:
            tally.not_whole.append(f"{topic}: {seen.outcome}: {'; '.join(_how(seen))}")


def _how(seen: Seen) -> Iterator[str]:
    """The outcomes of the attempts at each part that is missing."""
    units: dict[str, list[str]] = {}
    for row in seen.rows:
        if row.attempt is not None:
            units.setdefault(row.section.value if row.section else STAGE1, []).append(row.attempt.outcome.value)
    for unit, outcomes in units.items():
        if outcomes[-1] != "ok":
            yield f"{unit} {' '.join(outcomes)}"


async def _plain(trio: InProcess, server: FaultServer, ledger: KeptLedger) -> tuple[Content, float]:
    """The content of a correct Stage 1 answer, and the dollars spent to get it. Raises RuntimeError if none came."""
    usd = 0.0
    for number in range(100):
        lesson, _, _, lesson_id = await ask(trio, DEADLINE_SECONDS, topic=f"plain {number}")
        usd += sum(row.attempt.cost_usd or 0.0 for row in ledger.take(lesson_id) if row.attempt)
        calls = server.take(f"plain {number}")
        if lesson is not None and not any(call.fault for call in calls if call.key == STAGE1):
            return lesson.content, usd
    raise RuntimeError("no lesson whose Stage 1 went well")


def _progress(tally: Tally, together: int, name: str, seconds: float) -> None:
    tenth = max(1, together // 10)
    if tally.lessons % tenth == 0 and tally.lessons >= _WARM * together:
        gc.collect()
        tally.resident.append((tally.lessons, resident_bytes()))
        counts = ", ".join(f"{number} {outcome}" for outcome, number in tally.outcomes.most_common())
        megabytes = tally.resident[-1][1] / 2**20
        print(f"{name}: {tally.lessons:6} of {together}, {seconds:5.0f} s, {megabytes:.0f} MB: {counts}", flush=True)


async def _left_in_services(trio: InProcess, server: FaultServer, ledger: KeptLedger) -> list[str]:
    """What the services and the ledger still hold after the last lesson."""
    for _ in range(100):
        counts = {
            "calls at the model server": float(server.in_flight),
            "lessons": await trio.metric("nidan_lessons_in_flight"),
            "model calls of Stage 1": await trio.metric("nidan_model_pool_in_use", trio.stages[0]),
            "model calls of Stage 2": await trio.metric("nidan_model_pool_in_use", trio.stages[1]),
            "open rows": float(len(ledger.open_rows)),
            "lessons in the ledger": float(ledger.lessons_held),
        }
        left = [f"{number:g} {what}" for what, number in counts.items() if number]
        if not left:
            break
        await asyncio.sleep(0.05)
    return left


def _process(lessons: range, seed: int, without: Sequence[str], name: str) -> Tally:
    plain_process()
    return uvloop.run(soak(lessons, partial(Luck, seed, without), name))


# --- the command ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if enough lessons are COMPLETE, each keeps every invariant, and nothing leaks."""
    options = _options(arguments)
    begun = time.monotonic()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        shares = [range(first, options.lessons, options.processes) for first in range(options.processes)]
        jobs = [
            pool.submit(_process, share, options.seed, options.without, f"process {number}")
            for number, share in enumerate(shares, start=1)
        ]
        tally = [job.result() for job in jobs]
    wrong = verdict(tally)
    page = "\n".join((summary(tally, options, time.monotonic() - begun), "", _verdict_lines(wrong)))
    print(page)
    if options.write:
        _PAGE.write_text(f"{_HEAD}{page}\n", encoding="utf-8")
    return 1 if wrong else 0


def _verdict_lines(wrong: Sequence[str]) -> str:
    return "\n".join(f"FAILED: {line}" for line in wrong[:20]) or "passed"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Many lessons with faulty models.")
    parser.add_argument("--lessons", type=int, default=_LESSONS, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=6, metavar="N", help="of the faults (default %(default)s)")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1), metavar="N", help="at most 2")
    parser.add_argument("--without", nargs="*", default=[], metavar="FAULT", help="leave these faults out")
    parser.add_argument("--write", action="store_true", help="write docs/soak.md")
    return parser.parse_args(arguments)


def summary(tally: Sequence[Tally], options: argparse.Namespace, seconds: float) -> str:
    """The figures as Markdown."""
    lessons, calls = sum(one.lessons for one in tally), sum(one.calls for one in tally)
    faulty, attempts = sum(one.faulty for one in tally), sum(one.attempts for one in tally)
    outcomes = sum((one.outcomes for one in tally), Counter())
    took = sorted(second for one in tally for second in one.seconds)
    shares = ", ".join(f"{number} {outcome} ({number / lessons:.2%})" for outcome, number in outcomes.most_common())
    without = f" --without {shlex.join(options.without)}" if options.without else ""
    lines = [
        "",
        f"- command: `python -m benchmarks.soak --lessons {options.lessons} --seed {options.seed}{without}`",
        f"- commit: {where.commit()}",
        f"- machine: {where.machine()}; {where.today()}; {seconds:.0f} s",
        f"- {len(tally)} processes, {_AT_ONCE} lessons at once in each",
        f"- lessons: {lessons}: {shares}",
        f"- model calls: {calls}, {faulty / max(1, calls):.1%} faulty; {attempts / lessons:.2f} attempts a lesson",
        f"- seconds a lesson: median {_at(took, 0.5):.2f}, 99 % {_at(took, 0.99):.2f}, longest {took[-1]:.2f}",
    ]
    for number, one in enumerate(tally, start=1):
        sizes = ", ".join(f"{size / 2**20:.0f}" for _, size in one.resident)
        lines.append(f"- memory of process {number}, MB after each tenth: {sizes}; grown by {one.growth / 2**20:.1f}")
    lines += [f"  - {line}" for one in tally for line in one.not_whole[:40]]
    return "\n".join(lines)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def verdict(tally: Sequence[Tally]) -> list[str]:
    """The reasons for failing; empty for a pass."""
    lessons = sum(one.lessons for one in tally)
    whole = sum(one.outcomes["COMPLETE"] for one in tally)
    given = whole + sum(one.outcomes["PARTIAL"] for one in tally)
    wrong = [line for one in tally for line in (*one.left, *one.broken)]
    if whole < COMPLETE_SHARE * lessons:
        wrong.append(f"{whole / lessons:.2%} of the lessons are COMPLETE, wanted {COMPLETE_SHARE:.1%}")
    if given < LESSON_SHARE * lessons:
        wrong.append(f"{given / lessons:.2%} of the lessons are COMPLETE or PARTIAL, wanted {LESSON_SHARE:.1%}")
    wrong += [f"a process grew by {one.growth / 2**20:.0f} MB" for one in tally if one.growth > GROWTH_BYTES]
    return wrong


if __name__ == "__main__":
    sys.exit(main())
