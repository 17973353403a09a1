"""Files that change while a process runs: stamps tell versions apart, a writer replaces the whole file under a lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

Stamp = tuple[int, ...]
"""Identifies one state of a file: a renamed file has another inode, an edited one another time or size."""


def read_regular(file: Path, most: int) -> bytes:
    """At most `most` + 1 bytes of a regular file. Raises OSError, also for a pipe or a device: none of them ends."""
    number = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as opened:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return opened.read(most + 1)


def stamp(file: Path) -> Stamp:
    """The file's stamp: empty when there is no file, the errno when it cannot be read. Never raises."""
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        return (error.errno or 0,)
    return status.st_ino, status.st_mtime_ns, status.st_size


def replace(file: Path, parts: Iterable[bytes], mode: int | None = None) -> None:
    """Replaces the file or leaves it as it was: writes a draft beside it, syncs and renames it. A link stays a link.

    `mode` sets the permissions; None keeps those of the old file. Raises OSError. Call it under `locked`: all writers
    use the same draft name.
    """
    place = Path(os.path.realpath(file))
    draft = place.with_name(f".{place.name}.new")
    if mode is None and place.exists():
        mode = place.stat().st_mode & 0o777
    try:
        draft.unlink(missing_ok=True)  # left by a writer that was killed
        # The draft has its final permissions from the start, so nobody else reads it while it is written.
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
    """Puts the rename on the disk. On a file system that cannot sync a folder, the file is in place all the same."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """A lock of one writer among all processes. The system frees it when the process ends, however it ends.

    Raises BlockingIOError at once when another process holds it, and OSError when the folder is not writable.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
