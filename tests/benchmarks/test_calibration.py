"""The pace of the model server: what it is calibrated to, and that a real server keeps it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import earlier_plan
from benchmarks.paced_model import EARLIER, GRAMMAR_PACE, STAGE1, STAGE1_PACE, STAGE2_PACE, Pace, pace_of
from benchmarks.rig import Rig, stage1_call

ROOT = Path(__file__).resolve().parents[2]
SCALE = 200.0


@contextlib.contextmanager
def paced_server() -> Iterator[Rig]:
    """The paced server as a process of its own, on a port that the system chose; killed at the end."""
    command = [sys.executable, "-m", "benchmarks.paced_model", "--port", "0", "--scale", str(SCALE)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            started = json.loads(process.stdout.readline())
            assert started["event"] == "paced_model_started"
            assert started["scale"] == SCALE
            yield Rig("", started["port"])
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("kind", "seconds"), [("stage1", 85.47), ("reading", 5.49), ("dialogue", 22.65), ("grammar", 9.12)]
)
def test_each_part_of_the_earlier_plan_takes_its_published_seconds(kind: str, seconds: float) -> None:
    part = EARLIER[kind]
    assert pace_of(kind).seconds(part.tokens, part.calls) == pytest.approx(seconds, abs=1e-9)


def test_the_paces_are_those_that_the_docstring_states() -> None:
    assert STAGE2_PACE.ttft_seconds == pytest.approx(2.48, abs=0.005)
    assert STAGE2_PACE.tokens_per_second == pytest.approx(127.4, abs=0.05)
    assert GRAMMAR_PACE.tokens_per_second == pytest.approx(132.4, abs=0.05)
    assert STAGE1_PACE.tokens_per_second == pytest.approx(36.0, abs=0.05)
    assert STAGE2_PACE.seconds(224, calls=3) == pytest.approx(9.19, abs=0.005)
    assert STAGE1_PACE.seconds(3492) == pytest.approx(99.4, abs=0.05)


def test_time_is_made_of_calls_and_tokens() -> None:
    pace = Pace(ttft_seconds=2.0, tokens_per_second=50.0)
    assert pace.seconds(0) == 2.0
    assert pace.seconds(100) == 4.0
    assert pace.seconds(100, calls=3) == 8.0


def test_a_section_that_was_not_published_has_the_pace_of_stage_2() -> None:
    assert {pace_of(kind) for kind in ("frame", "culture", "practice", "reading", "")} == {STAGE2_PACE}


def test_the_earlier_plan_really_takes_its_seconds_at_a_two_hundredth() -> None:
    """Never sooner, and later only by what 13 round trips cost; its calls and tokens are those of the calibration."""
    with paced_server() as served:
        parts = asyncio.run(earlier_plan.run(served.model_url, "JF:349"))
        calls = served.calls()[1:]  # the first is the client's warm-up
    hint = "the bank's JF:349 changed: set EARLIER's tokens anew, and the paces in the docstring with them"
    assert {name: (part.calls, part.tokens) for name, part in parts.items()} == {
        name: (part.calls, part.tokens) for name, part in EARLIER.items()
    }, hint
    for name, part in parts.items():
        planned = sum(call.planned_seconds for call in calls if call.kind == name)
        assert planned * SCALE == pytest.approx(EARLIER[name].seconds)
        assert planned - 0.002 * part.calls < part.seconds < planned + 0.08 * part.calls
    assert len(calls) == 13
    assert all(call.ended is not None and not call.streamed for call in calls)
    assert all(before.ended <= after.asked for before, after in pairwise(calls) if before.ended)
    assert stage1_call(calls) == calls[0]
    assert calls[0].kind == STAGE1
