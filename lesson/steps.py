"""Long computations in small steps, so that an event loop can serve others between two of them.

A computation is a generator: it yields None where it may pause and returns its result. `run` runs it to its end at
once; `run_in_slices` gives the event loop a turn after each slice of time. Both run the same steps, so results agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
Steps = Generator[None, None, T]

SLICE_SECONDS: Final = 0.0005
"""The loop gets a turn after this time, as soon as the current step ends. A step should take much less."""


def run(steps: Steps[T]) -> T:
    """The result, computed without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


async def run_in_slices(steps: Steps[T]) -> T:
    """The same result, with a turn for the event loop after each SLICE_SECONDS.

    Each turn of the loop runs one slice, however many computations there are: they queue for it in order of arrival.
    """
    slot = _slot(asyncio.get_running_loop())
    while True:
        async with slot:
            slice_ends = time.perf_counter() + SLICE_SECONDS
            while time.perf_counter() < slice_ends:
                try:
                    next(steps)
                except StopIteration as end:
                    result: T = end.value
                    return result
            await asyncio.sleep(0)


_SLOTS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()


def _slot(loop: asyncio.AbstractEventLoop) -> asyncio.Lock:
    return _SLOTS.setdefault(loop, asyncio.Lock())
