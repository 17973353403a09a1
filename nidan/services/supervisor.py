"""Starts the processes of a plan side by side, watches them, and stops them in order.

Each service is `python -m NAME` with settings from environment variables. gRPC loads only after the processes have
started, so that they start meanwhile.
"""

from __future__ import annotations

import atexit
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nidan.errors import StartError
from nidan.services.plan import Plan
from nidan.services.ports import is_free
from nidan.services.processes import ServiceProcess, start_process
from nidan.services.signals import signals_held

START_SECONDS = 60.0
"""Long enough for a cold disk to load the dictionary; short enough to notice a service that hangs."""
GRACE_SECONDS = 10.0
"""From SIGTERM to SIGKILL."""
_POLL_SECONDS = 0.03


@dataclass
class Trio:
    """The processes of a plan. Their output goes to NAME.log in `log_dir`; `say` takes messages for a person."""

    plan: Plan
    log_dir: Path
    say: Callable[[str], None]
    grace_seconds: float = GRACE_SECONDS
    _running: list[ServiceProcess] = field(default_factory=list)

    def start(self) -> None:
        """Starts all processes without waiting until they serve. Raises StartError when a port is taken.

        Call it in the main thread: on Linux the services end with the thread that started them.
        """
        for service in self.plan.services:
            for variable, port in service.ports.items():
                if port and not is_free(port):
                    raise StartError(
                        f"port {port} is taken, so {service.name} cannot start; is another `nidan up` running? "
                        f"Stop what listens there, or set {variable} to another port."
                    )
        atexit.register(self.stop)
        for service in self.plan.services:
            # A signal between the fork and the append would leave a process behind.
            with signals_held():
                self._running.append(start_process(service, self.plan.environment_of(service), self.log_dir))

    def wait_until_serving(self, timeout_seconds: float = START_SECONDS) -> None:
        """Returns once every service reports SERVING. Raises StartError when one exits, or after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        for running in self._running:
            while not running.service.is_serving():
                self.check("before it served")
                if time.monotonic() > deadline:
                    raise StartError(
                        f"{running.service.name} does not serve after {timeout_seconds:g} s. "
                        f"Its last lines ({running.log}):\n{running.last_lines()}"
                    )
                time.sleep(_POLL_SECONDS)
        self.check("before it served")

    def check(self, when: str = "while it served") -> None:
        """Raises StartError, with the last log lines, when a process has exited."""
        for running in self._running:
            if running.process.poll() is not None:
                raise StartError(running.obituary(when))

    def stop(self) -> None:
        """Ends all, the last started first: SIGTERM, a grace period, SIGKILL. Does nothing when nothing runs."""
        try:
            self._end(self._running[-1:])
            self._end(self._running[-2::-1])  # without the gateway nothing calls them, so they end side by side
        finally:  # a second Ctrl-C must leave no process behind
            for running in self._running:
                running.process.kill()
                running.process.wait()
            self._running.clear()
        atexit.unregister(self.stop)  # last, so that it still ends what a third Ctrl-C leaves

    def _end(self, processes: Sequence[ServiceProcess]) -> None:
        for running in processes:
            running.process.terminate()
        deadline = time.monotonic() + self.grace_seconds
        for running in processes:
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.say(f"{running.service.name} did not stop within {self.grace_seconds:g} s: killed")
                running.process.kill()


@contextlib.contextmanager
def running(trio: Trio) -> Iterator[Trio]:
    """The trio serves inside the block, and is gone after it. Raises StartError."""
    try:
        trio.start()
        trio.wait_until_serving()
        yield trio
    finally:
        trio.stop()
