"""What the C core of gRPC writes to standard error, as lines of our log.

It writes a line for each handshake that fails, in a format of its own and as fast as a stranger likes. Here such lines
become one log line for each source in ten seconds, with the number of those left out. All else passes unchanged.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

from servicekit.safe_json import one_safe_line
from servicekit.telemetry import logger

_LINE: Final = re.compile(rb"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([\w./-]+):\d+\] (.*)", re.DOTALL)
_EVERY_SECONDS: Final = 10.0
_STDERR: Final = 2


@contextlib.contextmanager
def native_lines_logged() -> Iterator[None]:
    """Inside the block, standard error goes through a pipe and a thread that reads it."""
    sys.stderr.flush()
    real = os.dup(_STDERR)
    read, write = os.pipe()
    os.dup2(write, _STDERR)
    os.close(write)
    thread = threading.Thread(target=_forward, args=(read, real), name="native-lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(real, _STDERR)  # closes the pipe's last writer, so that the thread comes to its end
        thread.join(timeout=1.0)
        os.close(real)


def _forward(read: int, real: int) -> None:
    told: dict[bytes, float] = {}
    left_out: dict[bytes, int] = {}
    with open(read, "rb") as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                os.write(real, line)
                continue
            source, now = found[1], time.monotonic()
            if now - told.get(source, -_EVERY_SECONDS) < _EVERY_SECONDS:
                left_out[source] = left_out.get(source, 0) + 1
                continue
            told[source] = now
            logger().warning(
                "grpc_core_line",
                source=source.decode(),
                line=one_safe_line(found[2].decode("utf-8", "replace"), 300),
                more_since_the_last_line=left_out.pop(source, 0),
            )
