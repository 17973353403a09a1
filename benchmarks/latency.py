"""Compares a lesson's time with its own Stage 1 stream: `python -m benchmarks.latency [--scale 20] [--runs 5]`.

Starts the paced server and the real trio, makes lessons of JF:349 one after another through StreamLesson, then runs the
earlier system's serial plan on the same server. Exit status 1: the median ratio is above the bound, or a run gave no
COMPLETE lesson. benchmarks/README.md explains the figures and their limits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import openai

from benchmarks import earlier_plan, where
from benchmarks.earlier_plan import PartRun, PlanError
from benchmarks.paced_model import DEFAULT_SCALE, EARLIER, STAGE1, Call, pace_of, positive
from benchmarks.rig import Rig, rig, stage1_call
from benchmarks.timeline import Figures, Moment, Seen, Stream, TimelineError, measure, median
from lesson.models import EnhancedSection, Lesson, Outcome, SectionName, SectionState, TranslationProvenance
from nidan.client import (
    Completed,
    Event,
    LessonClient,
    LessonError,
    SectionEnhanced,
    SectionReady,
    SectionReplaced,
    lesson_spec,
)
from nidan.errors import StartError
from nidan.services.signals import raise_on_signals

CAN_DO = "JF:349"
RATIO_BOUND = 1.05
SMOKE_SCALE = 100.0
SMOKE_ADDED_MS = 500.0
"""Ten times the real target: at that scale the ratio is all overhead, and a CI machine is noisy."""

_CONNECT_SECONDS = 10.0


class RunError(Exception):
    """A run that does not count. The message says why."""


@dataclass(frozen=True)
class LessonRun:
    """One lesson, measured."""

    figures: Figures
    calls: list[Call]
    load: float
    """One-minute load average at its end."""


@dataclass(frozen=True)
class Report:
    """Every figure, with the commit and machine it comes from."""

    command: str
    commit: str
    machine: str
    scale: float
    load_before: float
    load_after: float
    runs: list[LessonRun]
    earlier: dict[str, PartRun]

    @property
    def median(self) -> Figures:
        return median([run.figures for run in self.runs])

    @property
    def earlier_seconds(self) -> float:
        return sum(part.seconds for part in self.earlier.values())


# --- one lesson -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def connected(served: Rig) -> Iterator[LessonClient]:
    """A client that is already connected, since connecting is not part of a lesson. Raises RunError on failure."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(served.gateway, options=options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise RunError(f"no connection to the gateway within {_CONNECT_SECONDS:g} s") from error
        yield LessonClient(channel)


def lesson_run(served: Rig, client: LessonClient) -> LessonRun:
    """Makes one lesson and measures it. Raises RunError unless it is COMPLETE: a fast half lesson proves nothing."""
    before = len(served.calls())
    moments: list[Moment] = []
    lesson: Lesson | None = None
    begun = completed = time.monotonic()
    with closing(client.stream(lesson_spec(can_do_id=CAN_DO))) as events:
        for event in events:
            completed = time.monotonic()
            moments += moments_of(event, completed)
            lesson = event.lesson if isinstance(event, Completed) else lesson
    if lesson is None:
        raise RunError("the stream ended without a lesson")
    check_whole(lesson.outcome, lesson.sections)
    calls = served.calls()[before:]
    stage1 = stage1_call(calls)
    if stage1 is None or stage1.ended is None:
        raise RunError("the model server did not see exactly one whole Stage 1 call: the lesson needed a repair")
    figures = measure(begun, completed, moments, Stream(stage1.asked, stage1.ended))
    return LessonRun(figures, calls, os.getloadavg()[0])


def moments_of(event: Event, at: float) -> list[Moment]:
    """The moments that an event adds to the timeline; none for most kinds."""
    match event:
        case SectionReady(name=name):
            return [Moment(at, Seen.READY, name.value)]
        case SectionEnhanced(section=section) if is_translated(section):
            return [Moment(at, Seen.TRANSLATED, section.name.value)]
        case SectionReplaced(name=name):
            return [Moment(at, Seen.REPLACED, name.value)]
        case _:
            return []


def is_translated(section: EnhancedSection) -> bool:
    """Whether the section is ENHANCED and the model translated every text that needs it."""
    needing = [text for text in section.texts if text.needs_translation]
    given = all(text.translation_provenance is TranslationProvenance.MODEL for text in needing)
    return section.state is SectionState.ENHANCED and bool(needing) and given


def check_whole(outcome: Outcome, sections: Sequence[EnhancedSection]) -> None:
    """Raises RunError unless the lesson is COMPLETE and its practice, the last section, is translated."""
    if outcome is not Outcome.COMPLETE:
        reasons = "; ".join(f"{section.name.value}: {section.reason}" for section in sections if section.reason)
        raise RunError(f"the lesson is {outcome.value}, not complete: {reasons}")
    practice = next(section for section in sections if section.name is SectionName.PRACTICE)
    if not is_translated(practice):
        raise RunError(f"the practice is not translated: {practice.state.value} {practice.reason}")


# --- the whole measurement --------------------------------------------------------------------------------------


def report(scale: float, runs: int, logs: Path, command: str) -> Report:
    """Measures. Raises RunError, StartError, LessonError, PlanError or openai.OpenAIError."""
    # Read the commit first: the source may change during the run, while the processes keep the code they loaded.
    commit, load_before = where.commit(), os.getloadavg()[0]
    # A full collection in this process takes 60 ms and would land in some run. The services keep their own collector.
    gc.collect()
    gc.freeze()
    with rig(scale, logs) as served:
        with connected(served) as client:
            done = [_numbered(number, served, client) for number in range(1, runs + 1)]
        earlier = asyncio.run(earlier_plan.run(served.model_url, CAN_DO))
    return Report(
        command=command,
        commit=commit,
        machine=where.machine(),
        scale=scale,
        load_before=load_before,
        load_after=os.getloadavg()[0],
        runs=done,
        earlier=earlier,
    )


def _numbered(number: int, served: Rig, client: LessonClient) -> LessonRun:
    try:
        return lesson_run(served, client)
    except (RunError, TimelineError) as error:
        raise RunError(f"run {number}: {error}") from error


# --- reporting --------------------------------------------------------------------------------------------------


def table(result: Report) -> str:
    """The report as Markdown."""
    lines = [
        f"- command: `{result.command}`",
        f"- commit: {result.commit}",
        f"- machine: {result.machine}",
        f"- load average (1 min): {result.load_before:.2f} before, {result.load_after:.2f} after",
        f"- scale 1/{result.scale:g}: seconds are as measured; times {result.scale:g} is the paced model's time",
        "",
        "| run | total s | stream s | ratio | added ms (before + after) | 1st section | reading | translated | load |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(str(number), run.figures, run.load) for number, run in enumerate(result.runs, start=1)]
    lines += [_row("median", result.median, None), "", _stream_line(result.runs[-1].calls), "", *_earlier_table(result)]
    return "\n".join(lines)


def _row(name: str, run: Figures, load: float | None) -> str:
    percents = (run.first_ready_percent, run.reading_ready_percent, run.reading_translated_percent)
    cells = [
        name,
        f"{run.total_seconds:.3f}",
        f"{run.stream_seconds:.3f}",
        f"{run.ratio:.4f}",
        f"{run.added_ms:.0f} ({run.before_ms:.0f} + {run.after_ms:.0f})",
        *(f"{percent:.1f} %" for percent in percents),
        "" if load is None else f"{load:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _stream_line(calls: Sequence[Call]) -> str:
    """How the server wrote the last run's stream, how late it ran, and which Stage 2 calls ran beside it."""
    stream = next(call for call in calls if call.kind == STAGE1)
    late = 1000 * ((stream.ended or stream.asked) - stream.asked - stream.planned_seconds)
    others = [call for call in calls if call.kind != STAGE1]
    longest = max((call.planned_seconds for call in others), default=0.0)
    return (
        "1st section, reading, translated (the reading): when the caller had them, in per cent of the stream. "
        f"Last run's stream: {stream.tokens} tokens, {stream.chunks} chunks in {stream.writes} writes "
        f"({stream.chunks / stream.writes:.2f} a write), {late:+.0f} ms against its plan. "
        f"Beside it {len(others)} calls, {sum(call.tokens for call in others)} tokens, the longest {longest:.3f} s."
    )


def _earlier_table(result: Report) -> list[str]:
    lines = [
        f"| the earlier plan | calls | tokens | s | s times {result.scale:g} | its published s |",
        "|---|---|---|---|---|---|",
    ]
    together = PartRun(result.earlier_seconds, *(sum(part) for part in zip(*_counts(result), strict=True)))
    published = {name: part.seconds for name, part in EARLIER.items()}
    published["together"] = sum(published.values())
    for name, part in (result.earlier | {"together": together}).items():
        seconds = f"{part.seconds:.3f} | {part.seconds * result.scale:.2f} | {published[name]:.2f}"
        lines.append(f"| {name} | {part.calls} | {part.tokens} | {seconds} |")
    lines += ["", _comparison(result)]
    return lines


def _counts(result: Report) -> list[tuple[int, int]]:
    return [(part.calls, part.tokens) for part in result.earlier.values()]


def _comparison(result: Report) -> str:
    """Compares with the serial plan as published and, by computation, with one whose Stage 1 writes a frame too."""
    ours, stream = result.median.total_seconds, next(call for call in result.runs[-1].calls if call.kind == STAGE1)
    longer = pace_of(STAGE1).seconds(stream.tokens - result.earlier[STAGE1].tokens, calls=0) / result.scale
    return (
        f"The serial plan takes {result.earlier_seconds / ours:.2f} times as long as the median lesson "
        f"({(result.earlier_seconds + longer) / ours:.2f} times, computed, if its Stage 1 wrote the frame too)."
    )


def as_json(result: Report) -> dict[str, Any]:
    """The report, including every call of every run."""
    return asdict(result) | {"median": asdict(result.median), "earlier_seconds": result.earlier_seconds}


def verdict(result: Report, smoke: bool) -> str:
    """The reason for failing; empty for a pass."""
    middle = result.median
    if middle.reading_translated_percent >= 100:
        return "the reading was translated only after the stream ended: Stage 2 did not run beside Stage 1"
    if smoke and middle.added_ms > SMOKE_ADDED_MS:
        return f"{middle.added_ms:.0f} ms beyond the stream; the smoke bound is {SMOKE_ADDED_MS:g}"
    if not smoke and middle.ratio > RATIO_BOUND:
        return f"the median ratio {middle.ratio:.4f} is above {RATIO_BOUND}"
    return ""


# --- the command ------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 within the bound, 1 above it or without a measurement."""
    raise_on_signals()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(given)
    command = shlex.join(["python", "-m", "benchmarks.latency", *given])
    logs = Path(tempfile.mkdtemp(prefix="nidan-bench-"))
    try:
        result = report(options.scale, options.runs, logs, command)
    except (RunError, StartError, LessonError, PlanError, openai.OpenAIError) as error:
        sys.stderr.write(f"benchmarks.latency: FAILED: {error}\nThe services' logs are in {logs}\n")
        return 1
    shutil.rmtree(logs, ignore_errors=True)
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(as_json(result), indent=1) + "\n", encoding="utf-8")
    why = verdict(result, options.smoke)
    print(f"\nFAILED: {why}" if why else "\npassed")
    return 1 if why else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description="A lesson beside its stream.")
    parser.add_argument("--scale", type=positive, help=f"divides the model's times (default {DEFAULT_SCALE:g})")
    parser.add_argument("--runs", type=_count, metavar="N", help="lessons (default 5, at most 100)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure and call there too")
    parser.add_argument("--smoke", action="store_true", help="1 run at scale 100, with a wide bound: for CI")
    options = parser.parse_args(arguments)
    options.scale = options.scale or (SMOKE_SCALE if options.smoke else DEFAULT_SCALE)
    options.runs = options.runs or (1 if options.smoke else 5)
    return options


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be from 1 to 100, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
