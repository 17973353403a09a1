"""Long computations in steps: the same result at once and in slices, and the loop has its turn between two."""

from __future__ import annotations

import asyncio
import time

import pytest

from lesson.steps import SLICE_SECONDS, Steps, run, run_in_slices


def adding(numbers: range, spend_seconds: float = 0.0) -> Steps[int]:
    """The sum; each step keeps the CPU for a while."""
    total = 0
    for number in numbers:
        ends = time.perf_counter() + spend_seconds
        while time.perf_counter() < ends:
            pass
        total += number
        yield
    return total


def failing() -> Steps[int]:
    yield
    raise ValueError("in a step")


async def test_in_slices_the_result_is_the_same() -> None:
    assert run(adding(range(100))) == await run_in_slices(adding(range(100))) == sum(range(100))


async def test_an_error_of_a_step_is_raised_and_leaves_the_slice_to_others() -> None:
    with pytest.raises(ValueError, match="in a step"):
        run(failing())
    with pytest.raises(ValueError, match="in a step"):
        await run_in_slices(failing())
    assert await run_in_slices(adding(range(3))) == 3


async def test_others_have_their_turn_between_two_slices() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await run_in_slices(adding(range(10), SLICE_SECONDS))
    task.cancel()
    assert turns >= 10


async def test_computations_side_by_side_share_one_slice_a_turn() -> None:
    stepped: list[str] = []

    def recording(name: str) -> Steps[None]:
        for _ in range(5):
            yield from adding(range(1), SLICE_SECONDS)
            stepped.append(name)

    async def turns() -> None:
        while True:
            stepped.append("turn")
            await asyncio.sleep(0)

    task = asyncio.create_task(turns())
    await asyncio.gather(*(run_in_slices(recording(name)) for name in "abc"))
    task.cancel()
    slices = "".join("|" if name == "turn" else name for name in stepped)
    assert max(map(len, slices.split("|"))) == 1, slices
    assert all(slices.count(name) == 5 for name in "abc")
