"""report.csv of a batch: a line for each row, written as rows end."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nidan.batch.result import Result
from nidan.terminal.output import Output, OutputError

_NAME = "report.csv"
_COLUMNS = ("row", "id", "outcome", "seconds", "cost_usd", "file", "reason", "ended_at")
_BOM = "\ufeff"
"""Spreadsheets need it to read UTF-8."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Report:
    """report.csv of a directory. Appends a line for each lesson as it ends; `close` sorts it, one line a row.

    Keeps the lines of earlier runs for rows that this run does not make. Raises OutputError.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        if self._path.is_symlink() or (self._path.exists() and not self._path.is_file()):
            raise OutputError(f"cannot write {self._path}: it is a link or no file. Remove it, or name another --out.")
        self._earlier = self._read()
        with self._as_output_error():
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            self._number = os.open(self._path, flags, 0o666)
            if not os.fstat(self._number).st_size:
                self._append(_BOM + _line(_COLUMNS))
            elif not self._path.read_bytes().endswith(b"\n"):
                self._append("\r\n")  # a killed run left a partial line

    def add(self, result: Result) -> None:
        """Appends the line, and syncs it to the disk."""
        with self._as_output_error():
            self._append(_line(result.as_cells()))
            os.fsync(self._number)

    def close(self, results: Sequence[Result]) -> None:
        """Rewrites the report, one line a row."""
        os.close(self._number)
        lines = [_line(_COLUMNS)]
        for result in results:
            cells = result.as_cells()
            earlier = self._earlier.get((cells[0], _as_text(cells[1])))
            lines.append(_line(earlier if earlier and not result.made else cells))
        with Output(self._path, follow=False) as output:
            output.write(_BOM + "".join(lines))

    def _read(self) -> dict[tuple[str, str], list[str]]:
        """The last line for each row number and id."""
        if not self._path.is_file():
            return {}
        try:
            text = self._path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise OutputError(f"cannot read {self._path}: {error}.") from error
        header, *lines = list(csv.reader(io.StringIO(text, newline=""))) or [list(_COLUMNS)]
        if tuple(header) != _COLUMNS:
            raise OutputError(f"cannot write {self._path}: it exists and is no report of a batch. Name another --out.")
        return {(cells[0], cells[1]): cells for cells in lines if len(cells) == len(_COLUMNS)}

    def _append(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._number, data) :]

    @contextlib.contextmanager
    def _as_output_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}.") from error


def _line(cells: Iterable[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(map(_as_text, cells))
    return out.getvalue()


def _as_text(cell: str) -> str:
    """The cell so that no spreadsheet takes it for a formula. Our own numbers begin with a digit."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
