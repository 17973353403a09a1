"""How long a lesson keeps the gateway's event loop from anything else: `python -m benchmarks.stalls [--runs 5]`.

Four real processes on the embedded offline model make a lesson again and again; the gateway is the one of
`benchmarks.watched_gateway`. Printed for each run: the longest CPU time of the loop's thread between two beats of 1 ms,
the longest delay of a beat (on a busy machine it includes the time that the process waited for a CPU), and the longest
pause of the garbage collector. Status 1: the median CPU time is above 5 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks import where
from benchmarks.rig import ROOT, without_own_settings
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from nidan.services.plan import Plan, Providers, private_plan
from nidan.services.supervisor import Trio, running

LONGEST: Final = "nidan:travel-b1-1"
"""The built-in lesson with the most items (148) and the largest message."""
BOUND_MS: Final = 5.0
_CALL_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Stalls:
    """The longest of each kind within one lesson, in milliseconds."""

    busy: float
    late: float
    gc: float


def measure(runs: int, can_do_id: str, folder: Path) -> tuple[Stalls, ...]:
    """The stalls of each lesson after a first one that is not counted. Raises grpc.aio.AioRpcError."""
    log = folder / "stalls.txt"
    with _watched_trio(folder, log) as address:
        times = asyncio.run(_lessons(address, can_do_id, runs + 1))
    lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    seen = [(kind, float(at), float(milliseconds)) for kind, at, milliseconds in lines]
    return tuple(_within(seen, began, ended) for began, ended in times[1:])


def _within(seen: list[tuple[str, float, float]], began: float, ended: float) -> Stalls:
    longest = dict.fromkeys(("busy", "late", "gc"), 0.0)
    for kind, at, milliseconds in seen:
        if began <= at <= ended:
            longest[kind] = max(longest[kind], milliseconds)
    return Stalls(**longest)


async def _lessons(address: str, can_do_id: str, number: int) -> list[tuple[float, float]]:
    """Makes lessons one after another; when each began and ended, by the monotonic clock."""
    times = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id=can_do_id))
        for _ in range(number):
            began = time.monotonic()
            async for _event in stub.StreamLesson(request, timeout=_CALL_SECONDS):
                pass
            times.append((began, time.monotonic()))
    return times


@contextmanager
def _watched_trio(folder: Path, log: Path) -> Iterator[str]:
    environment = without_own_settings(os.environ)
    paths = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH", ""))))
    plan = private_plan(environment | {"STALLS_FILE": str(log), "PYTHONPATH": paths}, Providers("offline", "offline"))
    watched = replace(plan.gateway, name="benchmarks.watched_gateway")
    with running(Trio(Plan((*plan.services[:-1], watched), plan.environment), folder, print)) as trio:
        yield trio.plan.gateway.address


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--lesson", default=LONGEST)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stalls = measure(options.runs, options.lesson, Path(folder))
    print(f"{options.lesson} on {where.machine()}, load average {os.getloadavg()[0]:.1f}, in ms:")
    for number, each in enumerate(stalls, start=1):
        print(f"  run {number}: busy {each.busy:.1f}, late {each.late:.1f}, gc {each.gc:.1f}")
    busy, late = (statistics.median(getattr(each, kind) for each in stalls) for kind in ("busy", "late"))
    print(f"  median: busy {busy:.1f}, late {late:.1f}; bound {BOUND_MS:g} busy")
    sys.exit(busy > BOUND_MS)


if __name__ == "__main__":
    main()
