"""The commit, machine and day of a measurement."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("gateway", "content_service", "enhancer_service", "lesson", "servicekit")


def commit(measured: Sequence[str] = SERVICES) -> str:
    """The commit, and the measured paths that differ from it. Takes no git lock."""
    git = shutil.which("git")
    if git is None:
        return "unknown (no git)"

    def output(*words: str) -> str:
        command = [git, "--no-optional-locks", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603

    changed = output("status", "--porcelain", "--", *measured).splitlines()
    with_changes = f" with uncommitted changes in {', '.join(line.split()[-1] for line in changed)}" if changed else ""
    return (output("rev-parse", "--short", "HEAD") or "unknown") + with_changes


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def today() -> str:
    return datetime.now(UTC).date().isoformat()
