"""The event log of a run: numbered, complete for every watcher, and gone with its run."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.runs.watchers import EventLog


async def read(log: EventLog[str], from_sequence: int = 1) -> list[tuple[int, str]]:
    return [entry async for entry in log.watch(from_sequence)]


async def test_two_watchers_see_the_same_events() -> None:
    log = EventLog[str]()
    watchers = [asyncio.create_task(read(log)) for _ in range(2)]
    await asyncio.sleep(0)
    numbers = [log.append(event) for event in ("a", "b", "c")]
    await asyncio.sleep(0)
    log.close()
    first, second = await asyncio.gather(*watchers)
    assert numbers == [1, 2, 3]
    assert first == second == [(1, "a"), (2, "b"), (3, "c")]


async def test_a_late_watcher_starts_at_the_number_it_asks_for() -> None:
    log = EventLog[str]()
    for event in "abcd":
        log.append(event)
    late = asyncio.create_task(read(log, 3))
    await asyncio.sleep(0)
    log.append("e")
    log.close()
    assert await late == [(3, "c"), (4, "d"), (5, "e")]
    assert await read(log) == list(enumerate("abcde", 1))
    assert await read(log, 9) == []


async def test_the_cancel_of_a_watcher_does_not_disturb_another() -> None:
    log = EventLog[str]()
    cancelled, other = asyncio.create_task(read(log)), asyncio.create_task(read(log))
    log.append("a")
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    log.append("b")
    log.close()
    assert cancelled.cancelled()
    assert await other == [(1, "a"), (2, "b")]


async def test_a_slow_watcher_blocks_nobody_and_misses_nothing() -> None:
    log = EventLog[str]()
    async with aclosing(log.watch()) as slow:
        log.append("a")
        assert await anext(slow) == (1, "a")
        for event in "bcd":
            log.append(event)
        log.close()
        assert await read(log) == list(enumerate("abcd", 1))
        assert [entry async for entry in slow] == list(enumerate("abcd", 1))[1:]


async def test_a_closed_log_takes_no_event() -> None:
    log = EventLog[str]()
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.append("a")
    assert await read(log) == []


async def test_nothing_of_a_log_is_kept_after_its_run() -> None:
    log = EventLog[set[str]]()
    event = {"a"}
    kept = weakref.ref(event)
    log.append(event)
    log.close()
    assert [number async for number, _ in log.watch()] == [1]
    del log, event
    gc.collect()
    assert kept() is None


@given(st.lists(st.integers()), st.integers(1, 12))
def test_a_watcher_from_any_number_sees_the_rest(events: list[int], start: int) -> None:
    async def watched() -> list[tuple[int, int]]:
        log = EventLog[int]()
        task = asyncio.create_task(_all(log, start))
        for event in events:
            log.append(event)
            await asyncio.sleep(0)
        log.close()
        return await task

    assert asyncio.run(watched()) == list(enumerate(events, 1))[start - 1 :]


async def _all(log: EventLog[int], start: int) -> list[tuple[int, int]]:
    return [entry async for entry in log.watch(start)]
