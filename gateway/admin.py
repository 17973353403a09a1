"""`python -m gateway admin catalogue|keys …`: what an operator does to the gateway's own files.

A program's interface: JSON lines on stdout, each with its `kind` (entry, key, progress, fault, summary, error), and
an exit status of 0, 1 (the last line is the error) or 2 (wrong usage, on stderr). `nidan catalogue` and `nidan keys`
are the person's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from gateway.access import keys
from gateway.access.keys import Key, KeysFileError, Scope
from gateway.catalogue import list_import as importing
from gateway.catalogue.entries import CanDo, Catalogue, normalised
from gateway.catalogue.list_import import CanDoList, ListError, Merged
from gateway.catalogue.local_file import CatalogueFileError, locked, read, write
from gateway.catalogue.search import search
from lesson.models import Level
from servicekit import files
from servicekit.settings import SettingsError

_MOST_FAULTS = 200
"""Rows that are told in full; who has more mends those first."""


_REASONS: Mapping[type[Exception], tuple[str, str]] = {
    ListError: ("LIST_NOT_READ", "{file}: "),
    CatalogueFileError: ("CATALOGUE_NOT_USABLE", "CATALOGUE_FILE: "),
    KeysFileError: ("KEYS_NOT_USABLE", ""),
    SettingsError: ("SETTINGS", ""),
}
"""For programs, and what is said before the message."""


class _RefusedError(Exception):
    """Nothing was done; the reason is a word for programs."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def main(arguments: Sequence[str], catalogue_file: Callable[[], Path], keys_file: Callable[[], Path]) -> int:
    """Runs one command; the exit status. Each of the two reads a setting, and raises SettingsError."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.area == "catalogue":
            asked.command(asked, catalogue_file())
        else:
            asked.command(asked, asked.keys_file or keys_file())
        sys.stdout.buffer.flush()
    except _RefusedError as error:
        return _failed(error.reason, str(error))
    except (ListError, CatalogueFileError, KeysFileError, SettingsError) as error:
        reason, where = _REASONS[type(error)]
        return _failed(reason, f"{where.format(file=getattr(asked, 'file', ''))}{error}")
    except BrokenPipeError:
        return 1  # whoever asked is gone
    return 0


def _failed(reason: str, message: str) -> int:
    _tell("error", reason=reason, message=message)
    return 1


def _tell(kind: str, **fields: Any) -> None:
    line = json.dumps({"kind": kind, **fields}, ensure_ascii=False)
    sys.stdout.buffer.write(line.encode("utf-8", "replace") + b"\n")
    if kind != "entry":  # there may be many, and whoever asked waits for the last
        sys.stdout.buffer.flush()


# --- arguments --------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m gateway", description="Without arguments: starts the gateway.")
    admin = top.add_subparsers(required=True, metavar="admin").add_parser("admin", help="the gateway's own files")
    areas = admin.add_subparsers(required=True, metavar="catalogue|keys", dest="area")
    _add_keys(areas.add_parser("keys", help="callers' keys"))
    commands = areas.add_parser("catalogue", help="the Can-do catalogue").add_subparsers(required=True)

    every = commands.add_parser("list", help="entries, all or some")
    every.add_argument("--topic", default="", help="part of the topic, Japanese or English")
    every.add_argument("--level", type=Level, choices=list(Level), help="A1 to C2")
    every.add_argument("--offline", action="store_true", help="those that the offline model has a lesson for")
    every.set_defaults(command=_list)

    one = commands.add_parser("show", help="the entry of an id, or what is nearest")
    one.add_argument("id")
    one.set_defaults(command=_show)

    find = commands.add_parser("search", help="entries by words")
    find.add_argument("words", nargs="+")
    find.set_defaults(command=_search)

    take = commands.add_parser("import", help="rows of a CSV or TSV into CATALOGUE_FILE")
    take.add_argument("file", type=Path)
    take.add_argument("--source", type=_name, default=importing.DEFAULT_SOURCE)
    take.add_argument("--edition", type=_name, help="else what the file's name tells")
    take.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    take.set_defaults(command=_import)
    return top


def _add_keys(area: argparse.ArgumentParser) -> None:
    area.add_argument("--file", type=Path, dest="keys_file", help="else GATEWAY_KEYS_FILE")
    commands = area.add_subparsers(required=True)
    add = commands.add_parser("add", help="makes a key and tells it, once")
    add.add_argument("name", type=_name)
    add.add_argument("--scope", type=Scope, choices=list(Scope), action="append", required=True, dest="scopes")
    add.add_argument("--expires-days", type=float)
    add.add_argument("--lessons-per-minute", type=float)
    add.add_argument("--daily-cost-usd", type=float)
    add.add_argument("--lessons-at-once", type=int)
    add.set_defaults(command=_add_key)
    commands.add_parser("list", help="every key, without its secret").set_defaults(command=_list_keys)
    revoke = commands.add_parser("revoke", help="a key that counts no more")
    revoke.add_argument("id")
    revoke.set_defaults(command=_revoke_key)


def _name(text: str) -> str:
    if not text.strip() or len(text) > 100 or not text.isprintable():
        raise argparse.ArgumentTypeError("a name of at most 100 letters")
    return text.strip()


# --- reading ----------------------------------------------------------------------------------------------------


def _catalogue(file: Path) -> Catalogue:
    return Catalogue.shipped().under(read(file))


def _list(asked: argparse.Namespace, file: Path) -> None:
    wanted = normalised(asked.topic)
    catalogue = _catalogue(file)
    for entry in catalogue.entries:
        topics = [normalised(topic) for topic in (*entry.topics, entry.topic_en)]
        on_topic = any(wanted in topic for topic in topics)
        if on_topic and asked.level in (None, entry.level) and (entry.offline or not asked.offline):
            _tell("entry", **_told(entry))
    _tell("summary", topics=list(dict.fromkeys(topic for entry in catalogue.entries for topic in entry.topics[:1])))


def _show(asked: argparse.Namespace, file: Path) -> None:
    catalogue = _catalogue(file)
    entry = catalogue.find(asked.id)
    if entry is not None:
        _tell("entry", **_told(entry))
        return
    unknown = catalogue.unknown(asked.id)
    raise _RefusedError("KNOWN_FORM" if unknown.known_form else "UNKNOWN_CAN_DO", unknown.message)


def _search(asked: argparse.Namespace, file: Path) -> None:
    for entry in search(_catalogue(file).entries, asked.words):
        _tell("entry", **_told(entry))


def _told(entry: CanDo) -> dict[str, Any]:
    """The entry's neutral form; its own `kind` is the list's, so it travels as `list_kind`."""
    told = asdict(entry)
    return {"list_kind": told.pop("kind"), **told}


# --- importing --------------------------------------------------------------------------------------------------


def _import(asked: argparse.Namespace, file: Path) -> None:
    edition = asked.edition or importing.edition_of(asked.file.name)
    data = importing.load(asked.file)
    found = importing.read_list(data, asked.source, edition, lambda rows: _tell("progress", rows=rows))
    if found.faults:
        _refuse(found)
    merged = _dry(found, file) if asked.dry_run else _written(found, file)
    _tell(
        "summary",
        source=asked.source,
        edition=edition,
        edition_given=asked.edition is not None,
        file=str(file),
        dry_run=asked.dry_run,
        rows=found.rows,
        new=merged.new,
        updated=merged.updated,
        unchanged=merged.unchanged,
        overruled=[{"source": key[0], "edition": key[1], "ids": ids} for key, ids in merged.overruled.items()],
        ignored_columns=list(found.ignored_columns),
        unknown_activities=dict(found.unknown_activities),
    )


def _refuse(found: CanDoList) -> NoReturn:
    for fault in found.faults[:_MOST_FAULTS]:
        _tell("fault", **asdict(fault))
    rows = len({fault.line for fault in found.faults})
    told = f" The first {_MOST_FAULTS} faults are told." if len(found.faults) > _MOST_FAULTS else ""
    raise _RefusedError(
        "ROWS_REJECTED", f"{rows:,} of {found.rows:,} rows cannot be taken, so nothing was imported.{told}"
    )


def _dry(found: CanDoList, file: Path) -> Merged:
    return importing.merge(read(file), found.entries)


def _written(found: CanDoList, file: Path) -> Merged:
    with locked(file):
        before = read(file)
        merged = importing.merge(before, found.entries)
        if merged.entries != before:
            write(file, merged.entries)
    return merged


# --- keys -------------------------------------------------------------------------------------------------------


def _add_key(asked: argparse.Namespace, file: Path) -> None:
    """The one time that the key itself is told."""
    token, key_id = keys.new_token()
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        key = Key(
            id=key_id,
            name=asked.name,
            hash=keys.hashed(token),
            scopes=tuple(dict.fromkeys(asked.scopes)),
            created=now,
            expires=None if asked.expires_days is None else now + timedelta(days=asked.expires_days),
            lessons_per_minute=asked.lessons_per_minute,
            daily_cost_usd=asked.daily_cost_usd,
            lessons_at_once=asked.lessons_at_once,
        )
    except (ValidationError, OverflowError) as error:
        raise _RefusedError("KEY_NOT_MADE", "a limit or the time until it expires is out of range.") from error
    with _keys_changed(file) as before:
        if len(before) >= keys.MOST_KEYS:
            raise _RefusedError("TOO_MANY_KEYS", f"{file} holds {len(before):,} keys, the most that it may.")
        keys.write(file, [*before, key])
    _tell("key", **_told_key(key, now), key=token)


def _list_keys(_asked: argparse.Namespace, file: Path) -> None:
    now = datetime.now(UTC)
    for key in keys.read(file):
        _tell("key", **_told_key(key, now))


def _revoke_key(asked: argparse.Namespace, file: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    with _keys_changed(file) as before:
        key = next((key for key in before if key.id == asked.id), None)
        if key is None:
            raise _RefusedError("UNKNOWN_KEY", f"no key in {file} has the id {asked.id!r}.")
        revoked = key.model_copy(update={"revoked": key.revoked or now})
        keys.write(file, [revoked if other is key else other for other in before])
    _tell("key", **_told_key(revoked, now))


@contextmanager
def _keys_changed(file: Path) -> Iterator[tuple[Key, ...]]:
    """The keys of the file, none when there is no file; nobody else changes it inside the block."""
    with ExitStack() as held:
        try:
            held.enter_context(files.locked(file))
        except BlockingIOError as error:
            raise KeysFileError(f"another command is changing {file}. Wait until it has ended.") from error
        except OSError as error:
            raise KeysFileError(f"cannot write beside {file}: {error.strerror or error}.") from error
        yield keys.read(file) if file.exists() else ()


def _told_key(key: Key, now: datetime) -> dict[str, Any]:
    """Everything but the hash."""
    return key.model_dump(mode="json", exclude={"hash"}) | {"state": key.state(now)}
