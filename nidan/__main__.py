"""The command line `nidan`. Thin: each command checks the form of its options and hands over."""

from __future__ import annotations

import math
import os
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nidan import catalogue

if TYPE_CHECKING:
    from nidan.generate import Asked

app = typer.Typer(
    name="nidan",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Turns a Can-do into a whole Japanese lesson: one model writes it, a second annotates every sentence.",
    epilog="[bold]nidan generate JF:349 --offline[/]  prints a sample lesson now, without key, network or cost.",
)
app.add_typer(catalogue.app)

# What a command needs is imported in it: `nidan --help` shall not wait for gRPC.
# ruff: noqa: PLC0415

_STYLES = ("macron", "double", "kana")
_LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_GENERATE_EPILOG = """\
[bold]Examples[/]

nidan generate JF:349 --offline
[dim]a hand-written sample lesson; no key, no network, no cost[/]

nidan generate JF:349
[dim]by the gateway at NIDAN_ADDRESS or 127.0.0.1:50050, else by one started here with OPENAI_API_KEY[/]

nidan generate --topic 旅行 --level A2 --text "Can ask the way to a station."
[dim]a Can-do of your own[/]

nidan generate JF:349 --offline --json --out lesson.json
[dim]the web client's JSON, into a file[/]

[bold]Exit status[/]  0 a lesson · 1 none, and why · 2 wrong usage · 130 Ctrl-C
"""

_ANNOTATE_EPILOG = """\
[bold]Examples[/]

echo 朝は、いつもご飯と卵を食べます。 | nidan annotate
[dim]朝\\[あさ]は、いつもご飯\\[はん]と卵\\[たまご]を食\\[た]べます。 and its romaji; no key, no network, no cost[/]

nidan annotate sentences.txt --style double
[dim]a file; long vowels as in Tookyoo, where macron gives Tōkyō and kana Toukyou[/]

nidan annotate --json < sentences.txt | jq -r .romaji
[dim]a JSON object for each sentence, its line in the file as its id: line.1, line.2, …[/]

nidan annotate sentences.txt --address 127.0.0.1:50052
[dim]by an enhancer that runs, as the one of `nidan up`; NIDAN_ENHANCER_ADDRESS names one for good[/]

[bold]Exit status[/]  0 all annotated · 1 not all, and why · 2 wrong usage · 130 Ctrl-C
"""

_UP_EPILOG = """\
[bold]Examples[/]

nidan up --offline
[dim]with the embedded offline model: no key, no network, no cost[/]

OPENAI_API_KEY=… nidan up --log-dir logs
[dim]with OpenAI's models; a log file for each service in ./logs[/]

Ports: GATEWAY_PORT, CONTENT_PORT, ENHANCER_PORT (and …_HEALTH_PORT, …_METRICS_PORT of each), OFFLINE_MODEL_PORT.
"""


@app.command(epilog=_GENERATE_EPILOG)
def generate(
    can_do_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="A Can-do, as JF:349; not needed with --topic and --level."),
    ] = "",
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="A sample lesson, by services of its own on the embedded offline model.")
    ] = False,
    topic: Annotated[str, typer.Option(help="What the lesson is about; overrides the Can-do's topic.")] = "",
    level: Annotated[str, typer.Option(metavar="A1…C2", help="Level of the content; overrides the Can-do's.")] = "",
    text: Annotated[str, typer.Option(help="The Can-do in words.")] = "",
    language: Annotated[str, typer.Option(help="Language of explanations and translations, a BCP-47 tag.")] = "en",
    model: Annotated[str, typer.Option(help="A Stage 1 model of the gateway's chain.")] = "",
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Lowers the gateway's own limit for the lesson.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The web client's JSON in one line; a failure is one JSON object, too.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write to this file, whole or not at all, in place of stdout.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="The gateway to ask; else NIDAN_ADDRESS. With --offline neither is."),
    ] = "",
) -> None:
    """Makes one lesson and prints it, laid out to be read."""
    from nidan.generate import Asked
    from nidan.generate import generate as make

    asked = Asked(can_do_id, topic, level.upper(), text, language, model, timeout, offline, address, as_json, out)
    _check_usage(asked)
    raise typer.Exit(make(asked, os.environ))


@app.command(epilog=_ANNOTATE_EPILOG)
def annotate(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Japanese in UTF-8, one sentence a line; stdin when it is - or left out."),
    ] = "",
    *,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON object a sentence, each in its line; a failure is one more, the last."),
    ] = False,
    style: Annotated[
        str,
        typer.Option(
            metavar="|".join(_STYLES),
            help="How long vowels are written, by an enhancer started here; else ROMAJI_STYLE, else macron.",
        ),
    ] = "",
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="The enhancer to ask; else NIDAN_ENHANCER_ADDRESS, else one that is started here and ended again.",
        ),
    ] = "",
) -> None:
    """Gives Japanese sentences furigana and romaji, by the analyser alone: no model, no key, no cost."""
    from nidan.annotate import Asked
    from nidan.annotate import annotate as give

    named = address or os.environ.get("NIDAN_ENHANCER_ADDRESS", "")
    _check_address("--address" if address else "NIDAN_ENHANCER_ADDRESS", named, 50052)
    _check_style(style, named, "--address" if address else "unset NIDAN_ENHANCER_ADDRESS")
    raise typer.Exit(give(Asked(file, as_json, style, named), os.environ))


@app.command(epilog=_UP_EPILOG)
def up(
    offline: Annotated[
        bool, typer.Option("--offline", help="On the embedded offline model: no key, no network, no cost.")
    ] = False,
    log_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where each service's log goes; else a new temporary directory.")
    ] = None,
) -> None:
    """Starts gateway, content and enhancer service in the foreground; Ctrl-C stops them."""
    from nidan.up import up as serve

    raise typer.Exit(serve(offline, log_dir, os.environ))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object in place of the table.")] = False,
    today: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], hidden=True, help="Judge end dates as of this day.")
    ] = None,
) -> None:
    """Checks settings, ports, dictionary, key and the end dates of models; says what to do. Needs no network."""
    from nidan.doctor import doctor as examine

    day = today.date() if today else date.today()  # noqa: DTZ011 - the day on the wall is meant
    raise typer.Exit(examine(day, os.environ, as_json))


def _check_usage(asked: Asked) -> None:
    """What no gateway need be asked about. Raises BadParameter, which ends the command with status 2."""
    if asked.level and asked.level not in _LEVELS:
        raise typer.BadParameter(f"one of {', '.join(_LEVELS)}", param_hint="--level")
    if not asked.can_do_id.strip() and not (asked.topic.strip() and asked.level):
        raise typer.BadParameter("give an ID (JF:349), or --topic and --level")
    if asked.timeout_seconds is not None and not 0 < asked.timeout_seconds < math.inf:
        raise typer.BadParameter("must be above 0", param_hint="--timeout")
    if asked.address and asked.offline:
        raise typer.BadParameter("--offline starts services of its own; drop one of the two", param_hint="--address")
    for said in (asked.can_do_id, asked.topic, asked.text, asked.language, asked.model):
        if said != said.encode("utf-8", "replace").decode():
            raise typer.BadParameter(f"{said!r} is not UTF-8")
    _check_address("--address", asked.address)
    if not (asked.address or asked.offline):
        _check_address("NIDAN_ADDRESS", os.environ.get("NIDAN_ADDRESS", ""))


def _check_style(style: str, address: str, way_on: str) -> None:
    if style and style not in _STYLES:
        raise typer.BadParameter(f"one of {', '.join(_STYLES)}", param_hint="--style")
    if style and address:
        raise typer.BadParameter(
            f"the style is a setting of the enhancer, and the one at {address} has its own; drop --style or {way_on}",
            param_hint="--style",
        )


def _check_address(name: str, address: str, example: int = 50050) -> None:
    host, _, port = address.rpartition(":")
    if address and not (host and port.isdecimal() and 0 < int(port) <= 65_535):
        raise typer.BadParameter(f"{address!r} is not HOST:PORT, as in 127.0.0.1:{example}", param_hint=name)


def main() -> None:
    """The console script. Ends with the command's status; SIGTERM and SIGHUP end what it started first."""
    from nidan.processes import raise_on_signals

    raise_on_signals()
    app()


if __name__ == "__main__":
    main()
