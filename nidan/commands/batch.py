"""`nidan batch`: the lessons of a file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from nidan.options import CaFile, KeyFile, Tls, check_gateway, read_access

_EPILOG = """\
[bold]Examples[/]

printf 'id\\nJF:349\\nnidan:food-a2-1\\n' > list.csv && nidan batch list.csv --offline
[dim]two built-in lessons into ./lessons; no key, no network, no cost[/]

nidan batch list.csv --concurrency 4 --limit-usd 2
[dim]four at a time; starts no further lesson once the finished ones have cost 2 dollars[/]

nidan batch list.csv
[dim]the same command again makes only what is missing: after Ctrl-C, a limit, a failure[/]

nidan batch list.csv --again --out june
[dim]all of them anew, in another directory[/]

nidan batch list.csv --json | jq -r 'select(.outcome == "FAILED") | .reason'
[dim]one object a row, each on its line as the row ends[/]

[bold]The file[/]  CSV or TSV in UTF-8. Its first row names the columns, in any order:
id, topic, level, text, language, model; they mean what the options of nidan generate mean.
Each row needs an id, or topic and level. Quote a cell that holds a comma:

id,topic,level,text
JF:349,,,
,旅行,A2,"Can ask the way to a station, and understand the answer."

nidan checks every row before it makes a lesson, and names each wrong one.

[bold]The result[/]  DIR/<row>-<id>.json, the JSON of a lesson, whole or not at all; rows count
as in a spreadsheet, the header is 1. DIR/report.csv has a line for each row.
Where gateway or provider is full and says when to come back, a row waits and
asks again, at most 5 times.

[bold]Exit status[/]  0 all complete · 3 some partial, none failed · 1 some failed or not made
2 wrong usage, or a file with errors · 130 Ctrl-C
"""

File = Annotated[Path, typer.Argument(metavar="FILE", help="A row for each lesson, as CSV or TSV.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where lessons and report go.")]
Concurrency = Annotated[int, typer.Option(min=1, max=16, metavar="N", help="Lessons at a time, 1 to 16.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Built-in lessons, by its own services: no key, no network, no cost.")
]
Address = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT",
        help="The gateway to ask; else NIDAN_ADDRESS, else the one that runs, else one started for this batch.",
    ),
]
LimitUsd = Annotated[
    float | None, typer.Option(metavar="AMOUNT", help="Start no lesson once this run is known to have cost so much.")
]
Again = Annotated[bool, typer.Option("--again", help="Make and replace lessons that are there already.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="In place of the table, a JSON object a row, one a line; a failure is one more."),
]
app = typer.Typer()


@app.command(epilog=_EPILOG)
def batch(
    file: File,
    *,
    out: Out = Path("lessons"),
    concurrency: Concurrency = 2,
    offline: Offline = False,
    address: Address = "",
    key_file: KeyFile = None,
    tls: Tls = False,
    ca_file: CaFile = None,
    limit_usd: LimitUsd = None,
    again: Again = False,
    as_json: Json = False,
) -> None:
    """Makes the lessons of a file, each into its own file; the same command again continues."""
    from nidan.batch.run import BatchOptions, run  # noqa: PLC0415 - `nidan --help` needs none of it

    access = read_access(address, offline, key_file, tls, ca_file)
    if limit_usd is not None and not 0 < limit_usd < math.inf:
        raise typer.BadParameter("must be above 0", param_hint="--limit-usd")
    check_gateway(address, offline)
    options = BatchOptions(file, out, concurrency, offline, address, access, limit_usd, again, as_json)
    raise typer.Exit(run(options, os.environ))
