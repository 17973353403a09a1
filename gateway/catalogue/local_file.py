"""The file of imported entries, which a running gateway reads again when it changes.

It holds JSON lines: a header with the format and the number of entries, then one entry per line. A write syncs a draft
and renames it, so that no reader sees half a file. Imported entries come from this machine's lists and stay on it.
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

MOST_ENTRIES = 100_000
_FORMAT = "nidan-catalogue-1"
_ENTRY = TypeAdapter(CanDo)
_ANEW = "Move it away and import the lists again (nidan catalogue import FILE)."


_MOST_BYTES = 64 * 1024 * 1024
"""A published list takes a hundredth of it."""


class CatalogueFileError(Exception):
    """The file cannot be read or written. The message says why and what to do. The file has not changed."""


def read(file: Path) -> tuple[CanDo, ...]:
    """The entries in the order of their import; empty without a file. Raises CatalogueFileError."""
    try:
        data = files.read_regular(file, _MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise CatalogueFileError(f"cannot read {file}: {error.strerror or error}.") from error
    if len(data) > _MOST_BYTES:
        raise CatalogueFileError(
            f"{file} has more than {_MOST_BYTES:,} bytes, so `nidan catalogue import` did not write it."
        )
    lines = data.split(b"\n")
    expected = _expected(file, lines[0])
    entries = tuple(_entry(file, number, line) for number, line in enumerate(lines[1:], start=2) if line)
    if len(entries) != expected:
        raise CatalogueFileError(f"{file} holds {len(entries):,} of its {expected:,} entries: it is truncated. {_ANEW}")
    return entries


def _expected(file: Path, head: bytes) -> int:
    with contextlib.suppress(ValueError):
        header = json.loads(head)
        if isinstance(header, dict) and header.get("format") == _FORMAT and isinstance(header.get("entries"), int):
            return int(header["entries"])
    raise CatalogueFileError(
        f"{file} is not a catalogue from `nidan catalogue import` (its first line does not say {_FORMAT}). "
        "Import a list (CSV, TSV) into another file."
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
        raise CatalogueFileError(f"{file}, line {number}: the text of {entry.ids[0]} differs from the import. {_ANEW}")
    return entry


def write(file: Path, entries: Sequence[CanDo]) -> None:
    """Replaces the file, or leaves it unchanged. Raises CatalogueFileError.

    Call it under `locked`, because all drafts have the same name.
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
            f"cannot write {file}: {error.strerror or error}. Nothing was imported; the catalogue has not changed."
        ) from error


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lets one import at a time into the block, among all processes. The system frees the lock of a killed process.

    Raises CatalogueFileError at once when another import holds the lock.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(files.locked(file))
        except BlockingIOError as error:
            raise CatalogueFileError(f"another import into {file} is running. Wait until it ends.") from error
        except OSError as error:
            raise CatalogueFileError(f"cannot write beside {file}: {error.strerror or error}.") from error
        yield


class LiveCatalogue:
    """The shipped entries with the imported ones of a file that may change at any time.

    The constructor raises CatalogueFileError when it cannot read the file. Later the last good entries stay in use, and
    the log has one `catalogue_not_read` for each bad state of the file.
    """

    def __init__(self, shipped: Catalogue, file: Path) -> None:
        self._shipped = shipped
        self._file = file
        self._seen = files.stamp(file)
        self._catalogue = shipped.with_imported(read(file))
        self._reading = asyncio.Lock()

    async def current(self) -> Catalogue:
        """The current catalogue. Costs one stat; one thread reads a changed file for all callers."""
        if files.stamp(self._file) != self._seen:
            async with self._reading:
                await self._read()
        return self._catalogue

    async def _read(self) -> None:
        stamp = files.stamp(self._file)  # taken before reading, so that the next call notices a change made meanwhile
        if stamp == self._seen:
            return
        # The log takes 100 ms to import, and the admin, which writes none, needs this module, too.
        from servicekit.telemetry import logger  # noqa: PLC0415

        try:
            imported = await asyncio.to_thread(read, self._file)
            self._catalogue = await asyncio.to_thread(self._shipped.with_imported, imported)
            logger().info("catalogue_read", file=str(self._file), entries_imported=len(imported))
        except CatalogueFileError as error:
            logger().error(
                "catalogue_not_read", file=str(self._file), error=str(error), note="the last good entries are in use"
            )
        self._seen = stamp
