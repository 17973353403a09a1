"""A service as a process of this machine."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nidan.services.service import Service

_TAIL_LINES = 10

# Replaces itself by the command, after asking the kernel to kill it when the parent dies.
# A program, not a preexec_fn: this process has gRPC's threads and must not run code after a fork.
_LEASHED = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except (OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass
class ServiceProcess:
    """A process, the service that it runs, and the file that holds its output."""

    service: Service
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "  (it printed nothing)"

    def obituary(self, when: str) -> str:
        code = self.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{self.service.name} {how} {when}. Its last lines ({self.log}):\n{self.last_lines()}"


def leashed(*command: str) -> list[str]:
    """The command, wrapped so that on Linux it ends with this process. Start it from the main thread."""
    if platform.system() == "Linux":
        return [sys.executable, "-I", "-S", "-c", _LEASHED, str(os.getpid()), *command]
    return [*command]


def start_process(service: Service, environment: Mapping[str, str], log_dir: Path) -> ServiceProcess:
    """Starts `python -m NAME`; its output goes to NAME.log in `log_dir`."""
    log = log_dir / f"{service.name}.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            # -P: not a folder named `gateway` in the user's directory
            leashed(sys.executable, "-P", "-m", service.name),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C reaches this process alone, which ends them in order
        )
    return ServiceProcess(service, process, log)
