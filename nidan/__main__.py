"""The command line `nidan`. Thin: each command checks the form of its options and hands over."""

from __future__ import annotations

import math
import os
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nidan.commands import catalogue, keys
from nidan.credentials import Access, AccessError

if TYPE_CHECKING:
    from nidan.commands.generate import Asked

app = typer.Typer(
    name="nidan",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Turns a Can-do into a whole Japanese lesson: one model writes it, a second annotates every sentence.",
    epilog="[bold]nidan generate JF:349 --offline[/]  prints a built-in lesson now, without key, network or cost.",
)
app.add_typer(catalogue.app)
app.add_typer(keys.app)

# What a command needs is imported in it: `nidan --help` shall not wait for gRPC.
# ruff: noqa: PLC0415

_STYLES = ("macron", "double", "kana")
_RUBY = ("above", "brackets", "none")
_LAYOUT = "Layout, not with --json"
_REACHING = "A gateway that asks for a key, or speaks TLS"
_LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_GENERATE_EPILOG = """\
[bold]Examples[/]

nidan generate JF:349 --offline
[dim]a built-in lesson; no key, no network, no cost; `nidan catalogue list --offline` names the others[/]

nidan generate JF:349 --offline --teacher --translation
[dim]with answer key and lesson plan, and each sentence translated[/]

nidan generate JF:349 --offline --ruby above --kana | less
[dim]readings over the kanji, and each sentence in kana[/]

nidan generate JF:349
[dim]by the gateway at NIDAN_ADDRESS or 127.0.0.1:50050, else by one started here with OPENAI_API_KEY[/]

nidan generate --topic 旅行 --level A2 --text "Can ask the way to a station."
[dim]a Can-do of your own[/]

nidan generate JF:349 --offline --json --out lesson.json
[dim]the web client's JSON, into a file: everything, so none of the options for the layout[/]

[bold]Furigana[/]  Above the kanji on a terminal of 60 columns or more; anywhere else in
brackets, 食\\[た]べる, a form that can be copied, into flashcards for example.
Answers, lesson plan, translations, kana and romaji: only when asked for.

[bold]Many lessons[/]  nidan batch --help

[bold]Exit status[/]  0 a lesson · 1 none, and why · 2 wrong usage · 130 Ctrl-C
"""

_BATCH_EPILOG = """\
[bold]Examples[/]

printf 'id\\nJF:349\\nnidan:food-a2-1\\n' > list.csv && nidan batch list.csv --offline
[dim]two built-in lessons into ./lessons; no key, no network, no cost[/]

nidan batch list.csv --concurrency 4 --limit-usd 2
[dim]four at a time; none is begun once those that ended have cost 2 dollars[/]

nidan batch list.csv
[dim]the same command again makes only what is not there yet: after Ctrl-C, a limit, a failure[/]

nidan batch list.csv --again --out june
[dim]all of them anew, in another directory[/]

nidan batch list.csv --json | jq -r 'select(.outcome == "FAILED") | .reason'
[dim]an object a row, each in its line as the row ends[/]

[bold]The file[/]  CSV or TSV in UTF-8. Its first row names the columns, in any order:
id, topic, level, text, language, model; as the options of nidan generate.
Each row needs an id, or topic and level. Quote what holds a comma:

id,topic,level,text
JF:349,,,
,旅行,A2,"Can ask the way to a station, and understand the answer."

All rows are checked before anything is made; each that is wrong is named.

[bold]What comes[/]  DIR/<row>-<id>.json, the JSON of a lesson, whole or not at all; rows count
as in a spreadsheet, the header is 1. DIR/report.csv has a line for each row.
Where gateway or provider is full and says when to come back, a row waits and
is asked for again, at most 5 times.

[bold]Exit status[/]  0 all complete · 3 some partial, none failed · 1 some failed or not made
2 wrong usage, or a file that is not as it should be · 130 Ctrl-C
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

_MODELS_EPILOG = """\
[bold]Examples[/]

nidan models
[dim]the chains of CANDO_AI_STAGE1_MODEL, …_FALLBACK_MODELS and so on, as they are set here[/]

nidan models --json | jq -r '.set[]'
[dim]only the lines to set, for models that end within 60 days[/]

[bold]Exit status[/]  0 · 1 a chain has no model left, or the settings are wrong
"""


_KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Your key is in it; else NIDAN_API_KEY.", rich_help_panel=_REACHING),
]
_Tls = Annotated[
    bool,
    typer.Option("--tls", help="Speak TLS, by the system's authorities; or NIDAN_TLS=true.", rich_help_panel=_REACHING),
]
_CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Speak TLS, by these authorities (PEM); or NIDAN_CA_FILE.", rich_help_panel=_REACHING
    ),
]


@app.command(epilog=_GENERATE_EPILOG)
def generate(
    can_do_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="A Can-do, as JF:349; not needed with --topic and --level."),
    ] = "",
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="A built-in lesson, by services of its own on the embedded offline model.")
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
    key_file: _KeyFile = None,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    ruby: Annotated[
        str,
        typer.Option(
            metavar="|".join(_RUBY),
            help="Where furigana stand; else above on a terminal of 60 columns, and in brackets anywhere else.",
            rich_help_panel=_LAYOUT,
        ),
    ] = "",
    translation: Annotated[
        bool, typer.Option("--translation", help="Each sentence with its translation.", rich_help_panel=_LAYOUT)
    ] = False,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="With lesson plan and answer key.", rich_help_panel=_LAYOUT)
    ] = False,
    kana: Annotated[
        bool, typer.Option("--kana", help="Each sentence once more, in kana.", rich_help_panel=_LAYOUT)
    ] = False,
    romaji: Annotated[
        bool,
        typer.Option(
            "--romaji", help="Each sentence once more, in romaji (modified Hepburn).", rich_help_panel=_LAYOUT
        ),
    ] = False,
) -> None:
    """Makes one lesson and prints it, laid out to be read; with --teacher also plan and answers."""
    from nidan.commands.generate import Asked
    from nidan.commands.generate import generate as make

    asked = Asked(
        can_do_id=can_do_id,
        topic=topic,
        level=level.upper(),
        text=text,
        language=language,
        model=model,
        timeout_seconds=timeout,
        offline=offline,
        address=address,
        access=_access(address, offline, key_file, tls, ca_file),
        as_json=as_json,
        out=out,
        ruby=ruby.lower(),
        kana=kana,
        romaji=romaji,
        translation=translation,
        teacher=teacher,
    )
    _check_usage(asked)
    _check_layout(asked)
    raise typer.Exit(make(asked, os.environ))


@app.command(epilog=_BATCH_EPILOG)
def batch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A row for each lesson, as CSV or TSV.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where lessons and report go.")] = Path("lessons"),
    concurrency: Annotated[int, typer.Option(min=1, max=16, metavar="N", help="Lessons at a time, 1 to 16.")] = 2,
    offline: Annotated[
        bool, typer.Option("--offline", help="Built-in lessons, by services of its own: no key, no network, no cost.")
    ] = False,
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="The gateway to ask; else NIDAN_ADDRESS, else the one that runs, else one started for this batch.",
        ),
    ] = "",
    key_file: _KeyFile = None,
    tls: _Tls = False,
    ca_file: _CaFile = None,
    limit_usd: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="Begin no lesson once this run is known to have cost so much."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make and replace lessons that are there already.")] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="A JSON object a row, each in its line, for the table; a failure is one more, the last.",
        ),
    ] = False,
) -> None:
    """Makes the lessons of a file, each into a file of its own; the same command again goes on."""
    from nidan.commands.batch import Asked
    from nidan.commands.batch import batch as make

    access = _access(address, offline, key_file, tls, ca_file)
    asked = Asked(file, out, concurrency, offline, address, access, limit_usd, again, as_json)
    if limit_usd is not None and not 0 < limit_usd < math.inf:
        raise typer.BadParameter("must be above 0", param_hint="--limit-usd")
    _check_gateway(address, offline)
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
    from nidan.commands.annotate import Asked
    from nidan.commands.annotate import annotate as give

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
    from nidan.commands.up import up as serve

    raise typer.Exit(serve(offline, log_dir, os.environ))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object in place of the table.")] = False,
    today: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], hidden=True, help="Judge end dates as of this day.")
    ] = None,
) -> None:
    """Checks settings, ports, dictionary, key and the end dates of models; says what to do. Needs no network."""
    from nidan.commands.doctor import doctor as examine

    day = today.date() if today else date.today()  # noqa: DTZ011 - the day on the wall is meant
    raise typer.Exit(examine(day, os.environ, as_json))


@app.command(epilog=_MODELS_EPILOG)
def models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object in place of the table.")] = False,
    today: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], hidden=True, help="Judge end dates as of this day.")
    ] = None,
) -> None:
    """Shows the models of both stages in order, their prices, their end dates, and what to set in time."""
    from nidan.commands.models import models as show

    day = today.date() if today else date.today()  # noqa: DTZ011 - the day on the wall is meant
    raise typer.Exit(show(day, os.environ, as_json))


def _check_usage(asked: Asked) -> None:
    """What no gateway need be asked about. Raises BadParameter, which ends the command with status 2."""
    if asked.level and asked.level not in _LEVELS:
        raise typer.BadParameter(f"one of {', '.join(_LEVELS)}", param_hint="--level")
    if not asked.can_do_id.strip() and not (asked.topic.strip() and asked.level):
        raise typer.BadParameter("give an ID (JF:349), or --topic and --level")
    if asked.timeout_seconds is not None and not 0 < asked.timeout_seconds < math.inf:
        raise typer.BadParameter("must be above 0", param_hint="--timeout")
    for said in (asked.can_do_id, asked.topic, asked.text, asked.language, asked.model):
        if said != said.encode("utf-8", "replace").decode():
            raise typer.BadParameter(f"{said!r} is not UTF-8")
    _check_gateway(asked.address, asked.offline)


def _check_gateway(address: str, offline: bool) -> None:
    if address and offline:
        raise typer.BadParameter("--offline starts services of its own; drop one of the two", param_hint="--address")
    _check_address("--address", address)
    if not (address or offline):
        _check_address("NIDAN_ADDRESS", os.environ.get("NIDAN_ADDRESS", ""))


def _access(address: str, offline: bool, key_file: Path | None, tls: bool, ca_file: Path | None) -> Access:
    """How the gateway is called. Raises BadParameter."""
    if offline and (key_file or tls or ca_file):
        raise typer.BadParameter("--offline starts services of its own, which ask for nothing", param_hint="--offline")
    if offline:
        return Access()
    try:
        access = Access.told(os.environ, key_file, tls, ca_file)
        named = address or os.environ.get("NIDAN_ADDRESS", "")
        if named:
            access.check(named)
    except AccessError as error:
        raise typer.BadParameter(str(error), param_hint=error.name) from error
    return access


def _check_layout(asked: Asked) -> None:
    if asked.ruby and asked.ruby not in _RUBY:
        raise typer.BadParameter(f"one of {', '.join(_RUBY)}", param_hint="--ruby")
    given = {
        "--ruby": asked.ruby,
        "--translation": asked.translation,
        "--teacher": asked.teacher,
        "--kana": asked.kana,
        "--romaji": asked.romaji,
    }
    names = [name for name, value in given.items() if value]
    if asked.as_json and names:
        raise typer.BadParameter(
            "they lay a lesson out to be read, and --json gives all of it as data; drop the one or the other",
            param_hint=", ".join(names),
        )


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
    from nidan.services.signals import raise_on_signals

    raise_on_signals()
    app()


if __name__ == "__main__":
    main()
