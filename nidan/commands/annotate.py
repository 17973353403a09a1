"""`nidan annotate`: Japanese sentences in, furigana and romaji out, by the analyser of an enhancer service.

Lines are asked for as they arrive, many at a time, and forgotten once they are printed. As for `generate`, what needs
gRPC or the models is imported in functions: an enhancer that must be started comes up while we load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import codecs
import contextlib
import errno
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

from nidan.errors import EXIT_FAILED, EXIT_INTERRUPTED, GivenUpError
from nidan.explain import enhancer_failure, line_too_long, not_utf8, unreachable_enhancer, unreadable_input
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

BATCH_LINES = 50
MOST_BYTES = 32 * 1024
"""Of a line, and of the lines of a batch. An answer may have 4 MiB: it is 20 times its text, and 113 times where all
of that is one word with a long gloss (響響響…)."""
_CALL_SECONDS = 60.0
"""A batch of sentences takes a fifth of a second, one of the most bytes some seconds."""
_PAUSES = (0.5, 1.0, 2.5)
"""Before a call is made again to an enhancer that had too much to do, or that is being started again."""
_SHORT_WORK_SECONDS = 1.0
_EXPECTED = "Reading Japanese from the terminal, one sentence a line; Ctrl-D ends. For a file: nidan annotate FILE"
_HEADLINE = "Not annotated"


@dataclass(frozen=True)
class Asked:
    """What the command line says, its form already checked; what is empty is not said."""

    file: str = ""
    """`-` is stdin, and so is nothing."""
    as_json: bool = False
    style: str = ""
    """Only without an address: it is a setting of the service."""
    address: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the input without its end; the first has number 1."""

    number: int
    text: str
    """Empty when there is nothing but white space."""


@dataclass(frozen=True)
class _Enhancer:
    address: str
    check: Callable[[], None]
    """Raises StartError when it is ours and has ended."""


def annotate(asked: Asked, environment: Mapping[str, str]) -> int:
    """Prints the annotation of every line; the exit status. Whatever it started has ended when it returns."""
    progress = Progress(message_console(), live_only=True)
    try:
        printer = _Printer(asked.as_json, progress)
        with (
            _opened(asked.file) as source,
            _watched(asked, source, progress),
            _enhancer(asked, environment, progress) as enhancer,
        ):
            _annotate(source, enhancer, printer)
    except KeyboardInterrupt:
        progress.say("Interrupted.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 0  # whoever read it has had enough
    except (GivenUpError, OutputError) as error:
        report_failure(error, asked.as_json, progress, _HEADLINE)
        return EXIT_FAILED
    return 0


def _annotate(source: BufferedReader, enhancer: _Enhancer, printer: _Printer) -> None:
    from nidan.client import EnhancerClient

    with EnhancerClient(enhancer.address) as client:
        for batch in batches(source):
            printer.show(batch, _texts(client, batch, enhancer.check))


@contextlib.contextmanager
def _watched(asked: Asked, source: BufferedReader, progress: Progress) -> Iterator[None]:
    """With a live line, but not where somebody types: that person is told what is expected."""
    if not source.isatty():
        with progress.shown():
            yield
        return
    if not asked.file:
        progress.say(_EXPECTED)
    yield


# --- input ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BufferedReader]:
    """The input. Raises GivenUpError."""
    try:
        source = open(_stdin(), "rb", closefd=False) if file in ("", "-") else Path(file).open("rb")  # noqa: SIM115
    except OSError as error:
        raise _not_read(file, error) from error
    with source:
        yield source


def _stdin() -> int:
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdin.fileno()


def _not_read(file: str | int, error: OSError) -> GivenUpError:
    name = file if isinstance(file, str) and file not in ("", "-") else "standard input"
    return GivenUpError(unreadable_input(name, error))


def batches(source: BufferedReader) -> Iterator[list[Line]]:
    """The lines in order, those in a batch that came together, within BATCH_LINES and MOST_BYTES; no batch is empty.

    Raises GivenUpError for a line that cannot be sent, once all lines before it were given.
    """
    first = 1
    for arrived in _arriving(source):
        yield from filter(None, _grouped(arrived, first))
        first += len(arrived)


def _arriving(source: BufferedReader) -> Iterator[list[bytes]]:
    """The lines that each read completes; the last one needs no end. After one that grows too long nothing is read."""
    rest = b""
    while chunk := _read(source):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MOST_BYTES:
            yield [*whole, rest]
            return
        yield whole
    yield [rest] if rest else []


def _read(source: BufferedReader) -> bytes:
    """What there is, once there is something; empty at the end."""
    try:
        return source.read1(MOST_BYTES)
    except OSError as error:
        raise _not_read(source.name, error) from error


def _grouped(arrived: Sequence[bytes], first: int) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for number, raw in enumerate(arrived, first):
        if len(batch) == BATCH_LINES or size + len(raw) > MOST_BYTES:
            yield batch
            batch, size = [], 0
        try:
            batch.append(_line(number, raw))
        except GivenUpError:
            yield batch
            raise
        size += len(raw)
    yield batch


def _line(number: int, raw: bytes) -> Line:
    """Raises GivenUpError for one that is too long, or not UTF-8."""
    if len(raw) > MOST_BYTES:
        raise GivenUpError(line_too_long(number, MOST_BYTES))
    try:
        text = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).rstrip(b"\r").decode()
    except UnicodeDecodeError as error:
        raise GivenUpError(not_utf8(number, error)) from error
    return Line(number, text if text.strip() else "")


# --- whom to ask ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _enhancer(asked: Asked, environment: Mapping[str, str], progress: Progress) -> Iterator[_Enhancer]:
    """The one that was named, else one of this command's own. Raises GivenUpError."""
    if asked.address:
        _check_serving(asked.address)
        yield _Enhancer(asked.address, lambda: None)
        return
    with own_services(lambda: enhancer_plan(environment, asked.style), progress) as own:
        progress.finish()
        yield _Enhancer(own.plan.services[0].address, own.check)


def _check_serving(address: str) -> None:
    from nidan.client import is_serving

    if not is_serving(address, ENHANCER.grpc_name, ANSWER_SECONDS):
        raise GivenUpError(unreachable_enhancer(address))


def _texts(client: EnhancerClient, batch: Sequence[Line], check: Callable[[], None]) -> Sequence[JapaneseText]:
    """The annotations of all lines but the blank ones. Raises GivenUpError or StartError."""
    from lesson.models import Item, ItemKind

    items = [
        Item(id=f"line.{line.number}", text=line.text, kind=ItemKind.SENTENCE, needs_translation=False)
        for line in batch
        if line.text
    ]
    return _answered(client, items, batch[0].number, check) if items else ()


def _answered(
    client: EnhancerClient, items: Sequence[Item], first: int, check: Callable[[], None]
) -> Sequence[JapaneseText]:
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
    """Prints annotations as they come, and tells how far it is when that is long and not to be seen on the screen."""

    def __init__(self, as_json: bool, progress: Progress) -> None:
        self._output = Output(None)
        self._screen = Screen.of_stdout()
        self._as_json = as_json
        self._progress = progress
        self._began = time.monotonic()

    def show(self, batch: Sequence[Line], texts: Sequence[JapaneseText]) -> None:
        """Writes them and flushes. Raises OutputError, and BrokenPipeError when nobody reads any more."""
        self._output.write(_as_json(texts) if self._as_json else _to_be_read(batch, texts, self._screen))
        if not self._screen.terminal and time.monotonic() - self._began > _SHORT_WORK_SECONDS:
            self._progress.doing(f"Annotated {batch[-1].number:,} lines …")


def _as_json(texts: Sequence[JapaneseText]) -> str:
    return "".join(f"{text.model_dump_json(by_alias=True)}\n" for text in texts)


def _to_be_read(batch: Sequence[Line], texts: Sequence[JapaneseText], screen: Screen) -> str:
    """As `nidan generate` lays sentences out, at the margin; a blank line for every blank one."""
    from rich.console import Group
    from rich.text import Text

    from nidan.terminal.annotated import block
    from nidan.terminal.layout import printed

    annotated = iter(texts)
    blocks = (Group(*block(next(annotated), indent=0)) if line.text else Text() for line in batch)
    return printed(Group(*blocks), screen.columns, screen.colour)
