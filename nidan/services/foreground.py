"""The trio in the foreground, until a signal stops it or one of its processes dies."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from nidan.errors import StartError
from nidan.services.plan import Plan, Providers, public_plan
from nidan.services.service import GATEWAY, Service
from nidan.services.signals import Terminated
from nidan.services.supervisor import Trio, running
from nidan.terminal.progress import message_console
from nidan.terminal.sanitize import clean

_WATCH_SECONDS = 0.2


def serve(offline: bool, log_dir: Path | None, environment: Mapping[str, str]) -> int:
    """Serves until SIGINT, SIGTERM or SIGHUP (status 0), or until a process dies (status 1, after naming it)."""
    console = message_console()

    def say(text: str) -> None:
        console.print(clean(text), markup=False)

    try:
        plan = public_plan(environment, Providers.chosen(environment, offline))
        logs = _make_log_dir(log_dir)
        say(f"Starting {', '.join(service.name for service in plan.services)}; logs in {logs}")
        with running(Trio(plan, logs, say)) as trio:
            _announce(plan)
            _watch(trio)
    except (KeyboardInterrupt, Terminated):
        say("Stopped.")
        return 0
    except StartError as error:
        say(f"nidan up: {error}")
    return 1


def _watch(trio: Trio) -> NoReturn:
    """Never returns; raises StartError when a process has exited."""
    while True:
        trio.check()
        time.sleep(_WATCH_SECONDS)


def _make_log_dir(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="nidan-logs-"))
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"cannot write logs to {wanted}: {error.strerror}; name another --log-dir.") from error
    return wanted.resolve()


def _announce(plan: Plan) -> None:
    """Prints the addresses, and what to do with them."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("Service", "Address", "Health", "Metrics"):
        table.add_column(title, no_wrap=True)
    for service in reversed(plan.services):
        table.add_row(*_row(service))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    default = plan.gateway.port == GATEWAY.port
    where = "" if default else f" --address {plan.gateway.address}"
    console.print(f"\nAll are serving. In another terminal:  nidan generate JF:349{where}\nCtrl-C stops them.")


def _row(service: Service) -> tuple[str, str, str, str]:
    if not service.grpc_name:
        return service.name, f"{service.address}/v1", "/healthz", "–"
    host = service.address.rpartition(":")[0]
    return (
        service.name,
        service.address,
        f"{host}:{service.health_port}",
        f"{host}:{service.metrics_port}/metrics",
    )
