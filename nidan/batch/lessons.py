"""The lessons of a batch, several at a time: each by one call, each into a file of its own.

Threads: the client is synchronous, and a lesson is mostly waiting. What they have to say goes to one queue, which the
main thread reads; nothing else here is shared but what the lock guards.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from lesson.models import Lesson, Level
from lesson.models import Outcome as LessonOutcome
from nidan.batch.report import Outcome, Result, one_line
from nidan.batch.rows import Row
from nidan.client import Completed, LessonClient, LessonError, LessonRequest
from nidan.errors import GivenUpError, StartError
from nidan.explain import gateway_failure
from nidan.services.find_gateway import Gateway
from nidan.terminal.output import Output, OutputError
from servicekit.errors import RemoteError

_RESERVED_BYTES = 2 * 1024 * 1024
"""For a lesson's JSON, which has from 0.2 to 0.6 MB; what is not needed is given back."""
_LEAVING_SECONDS = 10.0
"""How long a worker whose call was cancelled may need to say so."""
MOST_WAITS = 5
LONGEST_WAIT_SECONDS = 120.0
_MEND = "A row that was refused has to be mended in the file."
_EXHAUSTED = "RESOURCE_EXHAUSTED"
# No run was begun, so nothing can have been spent.
_COST_NOTHING = frozenset({"INVALID_REQUEST", "UNKNOWN_CAN_DO", "TWOSTAGE_DISABLED", "OVERLOADED"})


@dataclass(frozen=True)
class Waiting:
    """A gateway that is full, or a provider that takes no more now, said when to come back."""

    row: Row
    seconds: float
    why: str


@dataclass(frozen=True)
class Broken:
    """What makes every further lesson useless."""

    error: OutputError | GivenUpError | StartError


@dataclass(frozen=True)
class Left:
    """One worker has nothing more to do."""


@dataclass(frozen=True)
class Signalled:
    """Somebody wants all of it to end."""

    number: int


Event = Result | Waiting | Broken | Left | Signalled


class _CancelledError(Exception):
    """The lesson is not wanted any more."""


class Workshop:
    """Makes the lessons of some rows at a gateway, `concurrency` at a time, and tells `events` of each.

    With a limit no lesson is begun once those that ended are known to have cost so much.
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
        self.events: SimpleQueue[Event] = SimpleQueue()
        self.limit_reached = False
        self._waiting = deque(rows)
        self._folder = folder
        self._offline = offline
        self._limit_usd = limit_usd
        self._spent_usd = 0.0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._check = gateway.check
        self._client = LessonClient(gateway.address, gateway.access)
        self.workers = min(concurrency, len(self._waiting))
        """Each says Left at its end."""

    def start(self) -> None:
        """The threads end with the process, whatever they are at: only they could be stuck."""
        for _ in range(self.workers):
            threading.Thread(target=self._work, daemon=True).start()

    def told(self) -> Iterator[Event]:
        """All that is said, until the last worker has left; after a cancelling until those had time to."""
        workers = self.workers
        while workers:
            try:
                event = self.events.get(timeout=_LEAVING_SECONDS if self._cancelled.is_set() else None)
            except Empty:
                return
            if isinstance(event, Left):
                workers -= 1
            else:
                yield event

    def finish(self) -> None:
        """No lesson is begun any more; those under way go on."""
        with self._lock:
            self._waiting.clear()

    def cancel(self) -> None:
        """Nothing is begun, and what is under way is given up at once."""
        self.finish()
        if not self._cancelled.is_set():
            self._cancelled.set()
            self._client.close()

    def _work(self) -> None:
        try:
            while (row := self._next()) is not None:
                result = self._made(row)
                with self._lock:
                    self._spent_usd += result.known_cost_usd
                self.events.put(result)
                if result.worth_checking:
                    self._check_gateway()
        finally:
            self.events.put(Left())

    def _check_gateway(self) -> None:
        """Before the next row is begun: it need not fail, too."""
        try:
            self._check()
        except (GivenUpError, StartError) as error:
            self.finish()
            self.events.put(Broken(error))

    def _next(self) -> Row | None:
        with self._lock:
            if self._limit_usd is not None and self._spent_usd >= self._limit_usd:
                self.limit_reached = self.limit_reached or bool(self._waiting)
                return None
            return self._waiting.popleft() if self._waiting else None

    def _made(self, row: Row) -> Result:
        began = time.monotonic()
        try:
            with Output(self._folder / row.file_name, _RESERVED_BYTES) as output:
                completed = self._completed(row)
                output.write(f"{completed.master_json}\n")
        except OutputError as error:
            self.finish()
            self.events.put(Broken(error))
            return Result(row, Outcome.FAILED, reason=str(error), seconds=time.monotonic() - began)
        except LessonError as error:
            return _failed(row, error.error, self._offline, time.monotonic() - began)
        except _CancelledError:
            return Result(
                row,
                Outcome.CANCELLED,
                reason="cancelled",
                seconds=time.monotonic() - began,
                cost_usd=0.0 if self._offline else None,
            )
        return _written(row, completed.lesson, self._folder / row.file_name, time.monotonic() - began)

    def _completed(self, row: Row) -> Completed:
        """The lesson, also where the gateway must be asked again. Raises LessonError or _CancelledError."""
        for left in reversed(range(MOST_WAITS + 1)):
            try:
                return self._asked(row)
            except (LessonError, ValueError) as error:  # a ValueError is gRPC's, for a channel that is closed
                if self._cancelled.is_set():
                    raise _CancelledError from error
                if isinstance(error, ValueError) or not left:
                    raise
                pause = _pause(error.error)
                if pause is None:
                    raise
                self.events.put(Waiting(row, pause, one_line(error.error.message)))
            if self._cancelled.wait(pause * random.uniform(1.0, 1.2)):  # noqa: S311 - jitter
                raise _CancelledError
        raise AssertionError("the last try returns or raises")

    def _asked(self, row: Row) -> Completed:
        request = LessonRequest(
            can_do_id=row.can_do_id,
            topic=row.topic,
            level=Level(row.level) if row.level else None,
            can_do_text=row.text,
            learner_language=row.language,
            model=row.model,
        )
        with closing(self._client.stream(request)) as events:
            *_, last = events
        assert isinstance(last, Completed)  # noqa: S101 - the client's own promise
        return last


def _pause(error: RemoteError) -> float | None:
    """How long to wait before the same is asked again; None: asking again is no use, or would take too long."""
    seconds = error.retry_after_seconds
    if error.status.name != _EXHAUSTED or not error.retryable or seconds is None or seconds > LONGEST_WAIT_SECONDS:
        return None
    return max(0.1, seconds)


def _written(row: Row, lesson: Lesson, file: Path, seconds: float) -> Result:
    whole = all(attempt.cost_usd is not None for attempt in lesson.attempts)
    complete = lesson.outcome is LessonOutcome.COMPLETE
    return Result(
        row,
        Outcome.COMPLETE if complete else Outcome.PARTIAL,
        file=file,
        reason="" if complete else _lacking(lesson),
        seconds=seconds,
        cost_usd=lesson.cost_usd if whole else None,
        known_cost_usd=lesson.cost_usd,
    )


def _lacking(lesson: Lesson) -> str:
    told = [
        f"{section.name.value.replace('_', ' ')} is {section.state.value}"
        for section in lesson.sections
        if section.state.value != "enhanced"
    ]
    return ", ".join(told)


def _failed(row: Row, error: RemoteError, offline: bool, seconds: float) -> Result:
    told = gateway_failure(error, offline)
    fields = "; ".join(f"{name.removeprefix('--').lower()}: {problem}" for name, problem in told.fields.items())
    return Result(
        row,
        Outcome.FAILED,
        reason=one_line(f"{told.reason}: {fields or told.message}"),
        next_step=_MEND if told.fields else told.next_step,
        seconds=seconds,
        cost_usd=0.0 if offline or told.reason in _COST_NOTHING else None,
        worth_checking=not told.caller_fault,
    )
