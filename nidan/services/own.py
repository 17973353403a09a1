"""Services that a command starts for itself alone."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from nidan.errors import GivenUpError, MissingKeyError, StartError
from nidan.explain import start_failure
from nidan.services.plan import Plan
from nidan.services.service import GATEWAY
from nidan.services.supervisor import Trio, running
from nidan.terminal.progress import Progress


@contextlib.contextmanager
def own_services(plan: Callable[[], Plan], progress: Progress) -> Iterator[Trio]:
    """Starts the plan's services for the block, and stops them after it. Keeps their logs when they failed.

    Raises GivenUpError for a StartError of the plan, of the start, or of the block.
    """
    logs = Path(tempfile.mkdtemp(prefix="nidan-logs-"))
    keep = False
    try:
        wanted = plan()
        progress.doing(f"Starting {', '.join(service.name for service in wanted.services)} …")
        with running(Trio(wanted, logs, progress.say)) as trio:
            yield trio
    except StartError as error:
        keep = not isinstance(error, MissingKeyError)
        raise GivenUpError(start_failure(error, GATEWAY.address)) from error
    except GivenUpError as error:
        keep = not error.failure.caller_fault
        raise
    finally:
        if keep:
            progress.say(f"The services' logs are in {logs}")
        else:
            shutil.rmtree(logs, ignore_errors=True)
