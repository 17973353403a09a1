"""A command's output: to stdout, or to a file, whole or not at all."""

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
"""Guards the umask: it belongs to the process, and reading it means changing it."""


class OutputError(Exception):
    """Output could not be written. The message says where and why."""


class Output:
    """Takes a command's one result. It tries the path at once, so that no paid lesson is lost. Raises OutputError.

    A file changes only when all of it is on the disk: Output writes a draft beside it and renames it. It writes
    devices and pipes (/dev/stdout) directly. It reserves `reserve_bytes` of the disk at once, so that a full disk shows
    before the lesson starts.
    """

    def __init__(self, path: Path | None, reserve_bytes: int = 0, *, follow: bool = True) -> None:
        """`follow`: a link is followed, and its target replaced; otherwise it is refused."""
        if path is not None and not follow and path.is_symlink():
            raise OutputError(f"cannot write {path}: it is a link. Remove it, or name another --out.")
        self._path = None if path is None else path.resolve()  # replaces the target of a link, not the link
        self._draft: Path | None = None
        if self._path is None and sys.stdout is None:
            raise OutputError("cannot write standard output: it is closed.")
        if self._path is not None and _is_place_for_a_file(self._path):
            with _as_output_error(self._path):
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
        """Writes UTF-8. Call it once for a file, as often as needed for stdout."""
        data = text.encode("utf-8", "replace")
        if self._path is None:
            with _as_output_error("standard output"):
                sys.stdout.flush()
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        elif self._draft is None:
            with _as_output_error(self._path):
                self._path.write_bytes(data)
        else:
            with _as_output_error(self._path):
                self._replace(self._draft, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes an unfinished draft. The file stays as it was."""
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)

    def _replace(self, draft: Path, data: bytes) -> None:
        assert self._path is not None  # noqa: S101 - only a path has a draft
        with draft.open("r+b") as file:  # overwrites the reserved bytes and gives back the rest
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(_mode(self._path))
        draft.replace(self._path)
        self._draft = None


@dataclass(frozen=True)
class Screen:
    """The screen to lay text out for."""

    columns: int = _PLAIN_COLUMNS
    terminal: bool = False
    colour: bool = False

    @classmethod
    def of_stdout(cls) -> Screen:
        """The terminal at its present width, or plain text where stdout is no terminal."""
        columns = shutil.get_terminal_size((_PLAIN_COLUMNS, 24)).columns
        terminal = sys.stdout is not None and sys.stdout.isatty()
        return cls(columns, terminal, terminal and os.environ.get("TERM") != "dumb")


def _is_place_for_a_file(path: Path) -> bool:
    with _as_output_error(path):
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a directory; name a file in it.")
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"cannot write {path}: it is write-protected.")
        return path.is_file() or not path.exists()


def _mode(path: Path) -> int:
    """The mode of the existing file, else that of a new file under the umask."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    with _UMASK:
        umask = os.umask(0)
        os.umask(umask)
    return 0o666 & ~umask


def _reserve(number: int, size: int) -> None:
    """Reserves disk space for an open file, where the file system can."""
    if not size or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(number, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise


@contextlib.contextmanager
def _as_output_error(place: Path | str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader is gone; no error
    except OSError as error:
        raise OutputError(f"cannot write {place}: {error.strerror or error}.") from error
