"""`nidan up`: the trio in the foreground."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/]

nidan up --offline
[dim]with the embedded offline model: no key, no network, no cost[/]

OPENAI_API_KEY=… nidan up --log-dir logs
[dim]with OpenAI's models; a log file for each service in ./logs[/]

Ports: GATEWAY_PORT, CONTENT_PORT, ENHANCER_PORT (and …_HEALTH_PORT, …_METRICS_PORT of each), OFFLINE_MODEL_PORT.
"""

Offline = Annotated[bool, typer.Option("--offline", help="On the embedded offline model: no key, no network, no cost.")]
LogDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Directory of the services' logs; else a new temporary one.")
]
app = typer.Typer()


@app.command(epilog=_EPILOG)
def up(offline: Offline = False, log_dir: LogDir = None) -> None:
    """Starts gateway, content and enhancer service in the foreground; Ctrl-C stops them."""
    from nidan.services.foreground import serve  # noqa: PLC0415 - `nidan --help` needs no services

    raise typer.Exit(serve(offline, log_dir, os.environ))
