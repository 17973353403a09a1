"""Overrides: teachers' readings that replace those of rules, model and analyser wherever their context occurs.

The file has three tab-separated columns: the words as written; a piece of text that the sentence must contain (empty:
the override always applies); the reading in kana. Lines that begin with # are comments.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enhancer_service.japanese.script import is_ruby
from lesson.characters import character_problem

PACKAGED: Final = Path(__file__).parent / "data" / "overrides.tsv"


class OverridesError(ValueError):
    """An unusable overrides file; the message names the file, the line and the fault."""


@dataclass(frozen=True)
class Override:
    """`surface` has the reading `reading` in texts that contain `context`."""

    surface: str
    context: str
    reading: str


@dataclass(frozen=True)
class Overrides:
    """The active overrides, and a version that changes with any of them."""

    entries: tuple[Override, ...] = ()

    @property
    def version(self) -> str:
        lines = "\n".join(f"{entry.surface}\t{entry.context}\t{entry.reading}" for entry in self.entries)
        return f"overrides-{hashlib.sha256(lines.encode()).hexdigest()[:8]}" if self.entries else "overrides-none"

    def for_text(self, text: str) -> Mapping[str, str]:
        """Readings by surface for this text; an override with a context beats one without."""
        met = [entry for entry in self.entries if entry.surface in text and entry.context in text]
        return {entry.surface: entry.reading for entry in sorted(met, key=lambda entry: len(entry.context))}


def load_overrides(path: Path = PACKAGED) -> Overrides:
    """Reads an overrides file. Raises OverridesError for an unreadable file or a malformed line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OverridesError(f"{path}: cannot be read: {error}") from error
    return Overrides(tuple(_entries(path, lines)))


def _entries(path: Path, lines: Iterable[str]) -> Iterable[Override]:
    for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) != 3 or not row[0] or not is_ruby(row[2]):
            raise OverridesError(
                f"{path}, line {number}: expected words, context and a reading in kana with tabs between, "
                f"as in 今日は<tab><tab>こんにちは; found {row!r}"
            )
        if problem := next(filter(None, map(character_problem, row)), ""):
            raise OverridesError(f"{path}, line {number}: holds {problem}")
        yield Override(*row)
