"""`nidan batch`: the lessons of a file, several at a time, each into a file of its own; the same command goes on.

As for `generate`, what needs gRPC or the models is imported in functions: a trio that must be started comes up while
we load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from nidan.batch.progress import BatchProgress
from nidan.batch.report import Outcome, Report, Result, exit_code, summary, table
from nidan.batch.rows import LEVELS, Row, RowsError, read_rows
from nidan.credentials import Access
from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError, StartError
from nidan.services.find_gateway import find_gateway
from nidan.services.signals import Terminated
from nidan.terminal.failures import report_failure
from nidan.terminal.layout import printed
from nidan.terminal.output import Output, OutputError, Screen
from nidan.terminal.progress import Progress, message_console

if TYPE_CHECKING:
    from nidan.batch.lessons import Event, Workshop

EXIT_USAGE = 2
_HEADLINE = "Given up"
_SHOWN_PROBLEMS = 50
# What a run that was killed left behind: a draft is a hidden file beside its place, and takes room.
_DRAFT = re.compile(r"\.\d{3,}-.+\.[a-z0-9_]{8}")


@dataclass(frozen=True)
class Asked:
    """What the command line says, its form already checked."""

    file: Path
    out: Path
    concurrency: int = 2
    offline: bool = False
    address: str = ""
    access: Access = field(default_factory=Access)
    limit_usd: float | None = None
    again: bool = False
    as_json: bool = False


def batch(asked: Asked, environment: Mapping[str, str]) -> int:
    """Makes the lessons that are not there yet; the exit status. Whatever it started has ended when it returns."""
    progress = Progress(message_console())
    try:
        rows = read_rows(asked.file)
        with _folder(asked.out):
            return _Batch(asked, rows, progress).run(environment)
    except RowsError as error:
        _tell_problems(error, progress)
        return EXIT_USAGE
    except KeyboardInterrupt:
        progress.say("Interrupted.")
        return EXIT_INTERRUPTED
    except (GivenUpError, OutputError) as error:
        report_failure(error, asked.as_json, progress, _HEADLINE)
        return EXIT_FAILED


def _tell_problems(error: RowsError, progress: Progress) -> None:
    progress.say(str(error), "red")
    for problem in error.problems[:_SHOWN_PROBLEMS]:
        progress.say(f"  {problem}")
    if len(error.problems) > _SHOWN_PROBLEMS:
        progress.say(f"  … and {len(error.problems) - _SHOWN_PROBLEMS} more")
    progress.say("`nidan batch --help` says what the file has to be like.")


class _Batch:
    """One run over the rows of a file."""

    def __init__(self, asked: Asked, rows: Sequence[Row], progress: Progress) -> None:
        self._asked = asked
        self._rows = rows
        self._progress = progress
        self._began = time.monotonic()
        self._results: dict[int, Result] = {}
        self._stopped_because = ""
        self._limit_reached = False

    def run(self, environment: Mapping[str, str]) -> int:
        """Raises RowsError, GivenUpError or OutputError when nothing could be begun, or all had to be given up."""
        there = [] if self._asked.again else _there(self._rows, self._asked.out)
        self._report = Report(self._asked.out)
        self._results |= {result.row.number: result for result in there}
        for result in there:
            self._tell_json(result)
        if there:
            self._progress.say(f"{len(there)} of {len(self._rows)} are there already; --again makes them anew.")
        wanted = [row for row in self._rows if row.number not in self._results]
        signalled = self._make(wanted, environment) if wanted else self._end()
        if signalled == signal.SIGINT:
            return EXIT_INTERRUPTED
        if signalled:
            raise Terminated(128 + signalled)
        return exit_code(self._all())

    def _make(self, wanted: Sequence[Row], environment: Mapping[str, str]) -> int:
        """The number of the signal that ended it, or 0."""
        asked = self._asked
        with (
            self._progress.shown(),
            find_gateway(asked.address, asked.offline, environment, self._progress, asked.access) as asking,
        ):
            from nidan.batch.lessons import Workshop

            self._progress.finish()
            workshop = Workshop(
                wanted,
                asking,
                asked.out,
                concurrency=asked.concurrency,
                offline=asked.offline,
                limit_usd=asked.limit_usd,
            )
            bar = BatchProgress(message_console(), len(wanted))
            try:
                with bar.shown(), _signals(workshop.events):
                    return self._follow(workshop, bar)
            finally:
                self._end()

    def _follow(self, workshop: Workshop, bar: BatchProgress) -> int:
        """Reads what the workers say until the last has left. Raises GivenUpError, StartError, OutputError."""
        from nidan.batch.lessons import Signalled

        signalled = 0
        error: Exception | None = None
        workshop.start()
        for event in workshop.told():
            if isinstance(event, Signalled):
                signalled = signalled or event.number
                workshop.cancel()
            try:
                self._take(event, bar)
            except OutputError as raised:
                error = error or raised
                workshop.finish()  # what is under way has its room on the disk, and was paid for
            except (GivenUpError, StartError) as raised:
                error = error or raised
                workshop.cancel()
        workshop.cancel()
        self._limit_reached = workshop.limit_reached
        self._stopped_because = self._why(signalled, error)
        if error is not None and not signalled:
            raise error
        return signalled

    def _take(self, event: Event, bar: BatchProgress) -> None:
        """Raises what makes every further lesson useless."""
        from nidan.batch.lessons import Broken, Signalled, Waiting

        match event:
            case Result():
                self._ended(event, bar)
            case Waiting():
                bar.say(f"row {event.row.number} waits {event.seconds:.0f} s: {event.why}", "yellow")
            case Broken():
                raise event.error
            case Signalled():
                bar.say("Interrupted: what is under way is cancelled.", "yellow")

    def _ended(self, result: Result, bar: BatchProgress) -> None:
        self._results[result.row.number] = result
        bar.ended(result)
        self._tell_json(result)
        self._report.add(result)

    def _all(self) -> list[Result]:
        """One for each row, in order."""
        reason = self._stopped_because or "not begun"
        return [
            self._results.get(row.number) or Result(row, Outcome.NOT_STARTED, reason=reason, ended_at=time.time())
            for row in self._rows
        ]

    def _end(self) -> int:
        """Tells and keeps what has become of every row. 0: no signal ended it."""
        results = self._all()
        for result in results:
            if result.outcome is Outcome.NOT_STARTED:
                self._tell_json(result)
        if not self._asked.as_json:
            screen = Screen.of_stdout()
            with contextlib.suppress(BrokenPipeError):
                Output(None).write(printed(table(results), screen.columns, screen.colour))
        self._progress.say(summary(results, time.monotonic() - self._began), "bold")
        for step in dict.fromkeys(result.next_step for result in results if result.next_step):
            self._progress.say(step)
        if self._limit_reached:
            self._progress.say(f"No further lesson was begun: {self._stopped_because}.", "yellow")
        self._progress.say(f"Lessons and report.csv are in {self._asked.out}")
        if exit_code(results) == EXIT_FAILED:
            self._progress.say(_how_to_go_on(self._asked.again))
        self._report.close(results)
        return 0

    def _why(self, signalled: int, error: Exception | None) -> str:
        """Why rows were not begun."""
        if signalled:
            return "interrupted"
        if error is not None:
            return "given up"
        return f"the limit of ${self._asked.limit_usd:g} is reached" if self._limit_reached else ""

    def _tell_json(self, result: Result) -> None:
        if self._asked.as_json:
            with contextlib.suppress(BrokenPipeError):  # report.csv has it, too
                Output(None).write(f"{result.as_json()}\n")


def _how_to_go_on(again: bool) -> str:
    same = shlex.join(["nidan", *(word for word in sys.argv[1:] if word != "--again")])
    return f"To make the others: {same}" + ("  (--again would make all of them anew)" if again else "")


# --- the directory ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """The directory is there and ours alone inside the block. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror or error}. Name another --out.") from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(number)
        raise OutputError(f"another nidan batch is writing to {path}. Wait for it, or name another --out.") from error
    except OSError:
        pass  # a file system without locks
    try:
        _remove_drafts(path)
        yield
    finally:
        os.close(number)


def _remove_drafts(path: Path) -> None:
    for file in path.iterdir():
        if _DRAFT.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _there(rows: Sequence[Row], folder: Path) -> list[Result]:
    """A result for each row whose lesson is there. Raises RowsError where something else is in its place."""
    found, problems = [], []
    for row in rows:
        file = folder / row.file_name
        if file.exists():
            try:
                found.append(_result_of(row, file))
            except ValueError as error:
                problems.append(f"row {row.number}: {file} is there, and {error}")
    if problems:
        raise RowsError("Files are in the way; --again replaces them, another --out leaves them alone.", *problems)
    return found


def _result_of(row: Row, file: Path) -> Result:
    """Raises ValueError, saying what the file is."""
    try:
        master = json.loads(file.read_bytes())
        metadata = master["metadata"]
        outcome = Outcome(metadata["outcome"])
        level = LEVELS[master["originalLevel"] - 1]
        found = {"topic": metadata["topic"], "level": level, "language": metadata["learnerLanguage"]}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError("is no lesson") from error
    for name, value in found.items():
        wanted = getattr(row, name)
        if wanted and wanted != value:
            raise ValueError(f"is a lesson of {name} {value}, not {wanted}")
    reason = "" if outcome is Outcome.COMPLETE else _lacking(metadata)
    return Result(row, outcome, file=file, reason=reason, already_there=True)


def _lacking(metadata: Mapping[str, Any]) -> str:
    states = metadata.get("sectionStates", {})
    return ", ".join(f"{name} is {state.lower()}" for name, state in states.items() if state != "ENHANCED")


# --- signals ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _signals(events: SimpleQueue[Event]) -> Iterator[None]:
    """Inside the block signals are events: none may come between a lesson and the line that tells of it."""
    from nidan.batch.lessons import Signalled

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def told(number: int, _frame: object) -> None:
        events.put(Signalled(number))

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, told)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
