"""`nidan generate`: finds or starts a gateway, follows one lesson, and prints it.

Functions import what needs gRPC or the lesson's models: a trio that must be started is started first, and comes up
while these load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nidan.credentials import Access
from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError
from nidan.options import LEVELS, CaFile, KeyFile, Tls, check_choice, check_gateway, read_access

if TYPE_CHECKING:
    from nidan.client import Completed, LessonSpec
    from nidan.services.find_gateway import Gateway
    from nidan.terminal.output import Screen
    from nidan.terminal.progress import Progress
    from nidan.terminal.ruby import Ruby

_RUBY = ("above", "brackets", "none")
_LAYOUT_PANEL = "Layout, not with --json"
_ABOVE_FROM_COLUMNS = 60
"""On a narrower terminal, furigana over the kanji would leave lines of a few words."""
_EPILOG = """\
[bold]Examples[/]

nidan generate JF:349 --offline
[dim]a built-in lesson; no key, no network, no cost; `nidan catalogue list --offline` names the others[/]

nidan generate JF:349 --offline --teacher --translation
[dim]with answer key and lesson plan, and a translation of each sentence[/]

nidan generate JF:349 --offline --ruby above --kana | less
[dim]readings over the kanji, and each sentence in kana[/]

nidan generate JF:349
[dim]by the gateway at NIDAN_ADDRESS or 127.0.0.1:50050, else by one started here with OPENAI_API_KEY[/]

nidan generate --topic 旅行 --level A2 --text "Can ask the way to a station."
[dim]a Can-do of your own[/]

nidan generate JF:349 --offline --json --out lesson.json
[dim]the web client's JSON, into a file: it holds everything, so the layout options do not apply[/]

[bold]Furigana[/]  Above the kanji on a terminal of 60 columns or more. Elsewhere in brackets,
食\\[た]べる: a form that you can copy, for example into flashcards.
Answers, lesson plan, translations, kana and romaji appear only on request.

[bold]Many lessons[/]  nidan batch --help

[bold]Exit status[/]  0 a lesson · 1 none, and why · 2 wrong usage · 130 Ctrl-C
"""

CanDoId = Annotated[
    str, typer.Argument(metavar="ID", help="A Can-do, such as JF:349; not needed with --topic and --level.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="A built-in lesson, by its own services on the embedded offline model.")
]
Topic = Annotated[str, typer.Option(help="What the lesson is about; overrides the Can-do's topic.")]
Level = Annotated[str, typer.Option(metavar="A1…C2", help="Level of the content; overrides the Can-do's.")]
Text = Annotated[str, typer.Option(help="The Can-do in words.")]
Language = Annotated[str, typer.Option(help="Language of explanations and translations, a BCP-47 tag.")]
Model = Annotated[str, typer.Option(help="A Stage 1 model of the gateway's chain.")]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Lowers the gateway's own limit for the lesson.")
]
Json = Annotated[
    bool, typer.Option("--json", help="The web client's JSON in one line; a failure is one JSON object, too.")
]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write to this file, whole or not at all, in place of stdout.")
]
Address = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="The gateway to ask; else NIDAN_ADDRESS. Not with --offline.")
]
RubyStyle = Annotated[
    str,
    typer.Option(
        metavar="|".join(_RUBY),
        help="Where furigana stand; by default above on a terminal of 60 columns, and in brackets elsewhere.",
        rich_help_panel=_LAYOUT_PANEL,
    ),
]
Translation = Annotated[
    bool, typer.Option("--translation", help="Each sentence with its translation.", rich_help_panel=_LAYOUT_PANEL)
]
Teacher = Annotated[
    bool, typer.Option("--teacher", help="With lesson plan and answer key.", rich_help_panel=_LAYOUT_PANEL)
]
Kana = Annotated[bool, typer.Option("--kana", help="Each sentence also in kana.", rich_help_panel=_LAYOUT_PANEL)]
Romaji = Annotated[
    bool,
    typer.Option("--romaji", help="Each sentence also in romaji (modified Hepburn).", rich_help_panel=_LAYOUT_PANEL),
]

app = typer.Typer()


@dataclass(frozen=True)
class GenerateOptions:
    """The options of one lesson, their form already checked. Empty or None means unset."""

    can_do_id: str = ""
    topic: str = ""
    level: str = ""
    text: str = ""
    language: str = ""
    model: str = ""
    timeout_seconds: float | None = None
    offline: bool = False
    address: str = ""
    access: Access = field(default_factory=Access)
    as_json: bool = False
    out: Path | None = None
    ruby: str = ""
    kana: bool = False
    romaji: bool = False
    translation: bool = False
    teacher: bool = False

    def spec(self) -> LessonSpec:
        """The request's message."""
        from nidan.client import lesson_spec

        return lesson_spec(
            can_do_id=self.can_do_id,
            topic=self.topic,
            level=self.level,
            can_do_text=self.text,
            learner_language=self.language,
            model=self.model,
            timeout_seconds=self.timeout_seconds,
        )


@app.command(epilog=_EPILOG)
def generate(
    can_do_id: CanDoId = "",
    *,
    offline: Offline = False,
    topic: Topic = "",
    level: Level = "",
    text: Text = "",
    language: Language = "en",
    model: Model = "",
    timeout: Timeout = None,
    as_json: Json = False,
    out: Out = None,
    address: Address = "",
    key_file: KeyFile = None,
    tls: Tls = False,
    ca_file: CaFile = None,
    ruby: RubyStyle = "",
    translation: Translation = False,
    teacher: Teacher = False,
    kana: Kana = False,
    romaji: Romaji = False,
) -> None:
    """Makes one lesson and prints it for reading; with --teacher also plan and answers."""
    options = GenerateOptions(
        can_do_id=can_do_id,
        topic=topic,
        level=level.upper(),
        text=text,
        language=language,
        model=model,
        timeout_seconds=timeout,
        offline=offline,
        address=address,
        access=read_access(address, offline, key_file, tls, ca_file),
        as_json=as_json,
        out=out,
        ruby=ruby.lower(),
        kana=kana,
        romaji=romaji,
        translation=translation,
        teacher=teacher,
    )
    _check_request(options)
    _check_layout(options)
    raise typer.Exit(_generate(options, os.environ))


def _check_request(options: GenerateOptions) -> None:
    """Rejects what no gateway would accept. Raises BadParameter, which ends the command with status 2."""
    check_choice("--level", options.level, LEVELS)
    if not options.can_do_id.strip() and not (options.topic.strip() and options.level):
        raise typer.BadParameter("give an ID (JF:349), or --topic and --level")
    if options.timeout_seconds is not None and not 0 < options.timeout_seconds < math.inf:
        raise typer.BadParameter("must be above 0", param_hint="--timeout")
    for text in (options.can_do_id, options.topic, options.text, options.language, options.model):
        if text != text.encode("utf-8", "replace").decode():
            raise typer.BadParameter(f"{text!r} is not UTF-8")
    check_gateway(options.address, options.offline)


def _check_layout(options: GenerateOptions) -> None:
    check_choice("--ruby", options.ruby, _RUBY)
    values = {
        "--ruby": options.ruby,
        "--translation": options.translation,
        "--teacher": options.teacher,
        "--kana": options.kana,
        "--romaji": options.romaji,
    }
    names = [name for name, value in values.items() if value]
    if options.as_json and names:
        raise typer.BadParameter(
            "these options lay a lesson out for reading, and --json gives all of it as data; drop the one or the other",
            param_hint=", ".join(names),
        )


def _generate(options: GenerateOptions, environment: Mapping[str, str]) -> int:
    """Makes the lesson and writes it. Returns the exit status, after ending every service that it started."""
    from nidan.services.find_gateway import find_gateway
    from nidan.terminal.failures import report_failure
    from nidan.terminal.output import Output, OutputError
    from nidan.terminal.progress import Progress, message_console

    progress = Progress(message_console())
    try:
        with (
            Output(options.out) as output,
            progress.shown(),
            find_gateway(options.address, options.offline, environment, progress, options.access) as gateway,
        ):
            completed = _follow(options, gateway, progress)
            progress.finish()
            output.write(_render(options, completed))
    except KeyboardInterrupt:
        progress.say("Interrupted: the lesson was cancelled.")
        return EXIT_INTERRUPTED
    except (GivenUpError, OutputError) as error:
        report_failure(error, options.as_json, progress)
        return EXIT_FAILED
    return 0


def _follow(options: GenerateOptions, gateway: Gateway, progress: Progress) -> Completed:
    """Reads the run to its end and shows its progress. Raises GivenUpError."""
    from nidan.client import Completed, LessonClient, LessonError
    from nidan.explain import gateway_failure

    try:
        with (
            LessonClient(gateway.address, gateway.access) as client,
            closing(client.stream(options.spec())) as events,
        ):
            for event in events:
                progress.show(event)
                if isinstance(event, Completed):
                    completed = event
    except LessonError as error:
        raise GivenUpError(gateway_failure(error.error, options.offline)) from error
    return completed


def _render(options: GenerateOptions, completed: Completed) -> str:
    if options.as_json:
        return f"{completed.master_json}\n"
    from nidan.terminal.annotated import View
    from nidan.terminal.layout import page
    from nidan.terminal.output import Screen

    screen = Screen.of_stdout() if options.out is None else Screen()
    view = View(_ruby(options.ruby, screen), options.kana, options.romaji, options.translation, options.teacher)
    return page(completed.lesson, screen.columns, screen.colour, view)


def _ruby(wanted: str, screen: Screen) -> Ruby:
    """Above on a wide terminal. In brackets elsewhere: that text may be copied."""
    from nidan.terminal.ruby import Ruby

    if wanted:
        return Ruby(wanted)
    return Ruby.ABOVE if screen.terminal and screen.columns >= _ABOVE_FROM_COLUMNS else Ruby.BRACKETS
