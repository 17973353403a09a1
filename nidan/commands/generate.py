"""`nidan generate`: finds or starts a gateway, follows one lesson, hands it over.

What needs gRPC or the lesson's models is imported in functions: a trio that must be started is started first, and
comes up while we load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nidan.credentials import Access
from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError
from nidan.explain import gateway_failure
from nidan.services.find_gateway import Gateway, find_gateway
from nidan.terminal.failures import report_failure
from nidan.terminal.output import Output, OutputError, Screen
from nidan.terminal.progress import Progress, message_console

if TYPE_CHECKING:
    from nidan.client import Completed
    from nidan.terminal.ruby import Ruby

ABOVE_FROM_COLUMNS = 60
"""On a terminal that is narrower, furigana over the kanji would leave lines of a few words."""


@dataclass(frozen=True)
class Asked:
    """What the command line says, its form already checked; empty or None is not said."""

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


def generate(asked: Asked, environment: Mapping[str, str]) -> int:
    """Makes the lesson and hands it over; the exit status. Whatever it started has ended when it returns."""
    progress = Progress(message_console())
    try:
        with (
            Output(asked.out) as output,
            progress.shown(),
            find_gateway(asked.address, asked.offline, environment, progress, asked.access) as asking,
        ):
            completed = _follow(asked, asking, progress)
            progress.finish()
            output.write(_told(asked, completed))
    except KeyboardInterrupt:
        progress.say("Interrupted: the lesson was cancelled.")
        return EXIT_INTERRUPTED
    except (GivenUpError, OutputError) as error:
        report_failure(error, asked.as_json, progress)
        return EXIT_FAILED
    return 0


def _follow(asked: Asked, asking: Gateway, progress: Progress) -> Completed:
    """Reads the run to its end, showing how far it is. Raises GivenUpError."""
    from lesson.models import Level
    from nidan.client import Completed, LessonClient, LessonError, LessonRequest

    request = LessonRequest(
        can_do_id=asked.can_do_id,
        topic=asked.topic,
        level=Level(asked.level) if asked.level else None,
        can_do_text=asked.text,
        learner_language=asked.language,
        model=asked.model,
        timeout_seconds=asked.timeout_seconds,
    )
    try:
        with LessonClient(asking.address, asking.access) as client, closing(client.stream(request)) as events:
            for event in events:
                progress.show(event)
                if isinstance(event, Completed):
                    completed = event
    except LessonError as error:
        raise GivenUpError(gateway_failure(error.error, asked.offline)) from error
    return completed


def _told(asked: Asked, completed: Completed) -> str:
    if asked.as_json:
        return f"{completed.master_json}\n"
    from nidan.terminal.annotated import View
    from nidan.terminal.layout import page

    screen = Screen.of_stdout() if asked.out is None else Screen()
    view = View(_ruby(asked.ruby, screen), asked.kana, asked.romaji, asked.translation, asked.teacher)
    return page(completed.lesson, screen.columns, screen.colour, view)


def _ruby(wanted: str, screen: Screen) -> Ruby:
    """Above where somebody reads; in brackets where the text goes on to somewhere else, and must stay copyable."""
    from nidan.terminal.ruby import Ruby

    if wanted:
        return Ruby(wanted)
    return Ruby.ABOVE if screen.terminal and screen.columns >= ABOVE_FROM_COLUMNS else Ruby.BRACKETS
