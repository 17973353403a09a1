"""One lesson of a batch: asks for it, waits where the gateway says so, and writes it to its file."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from lesson.models import Lesson
from lesson.models import Outcome as LessonOutcome
from nidan.batch.events import Waiting
from nidan.batch.result import Outcome, Result, one_line
from nidan.batch.rows import Row
from nidan.client import Completed, LessonClient, LessonError, lesson_spec
from nidan.explain import gateway_failure
from nidan.terminal.output import Output
from servicekit.errors import RemoteError

_RESERVED_BYTES = 2 * 1024 * 1024
"""For the JSON of a lesson, which takes from 0.2 to 0.6 MB; `Output` gives back the rest."""
MOST_WAITS = 5
LONGEST_WAIT_SECONDS = 120.0
_FIX_ROW = "Fix the rejected rows in the file."
_EXHAUSTED = "RESOURCE_EXHAUSTED"
# No run was started, so no money was spent.
_COST_NOTHING = frozenset({"INVALID_REQUEST", "UNKNOWN_CAN_DO", "TWOSTAGE_DISABLED", "OVERLOADED"})


class _CancelledError(Exception):
    """The batch was cancelled during this lesson."""


class LessonMaker:
    """Makes lessons into files of `folder`, one for each call of `make`. Threads may share it.

    Once `cancelled` is set, calls end as soon as the client closes. `on_wait` hears of each wait.
    """

    def __init__(
        self,
        client: LessonClient,
        folder: Path,
        *,
        offline: bool,
        cancelled: threading.Event,
        on_wait: Callable[[Waiting], None],
    ) -> None:
        self._client = client
        self._folder = folder
        self._offline = offline
        self._cancelled = cancelled
        self._on_wait = on_wait

    def make(self, row: Row) -> Result:
        """The result, whatever the gateway answered. Raises OutputError."""
        began = time.monotonic()
        file = self._folder / row.file_name
        try:
            with Output(file, _RESERVED_BYTES, follow=False) as output:
                completed = self._request_until_accepted(row)
                output.write(f"{completed.master_json}\n")
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
        return _written(row, completed.lesson, file, time.monotonic() - began)

    def _request_until_accepted(self, row: Row) -> Completed:
        """Asks again after each wait that the gateway names. Raises LessonError or _CancelledError."""
        for left in reversed(range(MOST_WAITS + 1)):
            try:
                return self._request(row)
            except (LessonError, ValueError) as error:  # gRPC raises ValueError on a closed channel
                if self._cancelled.is_set():
                    raise _CancelledError from error
                if isinstance(error, ValueError) or not left:
                    raise
                pause = _pause(error.error)
                if pause is None:
                    raise
                self._on_wait(Waiting(row, pause, one_line(error.error.message)))
            if self._cancelled.wait(pause * random.uniform(1.0, 1.2)):  # noqa: S311 - jitter
                raise _CancelledError
        raise AssertionError("the last try returns or raises")

    def _request(self, row: Row) -> Completed:
        spec = lesson_spec(
            can_do_id=row.can_do_id,
            topic=row.topic,
            level=row.level,
            can_do_text=row.text,
            learner_language=row.language,
            model=row.model,
        )
        with closing(self._client.stream(spec)) as events:
            *_, last = events
        assert isinstance(last, Completed)  # noqa: S101 - the client promises it
        return last


def _pause(error: RemoteError) -> float | None:
    """Seconds to wait before the same request; None where asking again is useless or would take too long."""
    seconds = error.retry_after_seconds
    if error.status.name != _EXHAUSTED or not error.retryable or seconds is None or seconds > LONGEST_WAIT_SECONDS:
        return None
    return max(0.1, seconds)


def _written(row: Row, lesson: Lesson, file: Path, seconds: float) -> Result:
    priced = all(attempt.cost_usd is not None for attempt in lesson.attempts)
    complete = lesson.outcome is LessonOutcome.COMPLETE
    return Result(
        row,
        Outcome.COMPLETE if complete else Outcome.PARTIAL,
        file=file,
        reason="" if complete else _missing_sections(lesson),
        seconds=seconds,
        cost_usd=lesson.cost_usd if priced else None,
        known_cost_usd=lesson.cost_usd,
    )


def _missing_sections(lesson: Lesson) -> str:
    states = [
        f"{section.name.value.replace('_', ' ')} is {section.state.value}"
        for section in lesson.sections
        if section.state.value != "enhanced"
    ]
    return ", ".join(states)


def _failed(row: Row, error: RemoteError, offline: bool, seconds: float) -> Result:
    failure = gateway_failure(error, offline)
    fields = "; ".join(f"{name.removeprefix('--').lower()}: {problem}" for name, problem in failure.fields.items())
    return Result(
        row,
        Outcome.FAILED,
        reason=one_line(f"{failure.reason}: {fields or failure.message}"),
        next_step=_FIX_ROW if failure.fields else failure.next_step,
        seconds=seconds,
        cost_usd=0.0 if offline or failure.reason in _COST_NOTHING else None,
        worth_checking=not failure.caller_fault,
    )
