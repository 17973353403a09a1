"""The workers of a batch: several lessons at a time, each by one call into its own file.

They are threads, because the client is synchronous and a lesson is mostly waiting. They report to one queue, which the
main thread reads; they share nothing else except what the lock guards.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from nidan.batch.events import Broken, Event, WorkerDone
from nidan.batch.lessons import LessonMaker
from nidan.batch.result import Outcome, Result
from nidan.batch.rows import Row
from nidan.client import LessonClient
from nidan.errors import GivenUpError, StartError
from nidan.services.find_gateway import Gateway
from nidan.terminal.output import OutputError

_LEAVING_SECONDS = 10.0
"""How long a worker may take to report after its call was cancelled."""


class BatchRunner:
    """Makes the lessons of some rows at a gateway, `concurrency` at a time, and reports to `queue`.

    With a limit it starts no lesson once the finished ones are known to have cost so much.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        gateway: Gateway,
        folder: Path,
        *,
        concurrency: int,
        offline: bool,
        limit_usd: float | None,
    ) -> None:
        self.queue: SimpleQueue[Event] = SimpleQueue()
        self.limit_reached = False
        self._rows = deque(rows)
        self._limit_usd = limit_usd
        self._spent_usd = 0.0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._check = gateway.check
        self._client = LessonClient(gateway.address, gateway.access)
        self._maker = LessonMaker(
            self._client, folder, offline=offline, cancelled=self._cancelled, on_wait=self.queue.put
        )
        self._workers = min(concurrency, len(self._rows))

    def start(self) -> None:
        """Starts the threads. They are daemons: one that hangs must not keep the process alive."""
        for _ in range(self._workers):
            threading.Thread(target=self._work, daemon=True).start()

    def events(self) -> Iterator[Event]:
        """Yields events until the last worker is done, or until cancelled workers have had time to report."""
        workers = self._workers
        while workers:
            try:
                event = self.queue.get(timeout=_LEAVING_SECONDS if self._cancelled.is_set() else None)
            except Empty:
                return
            if isinstance(event, WorkerDone):
                workers -= 1
            else:
                yield event

    def finish(self) -> None:
        """Starts no further lesson; those under way continue."""
        with self._lock:
            self._rows.clear()

    def cancel(self) -> None:
        """Starts no further lesson and cancels those under way."""
        self.finish()
        if not self._cancelled.is_set():
            self._cancelled.set()
            self._client.close()

    def _work(self) -> None:
        try:
            while (row := self._next()) is not None:
                result = self._make(row)
                with self._lock:
                    self._spent_usd += result.known_cost_usd
                self.queue.put(result)
                if result.worth_checking:
                    self._check_gateway()
        finally:
            self.queue.put(WorkerDone())

    def _next(self) -> Row | None:
        with self._lock:
            if self._limit_usd is not None and self._spent_usd >= self._limit_usd:
                self.limit_reached = self.limit_reached or bool(self._rows)
                return None
            return self._rows.popleft() if self._rows else None

    def _make(self, row: Row) -> Result:
        began = time.monotonic()
        try:
            return self._maker.make(row)
        except OutputError as error:
            self.finish()
            self.queue.put(Broken(error))
            return Result(row, Outcome.FAILED, reason=str(error), seconds=time.monotonic() - began)

    def _check_gateway(self) -> None:
        """Stops before the next row where the gateway is gone, so that this row does not fail, too."""
        try:
            self._check()
        except (GivenUpError, StartError) as error:
            self.finish()
            self.queue.put(Broken(error))
