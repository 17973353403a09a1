"""One timer around many waits, held to what `asyncio.timeout_at` does around each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from servicekit.llm.wait_timer import WaitTimer

Limit = Callable[[float], AbstractAsyncContextManager[None]]


def ours() -> Limit:
    timer = WaitTimer()

    @asynccontextmanager
    async def until(when: float) -> AsyncIterator[None]:
        timer.until = when
        with timer:
            yield

    return until


def theirs() -> Limit:
    @asynccontextmanager
    async def until(when: float) -> AsyncIterator[None]:
        async with asyncio.timeout_at(when):
            yield

    return until


both = pytest.mark.parametrize("made", [ours, theirs])


def now() -> float:
    return asyncio.get_running_loop().time()


def this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


@both
async def test_a_wait_beyond_its_limit_is_a_timeout_and_the_task_is_not_cancelled(made: Callable[[], Limit]) -> None:
    until, begun = made(), now()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with until(now() + 0.05):
                await asyncio.sleep(5)
        assert this_task().cancelling() == 0
    assert 0.09 < now() - begun < 4


@both
async def test_waits_in_time_are_left_alone_however_many_there_are(made: Callable[[], Limit]) -> None:
    until = made()
    for _ in range(6):
        async with until(now() + 0.5):
            await asyncio.sleep(0.12)


@both
async def test_a_limit_that_is_nearer_than_the_last_one_holds(made: Callable[[], Limit]) -> None:
    until = made()
    async with until(now() + 5):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with until(now() + 0.05):
            await asyncio.sleep(1)


@both
async def test_what_runs_between_two_waits_is_not_cancelled(made: Callable[[], Limit]) -> None:
    until = made()
    async with until(now() + 0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.15)
    async with until(now() + 0.05):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with until(now() + 0.05):
            await asyncio.sleep(1)


@both
async def test_a_limit_that_has_passed_leaves_what_need_not_wait(made: Callable[[], Limit]) -> None:
    until, ready = made(), asyncio.Event()
    ready.set()
    async with until(now() - 1):
        await ready.wait()
    await asyncio.sleep(0.01)
    with pytest.raises(TimeoutError):
        async with until(now() - 1):
            await asyncio.sleep(1)


@both
async def test_a_cancellation_from_outside_stays_one(made: Callable[[], Limit]) -> None:
    async def wait() -> None:
        async with made()(now() + 5):
            await asyncio.sleep(5)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


@both
@pytest.mark.parametrize("after", [-0.001, 0.001])
async def test_a_cancellation_from_outside_at_the_moment_of_the_limit_is_not_swallowed(
    made: Callable[[], Limit], after: float
) -> None:
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        when = now() + 0.05
        loop.call_at(when + after, this_task().cancel)
        loop.call_soon(time.sleep, 0.1)  # both are overdue when the loop comes to look
        async with made()(when):
            await asyncio.sleep(5)

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


@both
async def test_a_task_that_outlived_an_earlier_cancellation_has_its_limits_still(made: Callable[[], Limit]) -> None:
    async def wait() -> int:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(5)
        with pytest.raises(TimeoutError):
            async with made()(now() + 0.05):
                await asyncio.sleep(5)
        return this_task().cancelling()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.02)
    task.cancel()
    assert await task == 1


@both
async def test_an_error_of_the_wait_is_told_as_it_is(made: Callable[[], Limit]) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise ValueError("instead") from None

    with pytest.raises(ValueError, match="instead"):
        async with made()(now() + 0.05):
            await stubborn()
    assert this_task().cancelling() == 0


@both
async def test_the_next_wait_may_be_another_tasks(made: Callable[[], Limit]) -> None:
    until = made()

    async def wait(seconds: float) -> str:
        try:
            async with until(now() + 0.05):
                await asyncio.sleep(seconds)
        except TimeoutError:
            return "too long"
        return "in time"

    assert await asyncio.create_task(wait(0)) == "in time"
    assert await asyncio.create_task(wait(1)) == "too long"


async def test_a_wait_outside_a_task_is_refused() -> None:
    timer, told = WaitTimer(), asyncio.get_running_loop().create_future()

    def wait() -> None:
        try:
            with timer:
                pass
        except RuntimeError as error:
            told.set_result(str(error))

    asyncio.get_running_loop().call_soon(wait)
    assert await told == "only a task can wait"


async def test_once_closed_a_limit_to_come_is_forgotten_and_a_new_wait_has_its_own() -> None:
    timer = WaitTimer()
    timer.until = now() + 0.02
    with timer:
        await asyncio.sleep(0)
        timer.close()
        timer.close()
        await asyncio.sleep(0.1)
    timer.until = now() + 0.02
    with pytest.raises(TimeoutError), timer:
        await asyncio.sleep(1)
