"""What a command hands over: to stdout, or whole to a file or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_PLAIN_COLUMNS = 80
_PREFIX_CHARACTERS = 40
_UMASK = threading.Lock()
"""It is the process's own, and can only be read by changing it."""


class OutputError(Exception):
    """What was made could not be written; says where and why."""


class Output:
    """Where a command's one result goes. A path is tried at once, so that no lesson is paid for and then lost.

    A file appears, or changes, only when all of it is on the disk: it is written beside its place and renamed. Devices
    and pipes (/dev/stdout) are written as they are. `reserve_bytes` of the disk are taken at once, so that a disk that
    is too full is known before there is anything to lose. Raises OutputError.
    """

    def __init__(self, path: Path | None, reserve_bytes: int = 0) -> None:
        self._path = None if path is None else path.resolve()  # a link stays a link; what it means is replaced
        self._draft: Path | None = None
        if self._path is None and sys.stdout is None:
            raise OutputError("cannot write standard output: it is closed.")
        if self._path is not None and _is_place_for_a_file(self._path):
            with _told(self._path):
                prefix = f".{self._path.name[:_PREFIX_CHARACTERS]}."
                number, name = tempfile.mkstemp(prefix=prefix, dir=self._path.parent)
                self._draft = Path(name)
                try:
                    _reserve(number, reserve_bytes)
                except OSError:
                    self._draft.unlink()
                    raise
                finally:
                    os.close(number)

    def write(self, text: str) -> None:
        """Hands the text over as UTF-8: to a file once, to stdout as often as there is more of it."""
        data = text.encode("utf-8", "replace")
        if self._path is None:
            with _told("standard output"):
                sys.stdout.flush()
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        elif self._draft is None:
            with _told(self._path):
                self._path.write_bytes(data)
        else:
            with _told(self._path):
                self._replace(self._draft, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A draft that was not finished goes; the file itself is left as it was."""
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)

    def _replace(self, draft: Path, data: bytes) -> None:
        assert self._path is not None  # noqa: S101 - a draft is always for a path
        with draft.open("r+b") as file:  # what was reserved is written over, and only the rest of it given back
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(_mode(self._path))
        draft.replace(self._path)
        self._draft = None


@dataclass(frozen=True)
class Screen:
    """What text is laid out for."""

    columns: int = _PLAIN_COLUMNS
    terminal: bool = False
    colour: bool = False

    @classmethod
    def of_stdout(cls) -> Screen:
        """A terminal as wide as it is now, or plain text where stdout is none."""
        columns = shutil.get_terminal_size((_PLAIN_COLUMNS, 24)).columns
        terminal = sys.stdout is not None and sys.stdout.isatty()
        return cls(columns, terminal, terminal and os.environ.get("TERM") != "dumb")


def _is_place_for_a_file(path: Path) -> bool:
    with _told(path):
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a directory; name a file in it.")
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"cannot write {path}: it is write-protected.")
        return path.is_file() or not path.exists()


def _mode(path: Path) -> int:
    """Of the file that is replaced, else what the umask gives a new one."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    with _UMASK:
        umask = os.umask(0)
        os.umask(umask)
    return 0o666 & ~umask


def _reserve(number: int, size: int) -> None:
    """Takes room on the disk for an open file; where a file system cannot, nothing is taken."""
    if not size or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(number, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise


@contextlib.contextmanager
def _told(place: Path | str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads any more: no error of ours
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}.") from error
