"""One run of `nidan batch`: makes the lessons that are missing, and reports every row.

Functions import what needs gRPC or the models: a trio that must be started comes up while these load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from nidan.batch.events import Broken, Event, Signalled, Waiting
from nidan.batch.folder import existing_results, locked_folder
from nidan.batch.progress import BatchProgress
from nidan.batch.report import Report
from nidan.batch.result import Outcome, Result
from nidan.batch.rows import Row, RowsError, read_rows
from nidan.batch.summary import exit_code, summary, table
from nidan.credentials import Access
from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, GivenUpError, StartError
from nidan.services.find_gateway import find_gateway
from nidan.services.signals import Terminated
from nidan.terminal.failures import report_failure
from nidan.terminal.layout import printed
from nidan.terminal.output import Output, OutputError, Screen
from nidan.terminal.progress import Progress, message_console

if TYPE_CHECKING:
    from nidan.batch.runner import BatchRunner

_HEADLINE = "Given up"
_SHOWN_PROBLEMS = 50


@dataclass(frozen=True)
class BatchOptions:
    """The options of `nidan batch`, their form already checked."""

    file: Path
    out: Path
    concurrency: int = 2
    offline: bool = False
    address: str = ""
    access: Access = field(default_factory=Access)
    limit_usd: float | None = None
    again: bool = False
    as_json: bool = False


def run(options: BatchOptions, environment: Mapping[str, str]) -> int:
    """Makes the missing lessons. Returns the exit status, after ending what it started."""
    progress = Progress(message_console())
    try:
        rows = read_rows(options.file)
        with locked_folder(options.out):
            return _BatchRun(options, rows, progress).run(environment)
    except RowsError as error:
        _report_problems(error, progress)
        return EXIT_USAGE
    except KeyboardInterrupt:
        progress.say("Interrupted.")
        return EXIT_INTERRUPTED
    except (GivenUpError, OutputError) as error:
        report_failure(error, options.as_json, progress, _HEADLINE)
        return EXIT_FAILED


def _report_problems(error: RowsError, progress: Progress) -> None:
    progress.say(str(error), "red")
    for problem in error.problems[:_SHOWN_PROBLEMS]:
        progress.say(f"  {problem}")
    if len(error.problems) > _SHOWN_PROBLEMS:
        progress.say(f"  … and {len(error.problems) - _SHOWN_PROBLEMS} more")
    progress.say("`nidan batch --help` describes the file.")


class _BatchRun:
    """One run over the rows of a file."""

    def __init__(self, options: BatchOptions, rows: Sequence[Row], progress: Progress) -> None:
        self._options = options
        self._rows = rows
        self._progress = progress
        self._began = time.monotonic()
        self._results: dict[int, Result] = {}
        self._stopped_because = ""
        self._limit_reached = False

    def run(self, environment: Mapping[str, str]) -> int:
        """Returns the exit status. Raises RowsError, GivenUpError or OutputError where nothing more can be made."""
        existing = [] if self._options.again else existing_results(self._rows, self._options.out)
        self._report = Report(self._options.out)
        self._results |= {result.row.number: result for result in existing}
        for result in existing:
            self._print_json(result)
        if existing:
            self._progress.say(f"{len(existing)} of {len(self._rows)} are there already; --again makes them anew.")
        wanted = [row for row in self._rows if row.number not in self._results]
        signalled = self._make(wanted, environment) if wanted else self._print_summary()
        if signalled == signal.SIGINT:
            return EXIT_INTERRUPTED
        if signalled:
            raise Terminated(128 + signalled)
        return exit_code(self._all_results())

    def _make(self, wanted: Sequence[Row], environment: Mapping[str, str]) -> int:
        """Returns the number of the signal that ended it, or 0."""
        options = self._options
        with (
            self._progress.shown(),
            find_gateway(options.address, options.offline, environment, self._progress, options.access) as gateway,
        ):
            from nidan.batch.runner import BatchRunner

            self._progress.finish()
            runner = BatchRunner(
                wanted,
                gateway,
                options.out,
                concurrency=options.concurrency,
                offline=options.offline,
                limit_usd=options.limit_usd,
            )
            bar = BatchProgress(message_console(), len(wanted))
            try:
                with bar.shown(), _signals_as_events(runner.queue):
                    return self._follow(runner, bar)
            finally:
                self._print_summary()

    def _follow(self, runner: BatchRunner, bar: BatchProgress) -> int:
        """Handles events until the last worker is done. Raises GivenUpError, StartError, OutputError."""
        signalled = 0
        error: Exception | None = None
        runner.start()
        for event in runner.events():
            if isinstance(event, Signalled):
                signalled = signalled or event.number
                runner.cancel()
            try:
                self._handle(event, bar)
            except OutputError as raised:
                error = error or raised
                runner.finish()  # lessons under way are paid for, and their room on the disk is reserved
            except (GivenUpError, StartError) as raised:
                error = error or raised
                runner.cancel()
        runner.cancel()
        self._limit_reached = runner.limit_reached
        self._stopped_because = self._why_stopped(signalled, error)
        if error is not None and not signalled:
            raise error
        return signalled

    def _handle(self, event: Event, bar: BatchProgress) -> None:
        """Raises the error that makes every further lesson useless."""
        match event:
            case Result():
                self._record(event, bar)
            case Waiting():
                bar.say(f"row {event.row.number} waits {event.seconds:.0f} s: {event.why}", "yellow")
            case Broken():
                raise event.error
            case Signalled():
                bar.say("Interrupted: lessons under way are cancelled.", "yellow")

    def _record(self, result: Result, bar: BatchProgress) -> None:
        self._results[result.row.number] = result
        bar.add(result)
        self._print_json(result)
        self._report.add(result)

    def _all_results(self) -> list[Result]:
        """One for each row, in order."""
        reason = self._stopped_because or "not started"
        return [
            self._results.get(row.number) or Result(row, Outcome.NOT_STARTED, reason=reason, ended_at=time.time())
            for row in self._rows
        ]

    def _print_summary(self) -> int:
        """Prints every row and closes the report. Returns 0: no signal ended it."""
        results = self._all_results()
        for result in results:
            if result.outcome is Outcome.NOT_STARTED:
                self._print_json(result)
        if not self._options.as_json:
            screen = Screen.of_stdout()
            with contextlib.suppress(BrokenPipeError):
                Output(None).write(printed(table(results), screen.columns, screen.colour))
        self._progress.say(summary(results, time.monotonic() - self._began), "bold")
        for step in dict.fromkeys(result.next_step for result in results if result.next_step):
            self._progress.say(step)
        if self._limit_reached:
            self._progress.say(f"No further lesson was started: {self._stopped_because}.", "yellow")
        self._progress.say(f"Lessons and report.csv are in {self._options.out}")
        if exit_code(results) == EXIT_FAILED:
            self._progress.say(_how_to_continue(self._options.again))
        self._report.close(results)
        return 0

    def _why_stopped(self, signalled: int, error: Exception | None) -> str:
        """Why rows were not started."""
        if signalled:
            return "interrupted"
        if error is not None:
            return "given up"
        return f"the limit of ${self._options.limit_usd:g} is reached" if self._limit_reached else ""

    def _print_json(self, result: Result) -> None:
        if self._options.as_json:
            with contextlib.suppress(BrokenPipeError):  # report.csv has it, too
                Output(None).write(f"{result.as_json()}\n")


def _how_to_continue(again: bool) -> str:
    same = shlex.join(["nidan", *(word for word in sys.argv[1:] if word != "--again")])
    return f"To make the others: {same}" + ("  (--again would make all of them anew)" if again else "")


@contextlib.contextmanager
def _signals_as_events(events: SimpleQueue[Event]) -> Iterator[None]:
    """Inside the block signals become events, so that none comes between a lesson and its line in the report."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def enqueue(number: int, _frame: object) -> None:
        events.put(Signalled(number))

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, enqueue)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
