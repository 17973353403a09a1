"""The trio as processes of this machine: which ports, which environment, started side by side, stopped in order.

Nothing here runs service code: each service is `python -m NAME`, told by environment variables what to do. gRPC is
imported only once the processes are under way, so that they start while we still load.
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
"""A cold disk may take many seconds to give the dictionary; a service that hangs must still be told apart."""
GRACE_SECONDS = 10.0
"""From SIGTERM to SIGKILL."""
_POLL_SECONDS = 0.03


@dataclass
class Trio:
    """The processes of a plan. Their output goes to NAME.log in `log_dir`; `say` is told what a person should know."""

    plan: Plan
    log_dir: Path
    say: Callable[[str], None]
    grace_seconds: float = GRACE_SECONDS
    _running: list[ServiceProcess] = field(default_factory=list)

    def start(self) -> None:
        """Starts all at once; they are not serving yet. Raises StartError when a port is taken.

        For the main thread: on Linux the services end with the thread that started them.
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
            # Else a signal between the fork and the list would leave a process that nobody ends.
            with signals_held():
                self._running.append(start_process(service, self.plan.environment, self.log_dir))

    def wait_until_serving(self, timeout_seconds: float = START_SECONDS) -> None:
        """Returns once every service says SERVING. Raises StartError as soon as one ends, or when time is up."""
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
        """Raises StartError with its last log lines when a process has ended."""
        for running in self._running:
            if running.process.poll() is not None:
                raise StartError(running.obituary(when))

    def stop(self) -> None:
        """Ends all, last started first: SIGTERM, a grace, SIGKILL. Harmless when nothing runs."""
        try:
            self._end(self._running[-1:])
            self._end(self._running[-2::-1])  # with the gateway gone nobody calls them: they may end side by side
        finally:  # a second Ctrl-C is impatience: nothing may stay behind
            for running in self._running:
                running.process.kill()
                running.process.wait()
            self._running.clear()
        atexit.unregister(self.stop)  # not before: what a third Ctrl-C leaves is ended there

    def _end(self, those: Sequence[ServiceProcess]) -> None:
        for running in those:
            running.process.terminate()
        deadline = time.monotonic() + self.grace_seconds
        for running in those:
            try:
                running.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.say(f"{running.service.name} did not stop within {self.grace_seconds:g} s: killed")
                running.process.kill()


@contextlib.contextmanager
def running(trio: Trio) -> Iterator[Trio]:
    """The trio, serving inside the block and gone behind it, however it is left. Raises StartError."""
    try:
        trio.start()
        trio.wait_until_serving()
        yield trio
    finally:
        trio.stop()
