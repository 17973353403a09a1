"""`nidan models`: the chains of both stages, their prices and end dates, and what to set in time."""

from __future__ import annotations

import os
from datetime import date, datetime
from typing import Annotated

import typer

_EPILOG = """\
[bold]Examples[/]

nidan models
[dim]the chains of CANDO_AI_STAGE1_MODEL, …_FALLBACK_MODELS and so on, as set here[/]

nidan models --json | jq -r '.set[]'
[dim]only the lines to set, for models that end within 60 days[/]

[bold]Exit status[/]  0 · 1 a chain has no model left, or the settings are wrong
"""

Json = Annotated[bool, typer.Option("--json", help="One JSON object in place of the table.")]
Today = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], hidden=True, help="Judge end dates as of this day.")
]
app = typer.Typer()


@app.command(epilog=_EPILOG)
def models(as_json: Json = False, today: Today = None) -> None:
    """Shows the models of both stages in order, their prices, their end dates, and what to set in time."""
    from nidan.checks.chains import models as report_models  # noqa: PLC0415 - `nidan --help` needs none of it

    day = today.date() if today else date.today()  # noqa: DTZ011 - the local date
    raise typer.Exit(report_models(day, os.environ, as_json))
