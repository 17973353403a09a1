"""Asks `python -m gateway admin …`, a process that works on the gateway's own files and speaks JSON lines."""
# What is needed when something goes wrong is imported then: `nidan --help` shall not wait for it.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from nidan.errors import Failure


def ask(
    arguments: Sequence[str], next_steps: Mapping[str, str], doing: Callable[[int], None] = lambda _rows: None
) -> Generator[dict[str, Any]]:
    """What the admin says, but for its progress, which `doing` is told. `next_steps` by the reason of an error.

    Raises GivenUpError for its error, BadParameter for its usage.
    """
    command = [sys.executable, "-P", "-m", "gateway", "admin", *arguments]
    with tempfile.TemporaryFile() as complaints:
        # A group of its own: Ctrl-C is for us, and we end it.
        with subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, process_group=0
        ) as process:
            try:
                yield from _said(process, next_steps, doing)
            finally:
                process.terminate()
        complaints.seek(0)
        _check_end(process.returncode, complaints.read().decode(errors="replace"))


def _said(
    process: subprocess.Popen[bytes], next_steps: Mapping[str, str], doing: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    from nidan.errors import GivenUpError

    assert process.stdout is not None  # noqa: S101 - it was asked for
    for raw in process.stdout:
        line: dict[str, Any] = json.loads(raw)
        if line["kind"] == "error":
            raise GivenUpError(_failure(line, next_steps))
        if line["kind"] == "progress":
            doing(line["rows"])
        else:
            yield line
    process.wait()


def _failure(line: Mapping[str, Any], next_steps: Mapping[str, str]) -> Failure:
    from nidan.errors import Failure

    return Failure(line["reason"], line["message"], next_steps.get(line["reason"], ""), caller_fault=True)


def _check_end(status: int, complaints: str) -> None:
    from nidan.errors import Failure, GivenUpError

    last = (complaints.strip().splitlines() or ["it said nothing"])[-1]
    if status == 2:
        raise typer.BadParameter(last.rpartition("error: ")[2])
    if status:
        raise GivenUpError(Failure("ADMIN_FAILED", f"the gateway's admin ended with status {status}: {last}"))
