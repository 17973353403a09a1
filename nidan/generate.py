"""`nidan generate`: finds or starts a gateway, follows one lesson, hands it over.

What needs gRPC or the lesson's models is imported in functions: a trio that must be started is started first, and
comes up while we load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nidan.output import Output, OutputError
from nidan.processes import GATEWAY, MissingKeyError, Providers, StartError, Trio, private_plan, running
from nidan.progress import Progress, message_console

if TYPE_CHECKING:
    from nidan.client import Completed
    from nidan.failure import Failure

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_ANSWER_SECONDS = 3.0
"""How long a gateway that was named may take to say that it serves."""
_PROBE_SECONDS = 0.5
"""The same for one that may or may not run at the default address."""
_PLAIN_COLUMNS = 80


@dataclass(frozen=True)
class Asked:
    """What the command line says, its form already checked; empty or None is not said."""

    can_do_id: str = ""
    topic: str = ""
    level: str = ""
    text: str = ""
    language: str = ""
    model: str = ""
    timeout_seconds: float | None = None
    offline: bool = False
    address: str = ""
    as_json: bool = False
    out: Path | None = None


class _GivenUpError(Exception):
    """There will be no lesson; carries why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def generate(asked: Asked, environment: Mapping[str, str]) -> int:
    """Makes the lesson and hands it over; the exit status. Whatever it started has ended when it returns."""
    progress = Progress(message_console())
    try:
        with Output(asked.out) as output, progress.shown(), _gateway(asked, environment, progress) as address:
            completed = _follow(asked, address, progress)
            progress.finish()
            output.write(_told(asked, completed))
    except KeyboardInterrupt:
        progress.say("Interrupted: the lesson was cancelled.")
        return EXIT_INTERRUPTED
    except (_GivenUpError, OutputError) as error:
        _report(asked, _failure_of(error), progress)
        return EXIT_FAILED
    return 0


def _follow(asked: Asked, address: str, progress: Progress) -> Completed:
    """Reads the run to its end, showing how far it is. Raises _GivenUpError."""
    from lesson.models import Level
    from nidan import failure
    from nidan.client import Completed, LessonClient, LessonError, LessonRequest

    request = LessonRequest(
        can_do_id=asked.can_do_id,
        topic=asked.topic,
        level=Level(asked.level) if asked.level else None,
        can_do_text=asked.text,
        learner_language=asked.language,
        model=asked.model,
        timeout_seconds=asked.timeout_seconds,
    )
    try:
        with LessonClient(address) as client, closing(client.stream(request)) as events:
            for event in events:
                progress.show(event)
                if isinstance(event, Completed):
                    completed = event
    except LessonError as error:
        raise _GivenUpError(failure.of_gateway(error.error, asked.offline)) from error
    return completed


def _told(asked: Asked, completed: Completed) -> str:
    if asked.as_json:
        return f"{completed.master_json}\n"
    from nidan.layout import page

    on_terminal = asked.out is None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size((_PLAIN_COLUMNS, 24)).columns if asked.out is None else _PLAIN_COLUMNS
    return page(completed.lesson, width, colour=on_terminal)


# --- whom to ask ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _gateway(asked: Asked, environment: Mapping[str, str], progress: Progress) -> Iterator[str]:
    """The address of the gateway to ask. --offline never asks one that it did not start: that one might be paid.

    Raises _GivenUpError.
    """
    named = asked.address or ("" if asked.offline else environment.get("NIDAN_ADDRESS", ""))
    if named:
        _check_serving(named)
        yield named
    elif not asked.offline and _is_gateway(GATEWAY.address, _PROBE_SECONDS):
        progress.doing(f"Asking the gateway at {GATEWAY.address}")
        yield GATEWAY.address
    else:
        with _own_gateway(asked, environment, progress) as address:
            yield address


@contextlib.contextmanager
def _own_gateway(asked: Asked, environment: Mapping[str, str], progress: Progress) -> Iterator[str]:
    """A trio of this command's own, gone when the block is left. Its logs stay when it was to blame."""
    logs = Path(tempfile.mkdtemp(prefix="nidan-logs-"))
    keep = False
    try:
        plan = private_plan(environment, Providers.chosen(environment, asked.offline))
        progress.doing(f"Starting {', '.join(service.name for service in plan.services)} …")
        with running(Trio(plan, logs, progress.say)) as trio:
            yield trio.plan.gateway.address
    except StartError as error:
        from nidan import failure

        keep = not isinstance(error, MissingKeyError)
        raise _GivenUpError(failure.of_start(error, GATEWAY.address)) from error
    except _GivenUpError as error:
        keep = not error.failure.caller_fault
        raise
    finally:
        if keep:
            progress.say(f"The services' logs are in {logs}")
        else:
            shutil.rmtree(logs, ignore_errors=True)


def _check_serving(address: str) -> None:
    if not _is_gateway(address, _ANSWER_SECONDS):
        from nidan import failure

        raise _GivenUpError(failure.unreachable(address))


def _is_gateway(address: str, timeout_seconds: float) -> bool:
    from nidan.client import is_serving

    return is_serving(address, GATEWAY.grpc_name, timeout_seconds)


# --- when there is none -----------------------------------------------------------------------------------------


def _failure_of(error: _GivenUpError | OutputError) -> Failure:
    from nidan import failure

    if isinstance(error, OutputError):
        return failure.Failure("OUTPUT_NOT_WRITTEN", str(error), caller_fault=True)
    return error.failure


def _report(asked: Asked, failure: Failure, progress: Progress) -> None:
    """For a program on stdout, for a person on stderr."""
    if not asked.as_json:
        progress.say(failure.as_text(), "red")
        return
    with contextlib.suppress(OutputError):  # when stdout itself is what cannot be written
        Output(None).write(f"{failure.as_json()}\n")
