"""What traces cost a lesson: `python -m benchmarks.tracing [--lessons 10] [--rounds 5]`.

Switched off: how often a lesson asks `servicekit.tracing` for something (counted by the profiler) times what that takes
(timed alone). Switched on: what a span takes alone, of the loop's thread and of all. Then the process's CPU time and
the clock's for whole lessons, in turns of the same run: off, on with no lesson sampled, on with every one, and on with
a collector that refuses every connection. The least of the rounds counts: what else the machine does can only add. The
collector is a process of its own. Status 1: traces that are switched off cost a lesson more than 0.1 ms.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import time
import timeit
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import grpc
import uvloop
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from benchmarks import where
from benchmarks.faults.cells import ask
from benchmarks.faults.server import FaultServer
from benchmarks.in_process import KeptLedger, in_process, plain_process
from enhancer_service.japanese.reading import Analyser
from lesson.models import Outcome
from offline_model.bank import Bank, load_bank
from servicekit import tracing
from servicekit.otlp import Tracer

OFF_BOUND_MS: Final = 0.1
NOWHERE: Final = "http://127.0.0.1:1"
_TIMED: Final = 100_000
_SPANS: Final = 2000
_PATIENT: Final = {"lesson_cost_limit_usd": 50.0}
"""Money limits nothing, and no limit of time is short: a machine may be busy."""


@dataclass
class Mode:
    """One way to run, and what its lessons took, in milliseconds each."""

    name: str
    settings: Mapping[str, object]
    cpu_ms: list[float] = field(default_factory=list)
    clock_ms: list[float] = field(default_factory=list)


async def lessons(bank: Bank, analyser: Analyser, mode: Mode, count: int, profile: cProfile.Profile | None) -> None:
    """Makes lessons one after another; the first, of fresh connections, is not counted."""
    server, ledger = FaultServer(bank, lambda _call: None), KeptLedger()
    async with server.serving(), in_process(server.url, ledger, {**_PATIENT, **mode.settings}, analyser) as trio:
        for number in range(count + 1):
            if number == 1:
                gc.collect()
                cpu, clock = time.process_time(), time.perf_counter()
                if profile:
                    profile.enable()
            lesson, _, error, lesson_id = await ask(trio, 300.0)
            if lesson is None or lesson.outcome is not Outcome.COMPLETE:
                raise SystemExit(f"{mode.name}: no whole lesson: {error}")
            ledger.take(lesson_id)
            server.take()
        if profile:
            profile.disable()
        mode.cpu_ms.append((time.process_time() - cpu) / count * 1000)
        mode.clock_ms.append((time.perf_counter() - clock) / count * 1000)


# --- the cost of nothing --------------------------------------------------------------------------------------------


def _spans() -> None:
    with tracing.span("lesson", {"nidan.lesson_id": "x", "nidan.can_do_id": "y", "nidan.level": "z"}):
        pass


ASKED: Final[Mapping[str, Any]] = {
    "span": _spans,
    "note": lambda: tracing.note({"nidan.outcome": "ok", "nidan.cost_usd": 0.0, "nidan.wasted": False}),
    "headers": tracing.headers,
    "sampled": tracing.sampled,
    "failed": lambda: tracing.failed("timeout"),
}


def told_off(profile: cProfile.Profile, count: int) -> float:
    """Prints what a lesson asks for while traces are off, and gives the milliseconds that it pays."""
    known: Any = pstats.Stats(profile)
    total = 0.0
    for name, asked in ASKED.items():
        calls = sum(
            entry[1]
            for (file, _, function), entry in known.stats.items()
            if Path(file).name == "tracing.py" and Path(file).parent.name == "servicekit" and function == name
        )
        if name == "span":
            calls //= 2  # a context manager is entered, and left
        each = min(timeit.repeat(asked, timer=time.thread_time, number=_TIMED, repeat=5)) / _TIMED
        total += calls / count * each
        print(f"  {name:8} {calls / count:5.1f} a lesson, {each * 1e9:5.0f} ns each")
    return total * 1000


async def span_alone(endpoint: str) -> tuple[float, float]:
    """Microseconds that a span as a model call's takes: of the loop's thread, and of all, its export included."""
    tracer = Tracer("benchmark", endpoint, 1.0, with_text=False)
    lesson = tracer.begin("lesson", "internal", {}, {})
    attributes = {f"gen_ai.attribute.{number}": "a value as they are" for number in range(12)}
    every, own = time.process_time(), time.thread_time()
    for _ in range(_SPANS):
        span = tracer.begin("chat", "client", attributes, lesson)
        span.note({"nidan.outcome": "ok", "nidan.cost_usd": 0.01})
        span.end()
    own = time.thread_time() - own
    await tracer.close()
    return own / _SPANS * 1e6, (time.process_time() - every) / _SPANS * 1e6


# --- the collector, a process of its own ----------------------------------------------------------------------------


class _Takes(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans = 0

    def Export(self, request: pb.ExportTraceServiceRequest, _context: Any) -> pb.ExportTraceServiceResponse:  # noqa: N802
        self.spans += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        return pb.ExportTraceServiceResponse()


def _collect(line: Connection) -> None:
    takes, server = _Takes(), grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(takes, server)  # type: ignore[no-untyped-call]
    line.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    line.recv()
    line.send(takes.spans)
    server.stop(0).wait()


@contextmanager
def collector() -> Iterator[tuple[str, Connection]]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_collect, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}", ours
    finally:
        process.terminate()
        process.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lessons", type=int, default=10, help="in each round, for each way to run")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    plain_process()
    bank, analyser, profile = load_bank(), Analyser.load(), cProfile.Profile()
    with collector() as (endpoint, _):
        on_loop, everywhere = uvloop.run(span_alone(endpoint))
    with collector() as (endpoint, line):
        at = "otel_exporter_otlp_endpoint"
        modes = (
            Mode("off", {}),
            Mode("on, none sampled", {at: endpoint, "otel_traces_sampler_arg": 0.0}),
            Mode("on, all sampled", {at: endpoint}),
            Mode("on, collector gone", {at: NOWHERE}),
        )
        for _ in range(options.rounds):
            for mode in modes:
                uvloop.run(lessons(bank, analyser, mode, options.lessons, None))
        line.send("how many?")
        sampled = line.recv()
    uvloop.run(lessons(bank, analyser, Mode("profiled", {}), options.lessons, profile))
    print(f"commit {where.commit()}; {where.machine()}")
    print("off: what a lesson asks for, and what it pays")
    off_ms = told_off(profile, options.lessons)
    print(f"  together {off_ms:.4f} ms a lesson (at most {OFF_BOUND_MS:g})")
    made = options.rounds * (options.lessons + 1)
    print(
        f"on: {sampled / made:.0f} spans a lesson, "
        f"each {on_loop:.0f} µs of the loop and {everywhere:.0f} µs of all threads"
    )
    print(f"{'':20} CPU ms  clock ms  a lesson; the least of {options.rounds} rounds of {options.lessons}")
    for mode in modes:
        print(f"{mode.name:20} {min(mode.cpu_ms):6.1f}  {min(mode.clock_ms):8.1f}")
    return int(off_ms > OFF_BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
