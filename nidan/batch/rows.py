"""Reads the file of a batch, a row for each lesson, and checks all of it before any lesson starts."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from lesson.characters import character_problem
from lesson.limits import SPEC_CHARACTERS

LEVELS = ("A1", "A2", "B1", "B2", "C1", "C2")
_SHORT_NAMES = {"can_do_text": "text", "learner_language": "language"}
MOST_CHARACTERS = {_SHORT_NAMES.get(name, name): most for name, most in SPEC_CHARACTERS.items()}
"""The gateway's limits, checked here so that a wrong row shows at the start."""
_COLUMNS = {"id": "can_do_id", "can_do_id": "can_do_id"} | {
    name: name for name in ("topic", "level", "text", "language", "model")
}
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
_DELIMITERS = (",", "\t", ";")
_NAME_CHARACTERS = 40
_MOST_BYTES = 4 * 1024 * 1024
"""A row has some hundred bytes."""


@dataclass(frozen=True)
class Row:
    """One wanted lesson. Empty means unset."""

    number: int
    """Counted as in a spreadsheet: the header is row 1."""
    can_do_id: str = ""
    topic: str = ""
    level: str = ""
    text: str = ""
    language: str = ""
    model: str = ""

    @property
    def name(self) -> str:
        """A short name for people."""
        return self.can_do_id or f"{self.topic} {self.level}"

    @property
    def file_name(self) -> str:
        """Such as 002-JF_349.json: stable for the same row, and valid on any file system."""
        kept = "".join(char if char.isalnum() or char in "-." else "_" for char in self.name)
        return f"{self.number:03}-{unicodedata.normalize('NFC', kept)[:_NAME_CHARACTERS]}.json"


class RowsError(Exception):
    """The file cannot be used. `problems` names each wrong place, with what would be right."""

    def __init__(self, message: str, *problems: str) -> None:
        super().__init__(message)
        self.problems = problems


def read_rows(file: Path) -> list[Row]:
    """All rows in order, without empty ones. Raises RowsError."""
    records = _records(file)
    columns = _columns(records[0][1], file) if records else []
    rows: list[Row] = []
    problems: list[str] = []
    for number, cells in records[1:]:
        row = Row(number, **_named(columns, cells))
        stray = [cell for cell, name in zip_longest(cells, columns, fillvalue="") if cell and not name]
        problems += [f"row {number}: {cell!r} has no column name; quote a cell that holds commas" for cell in stray]
        problems += [] if stray else [f"row {number}: {problem}" for problem in _problems(row)]
        rows.append(row)
    if problems:
        raise RowsError(f"{file} has errors; nothing was started.", *problems)
    if not rows:
        raise RowsError(f"{file} holds no row.", "the first row names the columns, then comes a row for each lesson")
    return rows


def _records(file: Path) -> list[tuple[int, list[str]]]:
    """The records that are not empty, each with its number."""
    text = _text(file)
    header = next((line for line in text.splitlines() if line.strip()), "")
    # The most frequent one of the header. Spreadsheets write ; where the comma is the decimal mark.
    delimiter = max(_DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        records = [[" ".join(cell.split()) for cell in record] for record in reader]
    except csv.Error as error:
        step = "is a quote never closed?"
        raise RowsError(f"{file}, line {reader.line_num}: {error}.", step) from error
    return [(number, record) for number, record in enumerate(records, start=1) if any(record)]


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise RowsError(f"cannot read {file}: {error.strerror or error}.") from error
    if len(data) > _MOST_BYTES:
        raise RowsError(f"{file} has more than {_MOST_BYTES:,} bytes.", "split it, or is it another file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "SHIFT_JIS"
        step = f"save it as CSV in UTF-8, or convert it: iconv -f {encoding} -t UTF-8 {file.name}"
        raise RowsError(f"{file} is not UTF-8: byte 0x{data[error.start]:02X} in line {line}.", step) from error


def _columns(header: Sequence[str], file: Path) -> list[str]:
    """The field of each column; empty for a column without a name. Raises RowsError."""
    names = [re.sub(r"[\s-]", "_", name.casefold()) for name in header]
    unknown = [title for title, name in zip(header, names, strict=True) if name and name not in _COLUMNS]
    columns = [_COLUMNS.get(name, "") for name in names]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    problems = [f"unknown column {title!r}; known are id, topic, level, text, language, model" for title in unknown]
    problems += [f"{name} appears twice" for name in twice]
    if not unknown and "can_do_id" not in columns and not {"topic", "level"} <= set(columns):
        problems.append("a lesson needs the column id, or topic and level")
    if problems:
        raise RowsError(f"The header of {file} has errors; nothing was started.", *problems)
    return columns


def _named(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    named = {name: cell for name, cell in zip(columns, cells, strict=False) if name}
    return named | ({"level": named["level"].upper()} if "level" in named else {})


def _problems(row: Row) -> Iterator[str]:
    if row.level and row.level not in LEVELS:
        yield f"level {row.level!r}: one of {', '.join(LEVELS)}"
    if not row.can_do_id and not (row.topic and row.level):
        yield "give an id (JF:349), or topic and level"
    if row.language and not _LANGUAGE_TAG.fullmatch(row.language):
        yield f"language {row.language!r}: a BCP-47 tag, as en or pt-BR"
    for name, most in MOST_CHARACTERS.items():
        value = getattr(row, name)
        if len(value) > most:
            yield f"{name.removeprefix('can_do_')} has {len(value)} characters; at most {most}"
        if problem := character_problem(value):
            yield f"{name.removeprefix('can_do_')} holds {problem}"
