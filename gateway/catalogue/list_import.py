"""A published Can-do list, as CSV or TSV, made entries: all of its rows or, with every fault named, none.

Columns are found by the names in the first line, in any order. Pure but for `load`: bytes in, entries and faults out.
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
    """A column of the list: its name there, other names it goes by, and whether a list may lack it."""

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
    """The list cannot be read as a whole; says what to do."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row, in which line of the file it begins, and what to do."""

    line: int
    column: str
    problem: str
    next_step: str


@dataclass(frozen=True)
class CanDoList:
    """A list that was read: entries where there is no fault, and what was left out of them."""

    entries: tuple[CanDo, ...]
    faults: tuple[Fault, ...]
    rows: int
    ignored_columns: tuple[str, ...] = ()
    unknown_activities: Mapping[str, int] = field(default_factory=dict)
    """What stands for the language activity and is none that we know -> in how many rows."""


@dataclass(frozen=True)
class Merged:
    """The catalogue's file after an import, and what the import changed in it."""

    entries: tuple[CanDo, ...]
    new: int
    updated: int
    unchanged: int
    overruled: Mapping[tuple[str, str], int]
    """Source and edition of earlier imports -> how many of their ids this one takes."""


def load(file: Path) -> bytes:
    """The file's bytes. Raises ListError when there are none, or more than MOST_BYTES."""
    try:
        with file.open("rb") as source:
            data = source.read(MOST_BYTES + 1)
    except OSError as error:
        raise ListError(f"cannot be read ({error.strerror or error}). Name a CSV or TSV file.") from error
    if len(data) > MOST_BYTES:
        raise ListError(
            f"has more than {MOST_BYTES // 1024**2} MB. A list is a table of text: is this the file? "
            "If it is, import it in parts; each part needs the line with the column names."
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
        reader.take(row)
        if rows % _ROWS_PER_REPORT == 0:
            report(rows)
    if not rows:
        raise ListError("has no row below the column names.")
    return CanDoList(tuple(reader.entries), tuple(reader.faults), rows, table.ignored, dict(reader.unknown_activities))


def merge(before: Iterable[CanDo], imported: Sequence[CanDo]) -> Merged:
    """The entries of before with the imported ones, which come last and so have their ids.

    An entry is the same by source, edition, kind and number. What the new list lacks stays.
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
        raise ListError("is a spreadsheet or an archive, no CSV. Save the sheet as CSV in UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("cp932")
            if COLUMNS["kind"].name in text:  # nearly any bytes are some text in cp932
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
    """By key of COLUMNS, line breaks joined; empty where the list lacks the column."""
    surplus: int = 0
    """Cells beyond the last column that hold something."""


@dataclass(frozen=True)
class _Table:
    """The text below the column names, and which column stands where."""

    text: str
    delimiter: str
    places: Mapping[str, int]
    width: int
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> _Table:
        """Comma or tab: whichever makes more of the first line a column. Raises ListError."""
        delimiter, head = max(((mark, _head(text, mark)) for mark in ",\t"), key=lambda found: len(_places(found[1])))
        places = _places(head)
        missing = [column.name for key, column in COLUMNS.items() if column.required and key not in places]
        if missing:
            raise ListError(
                f"the first line lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. It has to name the "
                "columns as the published list does, in any order, with commas or tabs between: "
                + ", ".join(column.name for column in COLUMNS.values() if column.required)
            )
        names = [_compared(cell) for cell in head]
        twice = [head[place] for place in places.values() if names.count(names[place]) > 1]
        if twice:
            raise ListError(f"two columns are named {twice[0]}. Leave one of them out.")
        ignored = (cell for place, cell in enumerate(head) if cell and place not in places.values())
        return cls(text, delimiter, places, len(head), tuple(ignored))

    def rows(self) -> Iterator[_Row]:
        """Every row that is not blank, below the names. Raises ListError where the text stops being a table."""
        records = (record for record in _records(self.text, self.delimiter) if any(record[1]))
        next(records)
        for line, cells in records:
            known = {key: cells[place] if place < len(cells) else "" for key, place in self.places.items()}
            yield _Row(line, dict.fromkeys(COLUMNS, "") | known, sum(map(bool, cells[self.width :])))


def _head(text: str, delimiter: str) -> list[str]:
    """The first row that is not blank; nothing where no row can be had with that delimiter."""
    with contextlib.suppress(ListError):
        return next((cells for _, cells in _records(text, delimiter) if any(cells)), [])
    return []


def _places(head: Sequence[str]) -> dict[str, int]:
    """Key of COLUMNS -> its place; the name itself goes before an alias."""
    names = [_compared(cell) for cell in head]
    known = {key: map(_compared, (column.name, *column.aliases)) for key, column in COLUMNS.items()}
    found = {key: next((name for name in mine if name in names), None) for key, mine in known.items()}
    return {key: names.index(name) for key, name in found.items() if name is not None}


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line in which it begins, its cells joined and stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            yield line, [joined(cell) for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ListError(
            f"line {line} is no row of a table ({error}). A cell that holds a quotation mark stands in quotation "
            'marks, and the mark in it is doubled: "say ""hello""".'
        ) from error


def joined(cell: str) -> str:
    """The cell in one line: Japanese goes on where its line was broken, other words get a space."""
    text = ""
    for line in filter(None, map(str.strip, cell.splitlines())):
        glue = "" if not text or _is_wide(text[-1]) or _is_wide(line[0]) else " "
        text += glue + line
    return text.replace("\t", " ")


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def _compared(name: str) -> str:
    """A column's name as it is compared: width, case, spaces and the kind of hyphen do not count."""
    return re.sub("[‐‑‒–—−]", "-", normalised(name))


# --- a row made an entry ----------------------------------------------------------------------------------------


class _Reader:
    """Makes entries of rows, and keeps what is wrong with them."""

    def __init__(self, source: str, edition: str) -> None:
        self.entries: list[CanDo] = []
        self.faults: list[Fault] = []
        self.unknown_activities: Counter[str] = Counter()
        self._source = source
        self._edition = edition
        self._lines: dict[str, int] = {}

    def take(self, row: _Row) -> None:
        faults = [*_form_faults(row), *_value_faults(row)]
        if not faults:
            entry = self._entry(row)
            first = self._lines.setdefault(normalised(entry.ids[0]), row.line)
            if first == row.line:
                self.entries.append(entry)
                return
            problem = f"{entry.ids[0]} stands in line {first} already"
            faults = [_fault(row, "number", problem, "Number each row of a kind once; leave one of the two out.")]
        self.faults += faults

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
        """The first one that the cell names."""
        folded = _folded(cell).casefold().replace("やり取り", "やりとり")
        named = sorted((folded.find(name), activity) for name, activity in _ACTIVITIES.items() if name in folded)
        if named:
            return named[0][1]
        self.unknown_activities.update([cell] if cell else [])
        return ""


def kind_of(cell: str) -> str:
    """種別 as ids have it: NFKC, without spaces and without "Can-do" at its end. JF Can-do is JF, JFまるごと itself."""
    return re.sub(r"can-?dos?$", "", _compared_kind(cell), flags=re.IGNORECASE)


def _compared_kind(cell: str) -> str:
    return re.sub("[‐‑‒–—−]", "-", "".join(_folded(cell).split()))


def _folded(cell: str) -> str:
    return unicodedata.normalize("NFKC", cell).strip()


def _fault(row: _Row, key: str, problem: str, next_step: str) -> Fault:
    return Fault(row.line, COLUMNS[key].name, problem, next_step)


def _form_faults(row: _Row) -> Iterator[Fault]:
    if row.surplus:
        problem = f"{row.surplus} more cells than columns are named"
        yield Fault(row.line, "", problem, "Put a cell that holds the separator in quotation marks.")
    for key, cell in row.cells.items():
        if strange := _strange(cell):
            yield _fault(
                row, key, f"holds U+{ord(strange):04X}, which is no letter", "Take it out, or write what it is for."
            )
        longest = _LONGEST.get(key, 100)
        if len(cell) > longest:
            problem = f"has {len(cell):,} characters; at most {longest:,}"
            yield _fault(row, key, problem, "Shorten it; if rows ran together, a quotation mark is not closed.")


def _strange(cell: str) -> str:
    """The first character that no text has; as a request to the gateway may have none."""
    if cell.isprintable():  # nearly always, and fast
        return ""
    return next((char for char in cell if unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn")), "")


def _value_faults(row: _Row) -> Iterator[Fault]:
    number, kind, level = (_folded(row.cells[key]) for key in ("number", "kind", "level"))
    if not re.fullmatch(r"[0-9]{1,9}", number):
        problem = f"{number[:40]!r} is no number" if number else "is empty"
        yield _fault(row, "number", problem, "Write the row's number in the list, as 349.")
    if not kind_of(kind) or ":" in kind:
        problem = f"{kind[:40]!r} cannot begin an id" if kind else "is empty"
        yield _fault(row, "kind", problem, "Write the kind as the list does: JF, JFまるごと, CEFR.")
    if level.upper() not in set(Level):
        problem = f"{level[:40]!r} is no level" if level else "is empty"
        yield _fault(row, "level", problem, f"Write one of {', '.join(Level)}.")
    if not row.cells["text_ja"]:
        yield _fault(row, "text_ja", "is empty", "Write the Can-do, or leave the row out.")
