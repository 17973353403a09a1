"""A limit of time around each of many waits, at the price of one timer for all of them."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType


class WaitTimer:
    """`patience.until = when` and `with patience:` around a wait are `async with asyncio.timeout_at(when):`.

    `asyncio.timeout_at` sets a timer and takes it away again; a stream waits 1,300 times, and nearly always in vain.
    Here a wait only says until when. The one timer looks when it fires at what holds then, and is set anew; it is moved
    at once only to be earlier. One wait at a time; between two it does nothing: what runs there is not its to cancel.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.until = math.inf
        """The next wait's limit, in seconds of the loop's clock. One that has passed gives the loop one turn."""
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
        """Raises TimeoutError for a cancellation that was the timer's alone; anybody else's goes on as it is."""
        task, self._waiting = self._waiting, None
        if not self._fired or task is None:
            return
        self._fired = False
        if task.uncancel() <= self._asked_before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def close(self) -> None:
        """No more waits."""
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
