"""HTTP/2 frames by hand, for what no client library would send."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from typing import Any

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def headers(stream: int, path: str, more: Iterable[tuple[str, str]] = ()) -> bytes:
    """The headers of a call, without compression."""
    fields = [(":path", path), (":authority", "x"), ("te", "trailers"), ("content-type", "application/grpc"), *more]
    block = b"\x83\x86" + b"".join(_literal(name) + _literal(value, name=False) for name, value in fields)
    return frame(HEADERS, END_HEADERS, stream, block)


def _literal(text: str, *, name: bool = True) -> bytes:
    size = len(text)
    length = bytes([size]) if size < 127 else bytes([127, (size - 127) & 0x7F | 0x80, (size - 127) >> 7])
    return (b"\x00" if name else b"") + length + text.encode()


def message(request: Any) -> bytes:
    body: bytes = request.SerializeToString()
    return b"\x00" + struct.pack(">I", len(body)) + body


async def connected(port: int, window: int | None = None) -> asyncio.StreamWriter:
    """A connection that never reads; `window` is how much of each reply it lets the server send."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    settings = b"" if window is None else struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
    writer.write(PREFACE + frame(SETTINGS, 0, 0, settings))
    return writer
