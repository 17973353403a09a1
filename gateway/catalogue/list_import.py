"""Converts a published Can-do list (CSV or TSV) to entries: all its rows or, with a list of all errors, none.

The first line names the columns, in any order. Only `load` does I/O; the rest is pure.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.catalogue.entries import CanDo, normalised, text_hash
from lesson.characters import character_problem
from lesson.models import Level

MOST_BYTES = 20 * 1024 * 1024
MOST_ROWS = 100_000
DEFAULT_SOURCE = "JF Can-do list"
UNKNOWN_EDITION = "unknown"
LICENCE_NOTE = "Imported here: the terms of its source apply. For use on this machine, not to be passed on."
_ROWS_PER_REPORT = 2_000
"""Rows between two progress reports."""
_LONGEST = {"kind": 40, "category": 200, "topic": 200, "topic_2": 200, "text_ja": 1000, "text_en": 1000}
"""In characters: the limits of a request to the gateway."""


@dataclass(frozen=True)
class Column:
    """A column of the list: its usual name, its other names, and whether every list must have it."""

    name: str
    aliases: tuple[str, ...] = ()
    required: bool = True


COLUMNS: Mapping[str, Column] = {
    "number": Column("No", ("No.", "番号")),
    "kind": Column("種別"),
    "type": Column("種類"),
    "level": Column("レベル"),
    "activity": Column("言語活動", ("活動",)),
    "category": Column("カテゴリー", ("カテゴリ",)),
    "topic": Column("第1トピック"),
    "text_ja": Column("JF Can-do (日本語)"),
    "text_en": Column("JF Can-do (English)", ("JF Can-do (英語)",)),
    "topic_2": Column("第2トピック", required=False),
    "changed": Column("公開日・更新日", required=False),
}
_ACTIVITIES = {
    "受容": "reception",
    "産出": "production",
    "やりとり": "interaction",
    "reception": "reception",
    "production": "production",
    "interaction": "interaction",
}


class ListError(Exception):
    """The list is unreadable as a whole. The message says what to do."""


@dataclass(frozen=True)
class RowError:
    """An error in a row: the line where the row begins, the column, the problem and the next step."""

    line: int
    column: str
    problem: str
    next_step: str


@dataclass(frozen=True)
class CanDoList:
    """A parsed list: entries of the valid rows, errors of the others, and the parts that the entries leave out."""

    entries: tuple[CanDo, ...]
    errors: tuple[RowError, ...]
    rows: int
    ignored_columns: tuple[str, ...] = ()
    unknown_activities: Mapping[str, int] = field(default_factory=dict)
    """Number of rows by unknown value of the language activity."""


@dataclass(frozen=True)
class Merged:
    """The entries of the catalogue's file after an import, and the changes by the import."""

    entries: tuple[CanDo, ...]
    new: int
    updated: int
    unchanged: int
    overruled: Mapping[tuple[str, str], int]
    """Number of ids that this import takes over, by source and edition of earlier imports."""


def load(file: Path) -> bytes:
    """The file's bytes. Raises ListError for an unreadable file and for more than MOST_BYTES."""
    try:
        with file.open("rb") as source:
            data = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise ListError(f"cannot be read ({error.strerror or error}). Name a CSV or TSV file.") from error
    if len(data) > MOST_BYTES:
        raise ListError(
            f"has more than {MOST_BYTES // 1024**2} MB. Is this the right file? A list is a table of text. "
            "If so, import it in parts, each with the line of column names."
        )
    return data


def edition_of(file_name: str) -> str:
    """The year, month and day in a file's name (jf_cando_202305.csv: 2023-05); else UNKNOWN_EDITION."""
    name = unicodedata.normalize("NFKC", file_name)
    found = re.search(
        r"(?<!\d)((?:19|20)\d\d)(?:[-_.年]?(0[1-9]|1[0-2])(?:[-_.月]?(0[1-9]|[12]\d|3[01]))?)?(?!\d)", name
    )
    return "-".join(filter(None, found.groups())) if found else UNKNOWN_EDITION


def read_list(data: bytes, source: str, edition: str, report: Callable[[int], object]) -> CanDoList:
    """The list's entries. Calls `report` from time to time with the number of rows read so far. Raises ListError."""
    text = _decoded(data)
    table = _Table.of(text)
    reader = _Reader(source, edition)
    rows = 0
    for rows, row in enumerate(table.rows(), start=1):
        if rows > MOST_ROWS:
            raise ListError(f"has more than {MOST_ROWS:,} rows. Import the list in parts.")
        reader.add(row)
        if rows % _ROWS_PER_REPORT == 0:
            report(rows)
    if not rows:
        raise ListError("has no row below the column names.")
    return CanDoList(tuple(reader.entries), tuple(reader.errors), rows, table.ignored, dict(reader.unknown_activities))


def merge(before: Iterable[CanDo], imported: Sequence[CanDo]) -> Merged:
    """The entries of `before` and the imported ones, which come last and so keep their ids.

    Source, edition, kind and number identify an entry. Entries that the new list lacks stay.
    """
    kept = {_key(entry): entry for entry in before}
    news = {_key(entry): entry for entry in imported}
    same_list = {(entry.source, entry.edition) for entry in imported}
    others = [entry for entry in kept.values() if (entry.source, entry.edition) not in same_list]
    mine = {key: entry for key, entry in kept.items() if (entry.source, entry.edition) in same_list} | news
    taken = {normalised(entry.ids[0]) for entry in imported}
    unchanged = sum(kept.get(key) == entry for key, entry in news.items())
    new = len(news.keys() - kept.keys())
    return Merged(
        entries=(*others, *mine.values()),
        new=new,
        updated=len(news) - new - unchanged,
        unchanged=unchanged,
        overruled=Counter((entry.source, entry.edition) for entry in others if normalised(entry.ids[0]) in taken),
    )


def _key(entry: CanDo) -> tuple[str, str, str, int | None]:
    return entry.source, entry.edition, normalised(entry.kind), entry.number


# --- bytes, lines, cells ----------------------------------------------------------------------------------------


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ListError("is UTF-16. Save it as CSV in UTF-8, or: iconv -f UTF-16 -t UTF-8 FILE > list.csv")
    if data.startswith(b"PK\x03\x04"):
        raise ListError("is a spreadsheet or an archive, not CSV. Save the sheet as CSV in UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("cp932")
            if COLUMNS["kind"].name in text:  # almost any bytes are valid cp932
                return text
        line = data.count(b"\n", 0, error.start) + 1
        raise ListError(
            f"line {line} is neither UTF-8 nor Shift_JIS (cp932): byte 0x{data[error.start]:02X}. "
            "Save the list as CSV in UTF-8."
        ) from error


@dataclass(frozen=True)
class _Row:
    line: int
    cells: Mapping[str, str]
    """By key of COLUMNS, without line breaks; empty where the list lacks the column."""
    surplus: int = 0
    """Number of non-empty cells beyond the last column."""


@dataclass(frozen=True)
class _Table:
    """A list as text, with the positions of its columns."""

    text: str
    delimiter: str
    places: Mapping[str, int]
    width: int
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> _Table:
        """Picks the delimiter, comma or tab, that finds more known columns in the first line. Raises ListError."""
        delimiter, head = max(((mark, _head(text, mark)) for mark in ",\t"), key=lambda found: len(_places(found[1])))
        places = _places(head)
        missing = [column.name for key, column in COLUMNS.items() if column.required and key not in places]
        if missing:
            raise ListError(
                f"the first line lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. It must name the "
                "columns as the published list does, in any order, separated by commas or tabs: "
                + ", ".join(column.name for column in COLUMNS.values() if column.required)
            )
        names = [_compared(cell) for cell in head]
        twice = [head[place] for place in places.values() if names.count(names[place]) > 1]
        if twice:
            raise ListError(f"two columns are named {twice[0]}. Remove one of them.")
        ignored = (cell for place, cell in enumerate(head) if cell and place not in places.values())
        return cls(text, delimiter, places, len(head), tuple(ignored))

    def rows(self) -> Iterator[_Row]:
        """All non-blank rows below the column names. Raises ListError where the text is not a table."""
        records = (record for record in _records(self.text, self.delimiter) if any(record[1]))
        next(records)
        for line, cells in records:
            known = {key: cells[place] if place < len(cells) else "" for key, place in self.places.items()}
            yield _Row(line, dict.fromkeys(COLUMNS, "") | known, sum(map(bool, cells[self.width :])))


def _head(text: str, delimiter: str) -> list[str]:
    """The first non-blank row; empty when that delimiter gives none."""
    with contextlib.suppress(ListError):
        return next((cells for _, cells in _records(text, delimiter) if any(cells)), [])
    return []


def _places(head: Sequence[str]) -> dict[str, int]:
    """Position by key of COLUMNS. The usual name takes precedence over aliases."""
    names = [_compared(cell) for cell in head]
    known = {key: map(_compared, (column.name, *column.aliases)) for key, column in COLUMNS.items()}
    found = {key: next((name for name in mine if name in names), None) for key, mine in known.items()}
    return {key: names.index(name) for key, name in found.items() if name is not None}


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record: the line where it begins, and its cells, each on one line and stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, [joined(cell) for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ListError(
            f"line {line} is not a row of a table ({error}). Put a cell with a quotation mark into quotation "
            'marks, and double the mark inside: "say ""hello""".'
        ) from error


def joined(cell: str) -> str:
    """The cell on one line. A line break becomes nothing next to Japanese, else a space."""
    text = ""
    for line in filter(None, map(str.strip, cell.splitlines())):
        glue = "" if not text or _is_wide(text[-1]) or _is_wide(line[0]) else " "
        text += glue + line
    return text.replace("\t", " ")


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def _compared(name: str) -> str:
    """A column's name in the form for comparison, without width, case, spaces and the kind of hyphen."""
    return re.sub("[‐‑‒–—−]", "-", normalised(name))


# --- from a row to an entry -------------------------------------------------------------------------------------


class _Reader:
    """Collects the entries of valid rows and the errors of the others."""

    def __init__(self, source: str, edition: str) -> None:
        self.entries: list[CanDo] = []
        self.errors: list[RowError] = []
        self.unknown_activities: Counter[str] = Counter()
        self._source = source
        self._edition = edition
        self._lines: dict[str, int] = {}

    def add(self, row: _Row) -> None:
        errors = [*_form_errors(row), *_value_errors(row)]
        if not errors:
            entry = self._entry(row)
            first = self._lines.setdefault(normalised(entry.ids[0]), row.line)
            if first == row.line:
                self.entries.append(entry)
                return
            problem = f"{entry.ids[0]} is already in line {first}"
            errors = [_error(row, "number", problem, "Give each row of a kind its own number, or remove one row.")]
        self.errors += errors

    def _entry(self, row: _Row) -> CanDo:
        cells, kind, number = row.cells, kind_of(row.cells["kind"]), int(_folded(row.cells["number"]))
        return CanDo(
            ids=(f"{kind}:{number}",),
            level=Level(_folded(cells["level"]).upper()),
            text_ja=cells["text_ja"],
            text_en=cells["text_en"],
            topics=tuple(filter(None, (cells["topic"], cells["topic_2"]))),
            activity=self._activity(cells["activity"]),
            category=cells["category"],
            source=self._source,
            edition=self._edition,
            kind=kind,
            number=number,
            type=cells["type"],
            licence_note=LICENCE_NOTE,
            text_sha256=text_hash(cells["text_ja"], cells["text_en"]),
        )

    def _activity(self, cell: str) -> str:
        """The first activity that the cell names."""
        folded = _folded(cell).casefold().replace("やり取り", "やりとり")
        named = sorted((folded.find(name), activity) for name, activity in _ACTIVITIES.items() if name in folded)
        if named:
            return named[0][1]
        self.unknown_activities.update([cell] if cell else [])
        return ""


def kind_of(cell: str) -> str:
    """種別 as in ids: NFKC, without spaces and a final "Can-do". JF Can-do becomes JF; JFまるごと stays."""
    return re.sub(r"can-?dos?$", "", _compared_kind(cell), flags=re.IGNORECASE)


def _compared_kind(cell: str) -> str:
    return re.sub("[‐‑‒–—−]", "-", "".join(_folded(cell).split()))


def _folded(cell: str) -> str:
    return unicodedata.normalize("NFKC", cell).strip()


def _error(row: _Row, key: str, problem: str, next_step: str) -> RowError:
    return RowError(row.line, COLUMNS[key].name, problem, next_step)


def _form_errors(row: _Row) -> Iterator[RowError]:
    if row.surplus:
        problem = f"{row.surplus} more cells than columns"
        yield RowError(row.line, "", problem, "Put a cell that contains the separator into quotation marks.")
    for key, cell in row.cells.items():
        if problem := character_problem(cell):
            yield _error(row, key, f"contains {problem}", "Delete it or correct it.")
        longest = _LONGEST.get(key, 100)
        if len(cell) > longest:
            problem = f"has {len(cell):,} characters; at most {longest:,}"
            yield _error(row, key, problem, "Shorten it. If rows ran together, close the quotation mark before them.")


def _value_errors(row: _Row) -> Iterator[RowError]:
    number, kind, level = (_folded(row.cells[key]) for key in ("number", "kind", "level"))
    if not re.fullmatch(r"[0-9]{1,9}", number):
        problem = f"{number[:40]!r} is not a number" if number else "is empty"
        yield _error(row, "number", problem, "Write the row's number in the list, such as 349.")
    if not kind_of(kind) or ":" in kind:
        problem = f"{kind[:40]!r} cannot begin an id" if kind else "is empty"
        yield _error(row, "kind", problem, "Write the kind as the list does: JF, JFまるごと, CEFR.")
    if level.upper() not in set(Level):
        problem = f"{level[:40]!r} is not a level" if level else "is empty"
        yield _error(row, "level", problem, f"Write one of {', '.join(Level)}.")
    if not row.cells["text_ja"]:
        yield _error(row, "text_ja", "is empty", "Write the Can-do or remove the row.")
