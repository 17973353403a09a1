"""Japanese sentences in, furigana and romaji out, by the analyser of an enhancer service.

Sends lines as they arrive, many in one call, and forgets them once they are printed. Functions import what needs gRPC
or the models: an enhancer that must be started comes up while these load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from typing import TYPE_CHECKING

from nidan.annotation.lines import Line, batches, open_input
from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError
from nidan.explain import enhancer_failure, unreachable_enhancer
from nidan.services.find_gateway import ANSWER_SECONDS
from nidan.services.own import own_services
from nidan.services.plan import enhancer_plan
from nidan.services.service import ENHANCER
from nidan.terminal.failures import report_failure
from nidan.terminal.output import Output, OutputError, Screen
from nidan.terminal.progress import Progress, message_console

if TYPE_CHECKING:
    from lesson.models import Item, JapaneseText
    from nidan.client import EnhancerClient

_CALL_SECONDS = 60.0
"""A batch of sentences takes a fifth of a second, one of the most bytes some seconds."""
_PAUSES = (0.5, 1.0, 2.5)
"""Before calling again an enhancer that is overloaded or restarting."""
_SHORT_WORK_SECONDS = 1.0
_EXPECTED = "Reading Japanese from the terminal, one sentence a line; Ctrl-D ends. For a file: nidan annotate FILE"
_HEADLINE = "Not annotated"


@dataclass(frozen=True)
class AnnotateOptions:
    """The options of `nidan annotate`, their form already checked. Empty means unset."""

    file: str = ""
    """`-` and empty mean stdin."""
    as_json: bool = False
    style: str = ""
    """Only without an address: it is a setting of the service."""
    address: str = ""


@dataclass(frozen=True)
class _Enhancer:
    address: str
    check: Callable[[], None]
    """Raises StartError when this command's own enhancer has exited."""


def run(options: AnnotateOptions, environment: Mapping[str, str]) -> int:
    """Prints the annotation of every line. Returns the exit status, after ending what it started."""
    progress = Progress(message_console(), live_only=True)
    try:
        printer = _Printer(options.as_json, progress)
        with (
            open_input(options.file) as source,
            _watched(options, source, progress),
            _find_enhancer(options, environment, progress) as enhancer,
        ):
            _annotate(source, enhancer, printer)
    except KeyboardInterrupt:
        progress.say("Interrupted.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0  # the reader has seen enough
    except (GivenUpError, OutputError) as error:
        report_failure(error, options.as_json, progress, _HEADLINE)
        return EXIT_FAILED
    return 0


def _annotate(source: BufferedReader, enhancer: _Enhancer, printer: _Printer) -> None:
    from nidan.client import EnhancerClient

    with EnhancerClient(enhancer.address) as client:
        for batch in batches(source):
            printer.show(batch, _texts(client, batch, enhancer.check))


@contextlib.contextmanager
def _watched(options: AnnotateOptions, source: BufferedReader, progress: Progress) -> Iterator[None]:
    """Shows a live line, except on a terminal where a person types: there it says what to type."""
    if not source.isatty():
        with progress.shown():
            yield
        return
    if not options.file:
        progress.say(_EXPECTED)
    yield


# --- the enhancer -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _find_enhancer(options: AnnotateOptions, environment: Mapping[str, str], progress: Progress) -> Iterator[_Enhancer]:
    """The one at the address, else one of this command's own. Raises GivenUpError."""
    if options.address:
        _check_serving(options.address)
        yield _Enhancer(options.address, lambda: None)
        return
    with own_services(lambda: enhancer_plan(environment, options.style), progress) as own:
        progress.finish()
        yield _Enhancer(own.plan.services[0].address, own.check)


def _check_serving(address: str) -> None:
    from nidan.client import is_serving

    if not is_serving(address, ENHANCER.grpc_name, ANSWER_SECONDS):
        raise GivenUpError(unreachable_enhancer(address))


def _texts(client: EnhancerClient, batch: Sequence[Line], check: Callable[[], None]) -> Sequence[JapaneseText]:
    """The annotations of all lines except blank ones. Raises GivenUpError or StartError."""
    from lesson.models import Item, ItemKind

    items = [
        Item(id=f"line.{line.number}", text=line.text, kind=ItemKind.SENTENCE, needs_translation=False)
        for line in batch
        if line.text
    ]
    return _call(client, items, batch[0].number, check) if items else ()


def _call(
    client: EnhancerClient, items: Sequence[Item], first: int, check: Callable[[], None]
) -> Sequence[JapaneseText]:
    """Calls again after a pause where that may help. `first` is the number of the first line, for the failure."""
    from nidan.client import AnnotateError

    pauses = iter(_PAUSES)
    while True:
        try:
            return client.annotate(items, _CALL_SECONDS)
        except AnnotateError as error:
            pause = next(pauses, None)
            if pause is None or not error.error.retryable:
                raise GivenUpError(enhancer_failure(error.error, first)) from error
        time.sleep(pause)
        check()


# --- output -----------------------------------------------------------------------------------------------------


class _Printer:
    """Prints annotations as they come. Reports progress of long work whose output is not on the screen."""

    def __init__(self, as_json: bool, progress: Progress) -> None:
        self._output = Output(None)
        self._screen = Screen.of_stdout()
        self._as_json = as_json
        self._progress = progress
        self._began = time.monotonic()

    def show(self, batch: Sequence[Line], texts: Sequence[JapaneseText]) -> None:
        """Writes and flushes. Raises OutputError, and BrokenPipeError when the reader is gone."""
        self._output.write(_as_json(texts) if self._as_json else _laid_out(batch, texts, self._screen))
        if not self._screen.terminal and time.monotonic() - self._began > _SHORT_WORK_SECONDS:
            self._progress.doing(f"Annotated {batch[-1].number:,} lines …")


def _as_json(texts: Sequence[JapaneseText]) -> str:
    return "".join(f"{text.model_dump_json(by_alias=True)}\n" for text in texts)


def _laid_out(batch: Sequence[Line], texts: Sequence[JapaneseText], screen: Screen) -> str:
    """The sentences as `nidan generate` lays them out, at the margin, with a blank line for every blank one."""
    from rich.console import Group
    from rich.text import Text

    from nidan.terminal.annotated import block
    from nidan.terminal.layout import printed

    annotated = iter(texts)
    blocks = (Group(*block(next(annotated), indent=0)) if line.text else Text() for line in batch)
    return printed(Group(*blocks), screen.columns, screen.colour)
