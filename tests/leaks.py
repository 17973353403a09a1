"""What a test may not leave behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from tests.trio import until

_LISTENING = "0A"


class Opened:
    """What this process holds open: what a test and its services must have given back by their end."""

    def __init__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._connections = _connections()

    async def given_back(self) -> None:
        """Fails when a task or a TCP connection is left that was not there before; this task is its caller's."""
        known = {*self._tasks, asyncio.current_task()}
        await until(lambda: not asyncio.all_tasks() - known and not _connections() - self._connections)


def _connections() -> set[str]:
    """The TCP connections that this process holds, by inode. What only the kernel still remembers has none.

    Listeners are left out: the one of /metrics notices within half a second that it is to end, and no caller can tell.
    """
    held = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            held.add(str(descriptor.readlink()))
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    sockets = {fields[9]: fields[3] for fields in map(str.split, lines)}
    return {inode for inode, state in sockets.items() if f"socket:[{inode}]" in held and state != _LISTENING}
