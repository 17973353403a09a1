"""`python -m gateway admin catalogue|keys …`: an operator's commands on the gateway's own files.

An interface for programs: JSON lines on stdout, each with its `kind` (entry, key, progress, fault, summary, error), and
exit status 0, 1 (the last line is the error) or 2 (wrong usage, on stderr). People use `nidan catalogue` and
`nidan keys`.
"""

from __future__ import annotations

import argparse
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
from gateway.catalogue import list_import
from gateway.catalogue.entries import CanDo, Catalogue, normalised
from gateway.catalogue.list_import import CanDoList, ListError, Merged
from gateway.catalogue.local_file import CatalogueFileError, locked, read, write
from gateway.catalogue.search import search
from lesson.models import Level
from servicekit import files
from servicekit.safe_json import safe_dumps
from servicekit.settings import SettingsError

_MOST_ERRORS = 200
"""Errors that the output lists."""

_REASONS: Mapping[type[Exception], tuple[str, str]] = {
    ListError: ("LIST_NOT_READ", "{file}: "),
    CatalogueFileError: ("CATALOGUE_NOT_USABLE", "CATALOGUE_FILE: "),
    KeysFileError: ("KEYS_NOT_USABLE", ""),
    SettingsError: ("SETTINGS", ""),
}
"""The reason code, and a prefix of the message."""


class _RefusedError(Exception):
    """The command did nothing; `reason` is a code for programs."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def main(arguments: Sequence[str], catalogue_file: Callable[[], Path], keys_file: Callable[[], Path]) -> int:
    """Runs one command and returns the exit status. Both callables read a setting and may raise SettingsError."""
    options = _parser().parse_args(arguments)
    try:
        if options.area == "catalogue":
            options.command(options, catalogue_file())
        else:
            options.command(options, options.keys_file or keys_file())
        sys.stdout.buffer.flush()
    except _RefusedError as error:
        return _failed(error.reason, str(error))
    except (ListError, CatalogueFileError, KeysFileError, SettingsError) as error:
        reason, where = _REASONS[type(error)]
        return _failed(reason, f"{where.format(file=getattr(options, 'file', ''))}{error}")
    except BrokenPipeError:
        return 1  # the reader has closed the pipe
    return 0


def _failed(reason: str, message: str) -> int:
    _write_line("error", reason=reason, message=message)
    return 1


def _write_line(kind: str, **fields: Any) -> None:
    line = safe_dumps({"kind": kind, **fields})
    sys.stdout.buffer.write(line.encode("utf-8", "replace") + b"\n")
    if kind != "entry":  # there may be many, and the reader waits for the last line
        sys.stdout.buffer.flush()


# --- arguments --------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m gateway", description="Without arguments: starts the gateway.")
    admin = top.add_subparsers(required=True, metavar="admin").add_parser("admin", help="the gateway's own files")
    areas = admin.add_subparsers(required=True, metavar="catalogue|keys", dest="area")
    _add_keys(areas.add_parser("keys", help="callers' keys"))
    commands = areas.add_parser("catalogue", help="the Can-do catalogue").add_subparsers(required=True)

    every = commands.add_parser("list", help="all entries, or some of them")
    every.add_argument("--topic", default="", help="part of the topic, Japanese or English")
    every.add_argument("--level", type=Level, choices=list(Level), help="A1 to C2")
    every.add_argument("--offline", action="store_true", help="only entries that the offline model has a lesson for")
    every.set_defaults(command=_list)

    one = commands.add_parser("show", help="the entry of an id, or the nearest ones")
    one.add_argument("id")
    one.set_defaults(command=_show)

    find = commands.add_parser("search", help="entries by words")
    find.add_argument("words", nargs="+")
    find.set_defaults(command=_search)

    take = commands.add_parser("import", help="rows of a CSV or TSV into CATALOGUE_FILE")
    take.add_argument("file", type=Path)
    take.add_argument("--source", type=_name, default=list_import.DEFAULT_SOURCE)
    take.add_argument("--edition", type=_name, help="default: from the file's name")
    take.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
    take.set_defaults(command=_import)
    return top


def _add_keys(area: argparse.ArgumentParser) -> None:
    area.add_argument("--file", type=Path, dest="keys_file", help="default: GATEWAY_KEYS_FILE")
    commands = area.add_subparsers(required=True)
    add = commands.add_parser("add", help="makes a key and prints it, once")
    add.add_argument("name", type=_name)
    add.add_argument("--scope", type=Scope, choices=list(Scope), action="append", required=True, dest="scopes")
    add.add_argument("--expires-days", type=float)
    add.add_argument("--lessons-per-minute", type=float)
    add.add_argument("--daily-cost-usd", type=float)
    add.add_argument("--lessons-at-once", type=int)
    add.set_defaults(command=_add_key)
    commands.add_parser("list", help="every key, without its secret").set_defaults(command=_list_keys)
    revoke = commands.add_parser("revoke", help="revokes a key")
    revoke.add_argument("id")
    revoke.set_defaults(command=_revoke_key)


def _name(text: str) -> str:
    if not text.strip() or len(text) > 100 or not text.isprintable():
        raise argparse.ArgumentTypeError("a name of at most 100 letters")
    return text.strip()


# --- reading ----------------------------------------------------------------------------------------------------


def _catalogue(file: Path) -> Catalogue:
    return Catalogue.shipped().with_imported(read(file))


def _list(options: argparse.Namespace, file: Path) -> None:
    wanted = normalised(options.topic)
    catalogue = _catalogue(file)
    for entry in catalogue.entries:
        topics = [normalised(topic) for topic in (*entry.topics, entry.topic_en)]
        on_topic = any(wanted in topic for topic in topics)
        if on_topic and options.level in (None, entry.level) and (entry.offline or not options.offline):
            _write_line("entry", **_fields(entry))
    _write_line(
        "summary", topics=list(dict.fromkeys(topic for entry in catalogue.entries for topic in entry.topics[:1]))
    )


def _show(options: argparse.Namespace, file: Path) -> None:
    catalogue = _catalogue(file)
    entry = catalogue.find(options.id)
    if entry is not None:
        _write_line("entry", **_fields(entry))
        return
    unknown = catalogue.unknown(options.id)
    raise _RefusedError("KNOWN_FORM" if unknown.known_form else "UNKNOWN_CAN_DO", unknown.message)


def _search(options: argparse.Namespace, file: Path) -> None:
    for entry in search(_catalogue(file).entries, options.words):
        _write_line("entry", **_fields(entry))


def _fields(entry: CanDo) -> dict[str, Any]:
    """The entry's fields. The line has a `kind` of its own, so the entry's is `list_kind`."""
    fields = asdict(entry)
    return {"list_kind": fields.pop("kind"), **fields}


# --- importing --------------------------------------------------------------------------------------------------


def _import(options: argparse.Namespace, file: Path) -> None:
    edition = options.edition or list_import.edition_of(options.file.name)
    data = list_import.load(options.file)
    found = list_import.read_list(data, options.source, edition, lambda rows: _write_line("progress", rows=rows))
    if found.errors:
        _refuse(found)
    merged = _dry(found, file) if options.dry_run else _written(found, file)
    _write_line(
        "summary",
        source=options.source,
        edition=edition,
        edition_given=options.edition is not None,
        file=str(file),
        dry_run=options.dry_run,
        rows=found.rows,
        new=merged.new,
        updated=merged.updated,
        unchanged=merged.unchanged,
        overruled=[{"source": key[0], "edition": key[1], "ids": ids} for key, ids in merged.overruled.items()],
        ignored_columns=list(found.ignored_columns),
        unknown_activities=dict(found.unknown_activities),
    )


def _refuse(found: CanDoList) -> NoReturn:
    for error in found.errors[:_MOST_ERRORS]:
        _write_line("fault", **asdict(error))
    rows = len({error.line for error in found.errors})
    listed = f" Only the first {_MOST_ERRORS} errors are listed." if len(found.errors) > _MOST_ERRORS else ""
    raise _RefusedError(
        "ROWS_REJECTED", f"{rows:,} of {found.rows:,} rows have errors, so nothing was imported.{listed}"
    )


def _dry(found: CanDoList, file: Path) -> Merged:
    return list_import.merge(read(file), found.entries)


def _written(found: CanDoList, file: Path) -> Merged:
    with locked(file):
        before = read(file)
        merged = list_import.merge(before, found.entries)
        if merged.entries != before:
            write(file, merged.entries)
    return merged


# --- keys -------------------------------------------------------------------------------------------------------


def _add_key(options: argparse.Namespace, file: Path) -> None:
    """The only command that prints the key itself."""
    token, key_id = keys.new_token()
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        key = Key(
            id=key_id,
            name=options.name,
            hash=keys.hashed(token),
            scopes=tuple(dict.fromkeys(options.scopes)),
            created=now,
            expires=None if options.expires_days is None else now + timedelta(days=options.expires_days),
            lessons_per_minute=options.lessons_per_minute,
            daily_cost_usd=options.daily_cost_usd,
            lessons_at_once=options.lessons_at_once,
        )
    except (ValidationError, OverflowError) as error:
        raise _RefusedError("KEY_NOT_MADE", "a limit or the time until it expires is out of range.") from error
    with _keys_changed(file) as before:
        if len(before) >= keys.MOST_KEYS:
            raise _RefusedError("TOO_MANY_KEYS", f"{file} holds {len(before):,} keys, the most that it may.")
        keys.write(file, [*before, key])
    _write_line("key", **_key_fields(key, now), key=token)


def _list_keys(_options: argparse.Namespace, file: Path) -> None:
    now = datetime.now(UTC)
    for key in keys.read(file):
        _write_line("key", **_key_fields(key, now))


def _revoke_key(options: argparse.Namespace, file: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    with _keys_changed(file) as before:
        key = next((key for key in before if key.id == options.id), None)
        if key is None:
            raise _RefusedError("UNKNOWN_KEY", f"no key in {file} has the id {options.id!r}.")
        revoked = key.model_copy(update={"revoked": key.revoked or now})
        keys.write(file, [revoked if other is key else other for other in before])
    _write_line("key", **_key_fields(revoked, now))


@contextmanager
def _keys_changed(file: Path) -> Iterator[tuple[Key, ...]]:
    """Locks the keys file and yields its keys; none when it does not exist."""
    with ExitStack() as held:
        try:
            held.enter_context(files.locked(file))
        except BlockingIOError as error:
            raise KeysFileError(f"another command is changing {file}. Wait until it has ended.") from error
        except OSError as error:
            raise KeysFileError(f"cannot write beside {file}: {error.strerror or error}.") from error
        yield keys.read(file) if file.exists() else ()


def _key_fields(key: Key, now: datetime) -> dict[str, Any]:
    """Every field but the hash."""
    return key.model_dump(mode="json", exclude={"hash"}) | {"state": key.state(now)}
