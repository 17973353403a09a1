"""Serves a registry to Prometheus over HTTP: few connections, each for a short time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

MAX_CONNECTIONS: Final = 32
"""With more, the oldest is closed: a scraper needs one, for a moment."""
_SECONDS: Final = 10.0
"""For one connection: its request and its answer."""
_HEAD_BYTES: Final = 8 * 1024


@contextlib.asynccontextmanager
async def metrics_served(registry: CollectorRegistry, host: str, port: int) -> AsyncIterator[int]:
    """Serves inside the block, which gets the port. Raises OSError when it is taken."""
    open_now: dict[asyncio.Task[None], None] = {}
    """In the order in which they came."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the server runs it as a task
        while len(open_now) >= MAX_CONNECTIONS:
            oldest = next(iter(open_now))
            del open_now[oldest]
            oldest.cancel()
        open_now[task] = None
        try:
            async with asyncio.timeout(_SECONDS):
                await _answer(registry, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
            if task in open_now:
                raise
        finally:
            open_now.pop(task, None)
            writer.close()

    try:
        server = await asyncio.start_server(connection, host, port, limit=_HEAD_BYTES)
    except OSError as error:
        raise OSError(f"cannot serve metrics on {host}, port {port}: {error.strerror or error}") from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _answer(registry: CollectorRegistry, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.split("\r\n")
    method, _, rest = line.partition(" ")
    target = urlsplit(rest.partition(" ")[0])
    if method not in ("GET", "HEAD"):
        status, kind, body = "405 Method Not Allowed", "text/plain", b"Only GET and HEAD are served here.\n"
    elif target.path not in ("/", "/metrics"):
        status, kind, body = "404 Not Found", "text/plain", b"The metrics are at /metrics.\n"
    else:
        accepted = next((one.partition(":")[2].strip() for one in lines if one.lower().startswith("accept:")), "")
        encode, kind = choose_encoder(accepted)
        names = parse_qs(target.query).get("name[]", [])
        shown = registry.restricted_registry(names) if names else registry
        # Takes some milliseconds, which the loop does not have.
        status, body = "200 OK", await asyncio.to_thread(encode, shown)
    told = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(told.encode() + (b"" if method == "HEAD" else body))
    await writer.drain()
