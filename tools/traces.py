"""Makes the lesson of JF:349 offline with traces on, and prints its trace as a tree (`make traces`)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.tracing.collector import Collector, Seen, collector

SHOWN = (
    "rpc.response.status_code",
    "nidan.attempt.kind",
    "nidan.items",
    "nidan.outcome",
    "nidan.cost_usd",
    "error.type",
)


def lines(taken: Collector, span: Seen, depth: int = 0) -> Iterator[str]:
    shown = " ".join(f"{name.rpartition('.')[2]}={span.attributes[name]}" for name in SHOWN if name in span.attributes)
    head = "  " * depth + span.name
    yield f"{head:62} {span.kind:8} {(span.ended_ns - span.began_ns) / 1e6:6.0f} ms  {span.service:17} {shown}".rstrip()
    for below in sorted(taken.spans, key=lambda other: other.began_ns):
        if below.parent_id == span.id:
            yield from lines(taken, below, depth + 1)


async def main() -> int:
    async with collector() as taken:
        command = (sys.executable, "-m", "nidan", "generate", "JF:349", "--offline")
        env = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": taken.endpoint}
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.DEVNULL)
        if status := await process.wait():
            return status
    roots = [span for span in taken.spans if taken.parent(span) is None]
    for root in roots:
        print(f"trace {root.trace_id}")
        print("\n".join(lines(taken, root)))
    return int(len(roots) != 1)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
