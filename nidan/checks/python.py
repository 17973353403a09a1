"""Python processes of the checks; they run side by side."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

_PROBE_SECONDS = 60.0


def start_python(code: str, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own code, no shell
        [sys.executable, "-P", "-c", code, *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """stdout and stderr, once the process exits. Kills one that hangs."""
    try:
        return process.communicate(timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()
