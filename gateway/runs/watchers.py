"""The event log of a run: append-only and numbered, with any number of watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

E = TypeVar("E")


class EventLog(Generic[E]):
    """Events in order, numbered from 1. A watcher may come late or read slowly: it misses nothing and delays nobody.

    The log lives as long as its run. Use it inside one event loop.
    """

    def __init__(self) -> None:
        self._events: list[E] = []
        self._closed = False
        self._changed = asyncio.Event()

    def append(self, event: E) -> int:
        """Adds an event and returns its number. Raises ValueError when the log is closed."""
        if self._closed:
            raise ValueError("the event log is closed")
        self._events.append(event)
        self._wake_watchers()
        return len(self._events)

    def close(self) -> None:
        """Ends every watcher after the last event."""
        self._closed = True
        self._wake_watchers()

    async def watch(self, from_sequence: int = 1) -> AsyncGenerator[tuple[int, E], None]:
        """Yields (number, event) from that number to the end of the log."""
        read = from_sequence - 1
        while True:
            while read < len(self._events):
                read += 1
                yield read, self._events[read - 1]
            if self._closed:
                return
            await self._changed.wait()

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
