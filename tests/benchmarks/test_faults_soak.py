"""The soak: its luck can be had again, and too few whole lessons, or anything left behind, are seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.faults.server import Call
from benchmarks.soak import GROWTH_BYTES, SHARE_FAULTY, Luck, Tally, soak, verdict
from tests.model_server import bank

CALL = Call("stage1", "m", 1, "soak 0", "id", streamed=True, raw=b"", limit=1, begun=0.0)


def calls(number: int) -> list[Call]:
    return [replace(CALL, lesson=f"soak {index}", key=key) for index in range(number) for key in ("stage1", "culture")]


def test_a_fifth_of_all_calls_is_faulty_and_each_fault_has_its_turn() -> None:
    luck = Luck(6, (), bank())
    drawn = [luck(call) for call in calls(3000)]
    names = Counter(fault[0] for fault in drawn if fault)
    assert sum(names.values()) / len(drawn) == pytest.approx(SHARE_FAULTY, abs=0.02)
    assert len(names) > 40
    assert not {"refused", "huge"} & set(names)


def test_luck_follows_from_seed_lesson_and_number_alone() -> None:
    def names(seed: int, *without: str) -> list[str]:
        luck = Luck(seed, without, bank())
        return [fault[0] if (fault := luck(call)) else "" for call in reversed(calls(200))]

    assert names(6) == names(6)
    assert names(6) != names(7)
    assert "quota" in names(6)
    assert "quota" not in names(6, "quota")


def tally(**fields: object) -> Tally:
    good = Tally(lessons=1000, outcomes=Counter(COMPLETE=995, PARTIAL=4, FAILED=1), resident=[(100, 0), (1000, 1)])
    return replace(good, **fields)  # type: ignore[arg-type]


def test_enough_whole_lessons_pass() -> None:
    assert verdict([tally(), tally()]) == []


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (tally(outcomes=Counter(COMPLETE=980, PARTIAL=20)), "98.00% of the lessons are COMPLETE, wanted 99.0%"),
        (
            tally(outcomes=Counter(COMPLETE=998, FAILED=2)),
            "99.80% of the lessons are COMPLETE or PARTIAL, wanted 99.9%",
        ),
        (tally(left=["1 open rows"]), "1 open rows"),
        (tally(broken=["soak 1: no reading"]), "soak 1: no reading"),
        (tally(resident=[(100, 0), (1000, GROWTH_BYTES + 2**20)]), "a process grew by 65 MB"),
    ],
)
def test_what_is_not_good_enough_is_said(one: Tally, why: str) -> None:
    assert verdict([one]) == [why]


async def test_a_few_lessons_without_faults_leave_nothing_behind() -> None:
    made = await soak(range(3), lambda _bank: lambda _call: None, "test")
    assert made.outcomes == {"COMPLETE": 3}
    assert (made.faulty, made.left, made.broken, made.not_whole) == (0, [], [], [])
    assert made.calls == made.attempts == 3 * 7
