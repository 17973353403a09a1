"""The gateway's Can-do catalogue, through its admin."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nidan.errors import Failure, GivenUpError
from nidan.services.admin import ask_admin

Entry = dict[str, Any]
"""An entry as the admin prints it; its own `kind` is named `list_kind`."""
_NEXT_STEPS = {
    "KNOWN_FORM": "`nidan catalogue search WORDS` finds entries by words.",
    "UNKNOWN_CAN_DO": "`nidan catalogue search WORDS` finds entries by words.",
    "ROWS_REJECTED": "Fix the rows that are named and import the file again.",
    "LIST_NOT_READ": "`nidan catalogue import --help` describes the file.",
    "CATALOGUE_NOT_USABLE": "CATALOGUE_FILE names the file; unset, it is ~/.nidan/catalogue.jsonl.",
    "SETTINGS": "Set or unset the variable that is named.",
}


@dataclass(frozen=True)
class CatalogueClient:
    """Each method raises GivenUpError for the admin's error, and BadParameter for wrong usage."""

    on_rows: Callable[[int], None]
    """Called with the number of rows read so far."""

    def list_entries(self, topic: str, level: str, offline: bool) -> list[Entry]:
        """The entries that match all three; empty and False match everything. At least one."""
        levels = [f"--level={level}"] if level else []
        return self._entries(["list", f"--topic={topic}", *levels, *(["--offline"] if offline else [])])

    def search(self, words: Sequence[str]) -> list[Entry]:
        """The entries that hold the words, the best first. At least one."""
        return self._entries(["search", "--", *words])

    def show(self, can_do_id: str) -> Entry:
        (entry,) = [line for line in self._ask(["show", "--", can_do_id]) if line["kind"] == "entry"]
        return entry

    def import_list(self, file: Path, source: str, edition: str, dry_run: bool) -> Generator[dict[str, Any]]:
        """The rejected rows, or the summary of the import, as the admin prints them."""
        options = [f"--{name}={value}" for name, value in (("source", source), ("edition", edition)) if value]
        return self._ask(["import", *options, *(["--dry-run"] if dry_run else []), "--", str(file)])

    def _entries(self, arguments: Sequence[str]) -> list[Entry]:
        lines = list(self._ask(arguments))
        found = [line for line in lines if line["kind"] == "entry"]
        if not found:
            raise _nothing_found([topic for line in lines if line["kind"] == "summary" for topic in line["topics"]])
        return found

    def _ask(self, arguments: Sequence[str]) -> Generator[dict[str, Any]]:
        return ask_admin(["catalogue", *arguments], _NEXT_STEPS, self.on_rows)


def _nothing_found(topics: Sequence[str]) -> GivenUpError:
    step = f"Topics: {', '.join(topics)}." if topics else "Try fewer or other words; `nidan catalogue list` shows all."
    return GivenUpError(Failure("NOTHING_FOUND", "no entry matches.", step, caller_fault=True))
