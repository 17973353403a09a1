"""Reports the failure of a command."""

from __future__ import annotations

from nidan.errors import Failure, GivenUpError
from nidan.terminal.output import Output, OutputError
from nidan.terminal.progress import Progress


def report_failure(
    error: GivenUpError | OutputError, as_json: bool, progress: Progress, headline: str = "No lesson"
) -> None:
    """Prints JSON to stdout for a program, or text to stderr for a person."""
    failure = _failure_of(error)
    if not as_json:
        progress.say(failure.as_text(headline), "red")
        return
    try:
        Output(None).write(f"{failure.as_json()}\n")
    except OutputError:  # stdout itself is what cannot be written
        progress.say(failure.as_text(headline), "red")


def _failure_of(error: GivenUpError | OutputError) -> Failure:
    if isinstance(error, OutputError):
        return Failure("OUTPUT_NOT_WRITTEN", str(error), caller_fault=True)
    return error.failure
