"""A time limit around each of many waits, for the price of one timer."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType


class WaitTimer:
    """`timer.until = when` and `with timer:` around a wait do what `async with asyncio.timeout_at(when):` does.

    `asyncio.timeout_at` sets and cancels a timer for each wait, and a stream waits 1,300 times, nearly always without a
    timeout. Here a wait only sets its limit. When the one timer fires, it reads the limit that holds then and sets
    itself anew; it moves at once only to an earlier time. It covers one wait at a time and never cancels what runs
    between two waits.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.until = math.inf
        """The limit of the next wait, in seconds of the loop's clock. A limit in the past gives the loop one turn."""
        self._timer: asyncio.TimerHandle | None = None
        self._set_for = math.inf
        self._waiting: asyncio.Task[object] | None = None
        self._asked_before = 0
        self._fired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait")
        self._waiting = task
        self._asked_before = task.cancelling()
        if self.until < self._set_for:
            self._set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Raises TimeoutError for a cancellation by the timer alone; any other cancellation passes through."""
        task, self._waiting = self._waiting, None
        if not self._fired or task is None:
            return
        self._fired = False
        if task.uncancel() <= self._asked_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def close(self) -> None:
        """Ends the timer; no wait may follow."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._set_for = None, math.inf

    def _set(self) -> None:
        self.close()
        self._timer, self._set_for = self._loop.call_at(self.until, self._look), self.until

    def _look(self) -> None:
        was_set_for = self._set_for
        self.close()
        if self._waiting is None:
            return
        if self.until > was_set_for:
            self._set()
            return
        self._fired = True
        self._waiting.cancel()
