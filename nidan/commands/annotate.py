"""`nidan annotate`: furigana and romaji for Japanese sentences."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from nidan.options import check_address, check_choice

_STYLES = ("macron", "double", "kana")
_EPILOG = """\
[bold]Examples[/]

echo 朝は、いつもご飯と卵を食べます。 | nidan annotate
[dim]朝\\[あさ]は、いつもご飯\\[はん]と卵\\[たまご]を食\\[た]べます。 and its romaji; no key, no network, no cost[/]

nidan annotate sentences.txt --style double
[dim]a file; long vowels as in Tookyoo, where macron gives Tōkyō and kana Toukyou[/]

nidan annotate --json < sentences.txt | jq -r .romaji
[dim]a JSON object for each sentence; its id is its line in the file: line.1, line.2, …[/]

nidan annotate sentences.txt --address 127.0.0.1:50052
[dim]by a running enhancer, such as that of `nidan up`; NIDAN_ENHANCER_ADDRESS names one for good[/]

[bold]Exit status[/]  0 all annotated · 1 not all, and why · 2 wrong usage · 130 Ctrl-C
"""

File = Annotated[
    str, typer.Argument(metavar="FILE", help="Japanese in UTF-8, one sentence a line; stdin when it is - or left out.")
]
Json = Annotated[
    bool, typer.Option("--json", help="A JSON object a sentence, one a line; a failure is one more, the last.")
]
Style = Annotated[
    str,
    typer.Option(
        metavar="|".join(_STYLES),
        help="How an enhancer started here writes long vowels; else ROMAJI_STYLE, else macron.",
    ),
]
Address = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT",
        help="The enhancer to ask; else NIDAN_ENHANCER_ADDRESS, else one started for this command.",
    ),
]
app = typer.Typer()


@app.command(epilog=_EPILOG)
def annotate(file: File = "", *, as_json: Json = False, style: Style = "", address: Address = "") -> None:
    """Gives Japanese sentences furigana and romaji, by the analyser alone: no model, no key, no cost."""
    from nidan.annotation.runner import AnnotateOptions, run  # noqa: PLC0415 - `nidan --help` needs none of it

    named = address or os.environ.get("NIDAN_ENHANCER_ADDRESS", "")
    check_address("--address" if address else "NIDAN_ENHANCER_ADDRESS", named, 50052)
    _check_style(style, named, "--address" if address else "unset NIDAN_ENHANCER_ADDRESS")
    raise typer.Exit(run(AnnotateOptions(file, as_json, style, named), os.environ))


def _check_style(style: str, address: str, remedy: str) -> None:
    check_choice("--style", style, _STYLES)
    if style and address:
        raise typer.BadParameter(
            f"the style is a setting of the enhancer, and the one at {address} has its own; drop --style or {remedy}",
            param_hint="--style",
        )
