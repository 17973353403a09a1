"""`nidan doctor`: what would keep nidan from working here, and what to do about it."""

from __future__ import annotations

import os
from datetime import date, datetime
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object in place of the table.")]
Today = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], hidden=True, help="Judge end dates as of this day.")
]
app = typer.Typer()


@app.command()
def doctor(as_json: Json = False, today: Today = None) -> None:
    """Checks settings, ports, dictionary, key and the end dates of models; says what to do. Needs no network."""
    from nidan.checks.report import report_findings  # noqa: PLC0415 - `nidan --help` needs none of it

    day = today.date() if today else date.today()  # noqa: DTZ011 - the local date
    raise typer.Exit(report_findings(day, os.environ, as_json))
