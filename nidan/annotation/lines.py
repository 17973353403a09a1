"""The input of `nidan annotate`: lines of UTF-8, grouped into batches as they arrive."""

from __future__ import annotations

import codecs
import contextlib
import errno
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from lesson.limits import ITEM_BYTES
from nidan.errors import GivenUpError
from nidan.explain import line_too_long, not_utf8, unreadable_input

BATCH_LINES = 50
MOST_BYTES = ITEM_BYTES
"""Limit of a line, and of the lines of a batch. An answer may have 4 MiB: it takes 20 times its text, and 113 times
where one word with a long gloss fills the line (響響響…)."""


@dataclass(frozen=True)
class Line:
    """A line of the input without its end; the first has number 1."""

    number: int
    text: str
    """Empty for a line of white space."""


@contextlib.contextmanager
def open_input(file: str) -> Iterator[BufferedReader]:
    """The file, or stdin for `-` and an empty name. Raises GivenUpError."""
    try:
        source = open(_stdin(), "rb", closefd=False) if file in ("", "-") else Path(file).open("rb")  # noqa: SIM115
    except OSError as error:
        raise _unreadable(file, error) from error
    with source:
        yield source


def _stdin() -> int:
    if sys.stdin is None:
        raise OSError(errno.EBADF, "it is closed")
    return sys.stdin.fileno()


def _unreadable(file: str | int, error: OSError) -> GivenUpError:
    name = file if isinstance(file, str) and file not in ("", "-") else "standard input"
    return GivenUpError(unreadable_input(name, error))


def batches(source: BufferedReader) -> Iterator[list[Line]]:
    """Yields the lines in order, grouping those that arrive together, within BATCH_LINES and MOST_BYTES.

    No batch is empty. Raises GivenUpError for a line that cannot be sent, after yielding all lines before it.
    """
    first = 1
    for arrived in _arriving(source):
        yield from filter(None, _grouped(arrived, first))
        first += len(arrived)


def _arriving(source: BufferedReader) -> Iterator[list[bytes]]:
    """Yields the lines that each read completes; the last line needs no end. Stops reading after an overlong line."""
    rest = b""
    while chunk := _read(source):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MOST_BYTES:
            yield [*whole, rest]
            return
        yield whole
    yield [rest] if rest else []


def _read(source: BufferedReader) -> bytes:
    """Waits for input and returns what there is; empty at the end."""
    try:
        return source.read1(MOST_BYTES)
    except OSError as error:
        raise _unreadable(source.name, error) from error


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
    """Raises GivenUpError for an overlong line, or one that is not UTF-8."""
    if len(raw) > MOST_BYTES:
        raise GivenUpError(line_too_long(number, MOST_BYTES))
    try:
        text = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).rstrip(b"\r").decode()
    except UnicodeDecodeError as error:
        raise GivenUpError(not_utf8(number, error)) from error
    return Line(number, text if text.strip() else "")
