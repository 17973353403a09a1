"""The command line, in this process or in one of its own, with an environment that the test chooses."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile

from nidan.__main__ import app

_OURS = ("CANDO_AI_", "OPENAI_", "NIDAN_", "GATEWAY_", "CONTENT_", "ENHANCER_", "OFFLINE_MODEL_", "TLS_")


def environment(**variables: str) -> dict[str, str]:
    """This one without what would decide for nidan, then with the variables given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return clean | variables


def nidan(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end in this process, which is already loaded: it takes a second less than a process.

    What the command starts are processes. What writes past `sys.stdout` and `sys.stderr` is not taken.
    """
    return nidan_given(b"", *arguments, **variables)


def nidan_given(data: bytes, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As `nidan`, with `data` as its stdin."""
    before, arguments_before, stdin_before = dict(os.environ), sys.argv, sys.stdin
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    status: object = 0
    try:
        os.environ.clear()
        os.environ.update(environment(**variables))
        with redirect_stdout(out), redirect_stderr(err), TemporaryFile() as file, io.TextIOWrapper(file) as stdin:
            file.write(data)
            file.seek(0)
            sys.stdin = stdin
            sys.argv = ["nidan", *arguments]
            app(prog_name="nidan")
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):  # as the interpreter does
            err.write(status + "\n")
            status = 1
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.argv, sys.stdin = arguments_before, stdin_before
    texts = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(["nidan", *arguments], int(status or 0), *texts)  # type: ignore[call-overload]


def nidan_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end in a process of its own, as people do."""
    command = [sys.executable, "-W", "error", "-m", "nidan", *arguments]
    return subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


def services_of(parent: int) -> list[int]:
    """The processes that a process started and that are not gone."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
