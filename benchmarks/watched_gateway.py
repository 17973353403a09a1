"""The gateway with a heartbeat on its event loop: `STALLS_FILE=FILE python -m benchmarks.watched_gateway`.

Each line of the file is `kind at milliseconds`; `at` is the machine's monotonic clock. Kinds: `late`, how much later
than asked the loop came to the heartbeat's timer; `busy`, the CPU time that the loop's thread used between two beats;
`gc`, a pause of the garbage collector.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Any, Final, TextIO

import gateway.service as gateway_main
from gateway.settings import GatewaySettings
from servicekit.server import Service, start

BEAT_SECONDS: Final = 0.001
_LEAST_MS: Final = 0.2
"""Shorter ones are not written."""


async def build(settings: GatewaySettings) -> Service:
    """The gateway as `python -m gateway` builds it, watched."""
    log = Path(os.environ["STALLS_FILE"]).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115, ASYNC230 - for life
    service = await gateway_main.build(settings)
    _TASKS.add(asyncio.create_task(_beat(log)))
    _watch_collector(log)
    return service


_TASKS: Final[set[asyncio.Task[None]]] = set()


async def _beat(log: TextIO) -> None:
    while True:
        clock, cpu = time.monotonic(), time.thread_time()
        await asyncio.sleep(BEAT_SECONDS)
        now = time.monotonic()
        _write(log, "late", now, now - clock - BEAT_SECONDS)
        _write(log, "busy", now, time.thread_time() - cpu)


def _watch_collector(log: TextIO) -> None:
    began = 0.0

    def seen(phase: str, _info: dict[str, Any]) -> None:
        nonlocal began
        if phase == "start":
            began = time.monotonic()
        else:
            _write(log, "gc", time.monotonic(), time.monotonic() - began)

    gc.callbacks.append(seen)


def _write(log: TextIO, kind: str, at: float, seconds: float) -> None:
    if seconds * 1000 >= _LEAST_MS:
        log.write(f"{kind} {at:.6f} {seconds * 1000:.3f}\n")


if __name__ == "__main__":
    start(gateway_main.NAME, GatewaySettings, build)
