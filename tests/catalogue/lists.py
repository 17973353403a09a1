"""Can-do lists as people have them: real files of a table, in the columns of the published one."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path

from gateway import admin
from tests.nidan.command import nidan as run_nidan

NAMES = (
    "No",
    "種別",
    "種類",
    "レベル",
    "言語活動",
    "カテゴリー",
    "第1トピック",
    "JF Can-do (日本語)",
    "JF Can-do (English)",
)
ROW = {
    "No": "349",
    "種別": "JF Can-do",
    "種類": "活動",
    "レベル": "A1",
    "言語活動": "やりとり",
    "カテゴリー": "情報交換する",
    "第1トピック": "食生活",
    "JF Can-do (日本語)": "食べられない物を、店の人に言うことができる。",
    "JF Can-do (English)": "Can tell the staff of a shop what one cannot eat.",
}


def row(number: int | str, **cells: str) -> dict[str, str]:
    """A good row with that number; cells by name, or by `text` for the Japanese."""
    text = {"JF Can-do (日本語)": cells.pop("text")} if "text" in cells else {}
    return ROW | {"No": str(number)} | text | cells


def rows(count: int, text: str = "文") -> list[dict[str, str]]:
    return [row(number, text=f"{text}{number}を言うことができる。") for number in range(1, count + 1)]


def table(rows: Iterable[Mapping[str, str]], names: Iterable[str] = NAMES, delimiter: str = ",") -> str:
    """The rows below their columns' names."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    names = tuple(names)
    writer.writerow(names)
    writer.writerows([row.get(name, "") for name in names] for row in rows)
    return out.getvalue()


def write_list(file: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """The rows as a CSV file."""
    file.write_bytes(table(rows).encode("utf-8-sig"))
    return file


class Kept:
    """A machine's own catalogue file, and the command line that uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "kept" / "catalogue.jsonl"

    def nidan(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Status, stdout, stderr of `nidan catalogue …`."""
        done = run_nidan("catalogue", *arguments, **({"CATALOGUE_FILE": str(self.file)} | variables))
        return done.returncode, done.stdout, done.stderr

    def fill(self, rows: Iterable[Mapping[str, str]], *options: str, name: str = "jf-cando-2023-05.csv") -> None:
        """Imports the rows by the gateway's admin, in this process."""
        arguments = ["admin", "catalogue", "import", str(write_list(self.folder / name, rows)), *options]
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            assert admin.main(arguments, lambda: self.file, Path) == 0

    def imported(self, rows: Iterable[Mapping[str, str]], *options: str, name: str = "jf-cando-2023-05.csv") -> str:
        """Imports the rows, which must succeed; what was said."""
        status, out, err = self.nidan("import", str(write_list(self.folder / name, rows)), *options)
        assert (status, err) == (0, ""), err
        return out
