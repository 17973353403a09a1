"""Cuts the bytes of a server-sent event stream into its data lines."""

from __future__ import annotations

DONE = b"[DONE]"
"""The data line that ends a stream of the chat API."""


class StreamTooLargeError(ValueError):
    """The stream is far larger than any answer."""


class EventStream:
    """Feeds on chunks of any size. Other lines than `data:`, such as comments, are dropped."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` bounds the whole stream, envelopes and comments included."""
        self._room = max_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads of the data lines that end in this chunk. Raises StreamTooLargeError."""
        self._room -= len(chunk)
        if self._room < 0:
            raise StreamTooLargeError("the stream is far larger than any answer")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line[5:] for line in lines if line.startswith(b"data:")]
