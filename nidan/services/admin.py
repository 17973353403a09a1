"""Asks `python -m gateway admin …`, a process that works on the gateway's own files and prints JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import typer

from nidan.errors import Failure, GivenUpError


def ask_admin(
    arguments: Sequence[str], next_steps: Mapping[str, str], on_rows: Callable[[int], None] = lambda _rows: None
) -> Generator[dict[str, Any]]:
    """Yields the admin's lines. Its progress goes to `on_rows`. `next_steps` maps the reason of an error to advice.

    Raises GivenUpError for the admin's error, BadParameter for wrong usage.
    """
    command = [sys.executable, "-P", "-m", "gateway", "admin", *arguments]
    with tempfile.TemporaryFile() as complaints:
        # A process group of its own: Ctrl-C reaches this process alone, which then ends the admin.
        with subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, process_group=0
        ) as process:
            try:
                yield from _lines(process, next_steps, on_rows)
            finally:
                process.terminate()
        complaints.seek(0)
        _check_status(process.returncode, complaints.read().decode(errors="replace"))


def _lines(
    process: subprocess.Popen[bytes], next_steps: Mapping[str, str], on_rows: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None  # noqa: S101 - Popen was given a pipe
    for raw in process.stdout:
        line: dict[str, Any] = json.loads(raw)
        if line["kind"] == "error":
            step = next_steps.get(line["reason"], "")
            raise GivenUpError(Failure(line["reason"], line["message"], step, caller_fault=True))
        if line["kind"] == "progress":
            on_rows(line["rows"])
        else:
            yield line
    process.wait()


def _check_status(status: int, complaints: str) -> None:
    last = (complaints.strip().splitlines() or ["it printed nothing"])[-1]
    if status == 2:
        raise typer.BadParameter(last.rpartition("error: ")[2])
    if status:
        raise GivenUpError(Failure("ADMIN_FAILED", f"the gateway's admin exited with status {status}: {last}"))
