"""Measures the memory and processor time of each process: `python -m benchmarks.footprint`.

The trio and the offline model run as four processes on their defaults. They make lessons over gRPC, first one by one,
then as many at once as a gateway accepts (LESSONS_LIMIT). The kernel supplies the figures: VmRSS after the lessons,
VmHWM for the peak, and the process's user and system time. They set the memory requests and limits in deploy/k8s
(docs/operations.md). The model answers in slow pieces, which keeps all lessons in flight together. Exit status 1: a
lesson was not COMPLETE.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks import where
from gateway.settings import GatewaySettings
from lesson.v1 import lesson_pb2, lesson_service_pb2_grpc
from lesson.v1 import lesson_service_pb2 as pb
from nidan.services.plan import Providers, private_plan
from nidan.services.supervisor import Trio, running

MODULES: Final = ("gateway", "content_service", "enhancer_service", "offline_model")
_CAN_DO: Final = "JF:349"
_CHUNK_DELAY_MS: Final = 5
_TIMEOUT_SECONDS: Final = 280.0
_MIB: Final = 1024 * 1024
_LIMIT: Final = int(GatewaySettings.model_fields["lessons_limit"].default)


@dataclass(frozen=True)
class Held:
    """One process at one moment: MiB and seconds."""

    resident_mib: float
    peak_mib: float
    cpu_seconds: float

    @classmethod
    def by(cls, pid: int) -> Held:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        )
        # The name in brackets may hold blanks; what follows it is counted from the third field.
        times = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks = int(times[11]) + int(times[12])
        return cls(_mib(status["VmRSS"]), _mib(status["VmHWM"]), ticks / os.sysconf("SC_CLK_TCK"))


def _mib(field: str) -> float:
    return int(field.split(maxsplit=1)[0]) * 1024 / _MIB


def pids() -> dict[str, int]:
    """Our four children by the module that each runs."""
    found: dict[str, int] = {}
    # The main thread started them; its task id is the process id.
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
        module = Path(f"/proc/{pid}/cmdline").read_bytes().removesuffix(b"\0").split(b"\0")[-1].decode()
        if module in MODULES:
            found[module] = int(pid)
    assert found.keys() == set(MODULES), found  # noqa: S101 - a gap would make a wrong table
    return found


async def lessons(address: str, count: int, at_once: int) -> None:
    """Makes `count` lessons, `at_once` of them at a time. Raises SystemExit(1) when one is not complete."""
    turn = asyncio.Semaphore(at_once)
    options = [("grpc.max_receive_message_length", 16 * _MIB)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)

        async def one() -> bool:
            async with turn:
                request = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id=_CAN_DO))
                response = await stub.GenerateLesson(request, timeout=_TIMEOUT_SECONDS)
                return bool(response.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE)

        complete = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
    bad = [one for one in complete if one is not True]
    if bad:
        print(f"{len(bad)} of {count} lessons are not complete, for example: {bad[0]!r}")
        raise SystemExit(1)


def measure(
    one_by_one: int, at_once: int, chunk_delay_ms: int = _CHUNK_DELAY_MS
) -> list[tuple[str, Mapping[str, Held]]]:
    """Each moment with its figures by process, in order."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    plan = private_plan(
        kept | {"OFFLINE_MODEL_CHUNK_DELAY_MS": str(chunk_delay_ms), "CATALOGUE_FILE": "/nonexistent/catalogue.jsonl"},
        Providers("offline", "offline"),
    )
    moments: list[tuple[str, Mapping[str, Held]]] = []
    with tempfile.TemporaryDirectory() as logs, running(Trio(plan, Path(logs), print)) as trio:
        ours = pids()

        def look(moment: str) -> None:
            moments.append((moment, {module: Held.by(pid) for module, pid in ours.items()}))

        look("started")
        asyncio.run(lessons(trio.plan.gateway.address, one_by_one, 1))
        look(f"{one_by_one} lessons one by one")
        for _ in range(2):
            asyncio.run(lessons(trio.plan.gateway.address, at_once, at_once))
            look(f"{at_once} more at once")
    return moments


def table(moments: list[tuple[str, Mapping[str, Held]]]) -> str:
    """Markdown: a row a moment, resident (highest so far) in MiB and processor seconds so far."""
    lines = [f"| after | {' | '.join(MODULES)} |", "|---|" + "---|" * len(MODULES)]
    for moment, held in moments:
        cells = [
            f"{one.resident_mib:.0f} ({one.peak_mib:.0f}) MiB, {one.cpu_seconds:.1f} s"
            for one in (held[module] for module in MODULES)
        ]
        lines.append(f"| {moment} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--one-by-one", type=int, default=5, help="lessons made one after the other")
    parser.add_argument("--at-once", type=int, default=_LIMIT, help="lessons made at once, twice")
    options = parser.parse_args(arguments)
    print(f"{where.machine()}; commit {where.commit()}; {where.today()}\n")
    print(table(measure(options.one_by_one, options.at_once)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
