"""Files that change while a process runs: told apart by a stamp, replaced whole, one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

Stamp = tuple[int, ...]
"""Tells one state of a file from another: a renamed file has another inode, an edited one another time or size."""


def stamp(file: Path) -> Stamp:
    """Empty when there is no file; the error's number when the system does not say. Never raises."""
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        return (error.errno or 0,)
    return status.st_ino, status.st_mtime_ns, status.st_size


def replace(file: Path, parts: Iterable[bytes], mode: int | None = None) -> None:
    """Replaces the file, or leaves it as it was: written beside its place, synced, renamed. A link stays a link.

    `mode` is the permissions that it has then; None: those that it had. Raises OSError. Only under `locked`: the draft
    has one name.
    """
    place = Path(os.path.realpath(file))
    draft = place.with_name(f".{place.name}.new")
    if mode is None and place.exists():
        mode = place.stat().st_mode & 0o777
    try:
        draft.unlink(missing_ok=True)  # of a writer that was killed
        # Never readable by more than it will be, not even while it is written.
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
        with os.fdopen(number, "wb") as sink:
            if mode is not None:
                os.fchmod(number, mode)
            sink.writelines(parts)
            sink.flush()
            os.fsync(number)
        draft.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    """The rename itself, on the disk; where a file system cannot do that, the file is there all the same."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Held by one writer at a time, among all processes; the system frees it however that ends.

    Raises BlockingIOError at once when another one holds it, and OSError when nothing can be written there.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
