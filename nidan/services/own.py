"""What the commands that ask services have in common: services of their own, and giving up with a reason.

`failure`, which needs gRPC, is imported in functions: services that must be started are started first.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nidan.services.supervisor import GATEWAY, MissingKeyError, Plan, StartError, Trio, running
from nidan.terminal.output import Output, OutputError
from nidan.terminal.progress import Progress

if TYPE_CHECKING:
    from nidan.errors import Failure

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
ANSWER_SECONDS = 3.0
"""How long a service that was named may take to say that it serves."""


class GivenUpError(Exception):
    """There will be no result; carries why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@contextlib.contextmanager
def own_services(plan: Callable[[], Plan], progress: Progress) -> Iterator[Trio]:
    """Services of this command's own, gone when the block is left. Their logs stay when they were to blame.

    Raises GivenUpError for a StartError, of the plan, of the start, or of the block.
    """
    logs = Path(tempfile.mkdtemp(prefix="nidan-logs-"))
    keep = False
    try:
        wanted = plan()
        progress.doing(f"Starting {', '.join(service.name for service in wanted.services)} …")
        with running(Trio(wanted, logs, progress.say)) as trio:
            yield trio
    except StartError as error:
        from nidan import errors as failure

        keep = not isinstance(error, MissingKeyError)
        raise GivenUpError(failure.of_start(error, GATEWAY.address)) from error
    except GivenUpError as error:
        keep = not error.failure.caller_fault
        raise
    finally:
        if keep:
            progress.say(f"The services' logs are in {logs}")
        else:
            shutil.rmtree(logs, ignore_errors=True)


def report(error: GivenUpError | OutputError, as_json: bool, progress: Progress, headline: str = "No lesson") -> None:
    """For a program on stdout, for a person on stderr."""
    failure = _failure_of(error)
    if not as_json:
        progress.say(failure.as_text(headline), "red")
        return
    try:
        Output(None).write(f"{failure.as_json()}\n")
    except OutputError:  # stdout itself is what cannot be written
        progress.say(failure.as_text(headline), "red")


def _failure_of(error: GivenUpError | OutputError) -> Failure:
    from nidan import errors as failure

    if isinstance(error, OutputError):
        return failure.Failure("OUTPUT_NOT_WRITTEN", str(error), caller_fault=True)
    return error.failure
