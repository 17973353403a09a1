"""`nidan generate`: finds or starts a gateway, follows one lesson, hands it over.

What needs gRPC or the lesson's models is imported in functions: a trio that must be started is started first, and
comes up while we load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nidan.credentials import Access
from nidan.services.own import ANSWER_SECONDS, EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError, own_services, report
from nidan.services.supervisor import GATEWAY, Plan, Providers, private_plan
from nidan.terminal.output import Output, OutputError, Screen
from nidan.terminal.progress import Progress, message_console

if TYPE_CHECKING:
    from nidan.client import Completed
    from nidan.terminal.ruby import Ruby

_PROBE_SECONDS = 0.5
"""How long a gateway that may or may not run at the default address may take to say that it serves."""
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


@dataclass(frozen=True)
class Gateway:
    """Whom to ask for lessons."""

    address: str
    access: Access
    check: Callable[[], None]
    """Raises GivenUpError or StartError when it is gone; for when it did not answer."""


def generate(asked: Asked, environment: Mapping[str, str]) -> int:
    """Makes the lesson and hands it over; the exit status. Whatever it started has ended when it returns."""
    progress = Progress(message_console())
    try:
        with (
            Output(asked.out) as output,
            progress.shown(),
            gateway(asked.address, asked.offline, environment, progress, asked.access) as asking,
        ):
            completed = _follow(asked, asking, progress)
            progress.finish()
            output.write(_told(asked, completed))
    except KeyboardInterrupt:
        progress.say("Interrupted: the lesson was cancelled.")
        return EXIT_INTERRUPTED
    except (GivenUpError, OutputError) as error:
        report(error, asked.as_json, progress)
        return EXIT_FAILED
    return 0


def _follow(asked: Asked, asking: Gateway, progress: Progress) -> Completed:
    """Reads the run to its end, showing how far it is. Raises GivenUpError."""
    from lesson.models import Level
    from nidan import errors as failure
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
        raise GivenUpError(failure.of_gateway(error.error, asked.offline)) from error
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


# --- whom to ask ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def gateway(
    address: str, offline: bool, environment: Mapping[str, str], progress: Progress, access: Access
) -> Iterator[Gateway]:
    """The gateway to ask. --offline never asks one that it did not start: that one might be paid.

    One that was started for this command is not told the key.

    Raises GivenUpError.
    """
    named = address or ("" if offline else environment.get("NIDAN_ADDRESS", ""))
    if named:
        _check_serving(named, access)
        yield Gateway(named, access, lambda: _check_serving(named, access))
    elif not offline and _is_gateway(GATEWAY.address, _PROBE_SECONDS, access):
        progress.doing(f"Asking the gateway at {GATEWAY.address}")
        yield Gateway(GATEWAY.address, access, lambda: _check_serving(GATEWAY.address, access))
    else:
        with _own_gateway(offline, environment, progress) as own:
            yield own


@contextlib.contextmanager
def _own_gateway(offline: bool, environment: Mapping[str, str], progress: Progress) -> Iterator[Gateway]:
    """A trio of this command's own, gone when the block is left."""

    def plan() -> Plan:
        return private_plan(environment, Providers.chosen(environment, offline))

    with own_services(plan, progress) as trio:
        yield Gateway(trio.plan.gateway.address, Access(), trio.check)


def _check_serving(address: str, access: Access) -> None:
    if not _is_gateway(address, ANSWER_SECONDS, access):
        from nidan import errors as failure

        raise GivenUpError(failure.unreachable(address, access.tls))


def _is_gateway(address: str, timeout_seconds: float, access: Access) -> bool:
    from nidan.client import is_serving

    return is_serving(address, GATEWAY.grpc_name, timeout_seconds, access)
