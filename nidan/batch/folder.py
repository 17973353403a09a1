"""The directory of a batch: locked for one run, with the lessons that earlier runs left there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nidan.batch.result import Outcome, Result
from nidan.batch.rows import LEVELS, Row, RowsError
from nidan.terminal.output import OutputError

# A killed run leaves drafts behind: hidden files beside the lessons' places, which take room.
_DRAFT = re.compile(r"\.\d{3,}-.+\.[a-z0-9_]{8}")


@contextlib.contextmanager
def locked_folder(path: Path) -> Iterator[None]:
    """Makes the directory and locks it inside the block. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror or error}. Name another --out.") from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(number)
        raise OutputError(f"another nidan batch is writing to {path}. Wait for it, or name another --out.") from error
    except OSError:
        pass  # a file system without locks
    try:
        _remove_drafts(path)
        yield
    finally:
        os.close(number)


def _remove_drafts(path: Path) -> None:
    for file in path.iterdir():
        if _DRAFT.fullmatch(file.name):
            file.unlink(missing_ok=True)


def existing_results(rows: Sequence[Row], folder: Path) -> list[Result]:
    """A result for each row whose lesson exists. Raises RowsError where another file is in its place."""
    found, problems = [], []
    for row in rows:
        file = folder / row.file_name
        if file.is_symlink() or (file.exists() and not file.is_file()):
            problems.append(f"row {row.number}: {file} is a link or no file, and is not followed")
        elif file.exists():
            try:
                found.append(_existing_result(row, file))
            except ValueError as error:
                problems.append(f"row {row.number}: {file} is there, and {error}")
    if problems:
        raise RowsError("Files are in the way; --again replaces them, another --out leaves them alone.", *problems)
    return found


def _existing_result(row: Row, file: Path) -> Result:
    """Raises ValueError, saying what the file is."""
    try:
        master = json.loads(file.read_bytes())
        metadata = master["metadata"]
        outcome = Outcome(metadata["outcome"])
        level = LEVELS[master["originalLevel"] - 1]
        found = {"topic": metadata["topic"], "level": level, "language": metadata["learnerLanguage"]}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError("is no lesson") from error
    for name, value in found.items():
        wanted = getattr(row, name)
        if wanted and wanted != value:
            raise ValueError(f"is a lesson of {name} {value}, not {wanted}")
    reason = "" if outcome is Outcome.COMPLETE else _missing_sections(metadata)
    return Result(row, outcome, file=file, reason=reason, already_there=True)


def _missing_sections(metadata: Mapping[str, Any]) -> str:
    states = metadata.get("sectionStates", {})
    return ", ".join(f"{name} is {state.lower()}" for name, state in states.items() if state != "ENHANCED")
