"""What a test may not leave behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from tests.trio import until


class Opened:
    """What this process holds open: what a test and its services must have given back by their end."""

    def __init__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._connections = _connections()

    async def given_back(self) -> None:
        """Fails when a task or a TCP socket is left that was not there before; this task is its caller's."""
        known = {*self._tasks, asyncio.current_task()}
        await until(lambda: not asyncio.all_tasks() - known and not _connections() - self._connections)


def _connections() -> set[str]:
    """The TCP sockets that this process holds, by inode. What only the kernel still remembers has none."""
    held = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            held.add(str(descriptor.readlink()))
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {inode for line in lines if f"socket:[{(inode := line.split()[9])}]" in held}
