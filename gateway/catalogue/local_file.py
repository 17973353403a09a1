"""The file of imported entries: read whole, written whole, and watched by a gateway that runs.

JSON lines: a head that names the format and counts the entries, then an entry a line. Nobody ever sees half of it: it
is written beside its place, synced, and renamed. What is imported comes from one machine's own lists and stays on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gateway.catalogue.entries import CanDo, Catalogue, text_hash
from servicekit import files
from servicekit.telemetry import logger

MOST_ENTRIES = 100_000
_FORMAT = "nidan-catalogue-1"
_ENTRY = TypeAdapter(CanDo)
_ANEW = "Move it away and import the lists again (nidan catalogue import FILE)."


class CatalogueFileError(Exception):
    """The file cannot be read or written; says why and what to do. What it held before is unharmed."""


def read(file: Path) -> tuple[CanDo, ...]:
    """The entries in the order in which they were imported; none when there is no file. Raises CatalogueFileError."""
    try:
        lines = file.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise CatalogueFileError(f"cannot read {file}: {error.strerror or error}.") from error
    expected = _expected(file, lines[0])
    entries = tuple(_entry(file, number, line) for number, line in enumerate(lines[1:], start=2) if line)
    if len(entries) != expected:
        raise CatalogueFileError(f"{file} holds {len(entries):,} of its {expected:,} entries: it was cut. {_ANEW}")
    return entries


def _expected(file: Path, head: bytes) -> int:
    with contextlib.suppress(ValueError):
        header = json.loads(head)
        if isinstance(header, dict) and header.get("format") == _FORMAT and isinstance(header.get("entries"), int):
            return int(header["entries"])
    raise CatalogueFileError(
        f"{file} is no catalogue that `nidan catalogue import` wrote (its first line does not say {_FORMAT}). "
        "A list itself (CSV, TSV) is imported into another file."
    )


def _entry(file: Path, number: int, line: bytes) -> CanDo:
    try:
        entry = _ENTRY.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        problem = f"{where}: {first['msg']}" if where else first["msg"]
        raise CatalogueFileError(f"{file}, line {number}: {problem}. {_ANEW}") from error
    if not (entry.ids and entry.text_ja.strip()):
        raise CatalogueFileError(f"{file}, line {number}: an entry needs an id and a text. {_ANEW}")
    if entry.text_sha256 != text_hash(entry.text_ja, entry.text_en):
        raise CatalogueFileError(f"{file}, line {number}: the text of {entry.ids[0]} is not what was imported. {_ANEW}")
    return entry


def write(file: Path, entries: Sequence[CanDo]) -> None:
    """Replaces the file, or leaves it as it was. Raises CatalogueFileError.

    Only under `locked`: the draft has one name.
    """
    if len(entries) > MOST_ENTRIES:
        raise CatalogueFileError(
            f"{file} would hold {len(entries):,} entries; at most {MOST_ENTRIES:,}. Move it away first."
        )
    lines = (_ENTRY.dump_json(entry) + b"\n" for entry in entries)
    head = json.dumps({"format": _FORMAT, "entries": len(entries)}).encode() + b"\n"
    try:
        files.replace(file, itertools.chain([head], lines))
    except OSError as error:
        raise CatalogueFileError(
            f"cannot write {file}: {error.strerror or error}. Nothing was imported; the catalogue is as it was."
        ) from error


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Held by one import at a time, among all processes; the system frees it however that ends.

    Raises CatalogueFileError at once when another one holds it.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.locked(file))
        except BlockingIOError as error:
            raise CatalogueFileError(f"another import into {file} is under way. Wait until it has ended.") from error
        except OSError as error:
            raise CatalogueFileError(f"cannot write beside {file}: {error.strerror or error}.") from error
        yield


class LiveCatalogue:
    """The shipped entries under those of a file that may change at any time.

    Raises CatalogueFileError when the file cannot be read at first. Later the last good state is kept, and the log says
    so once for each state of the file: `catalogue_not_read`.
    """

    def __init__(self, shipped: Catalogue, file: Path) -> None:
        self._shipped = shipped
        self._file = file
        self._seen = files.stamp(file)
        self._catalogue = shipped.under(read(file))
        self._reading = asyncio.Lock()

    async def current(self) -> Catalogue:
        """The catalogue as the file says now. Costs one stat; a changed file is read in a thread, once for all."""
        if files.stamp(self._file) != self._seen:
            async with self._reading:
                await self._read()
        return self._catalogue

    async def _read(self) -> None:
        stamp = files.stamp(self._file)  # before reading: what changes meanwhile is a change to be seen
        if stamp == self._seen:
            return
        try:
            imported = await asyncio.to_thread(read, self._file)
            self._catalogue = await asyncio.to_thread(self._shipped.under, imported)
            logger().info("catalogue_read", file=str(self._file), entries_imported=len(imported))
        except CatalogueFileError as error:
            logger().error(
                "catalogue_not_read", file=str(self._file), error=str(error), note="the last good one is kept"
            )
        self._seen = stamp
