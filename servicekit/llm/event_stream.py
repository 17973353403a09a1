"""Reads a server-sent event stream, as the standard says: https://html.spec.whatwg.org/multipage/server-sent-events.html

More is accepted than the standard allows: an event at the end without its empty line, `[DONE]` without one, and
llama.cpp's `error: {…}` lines.
"""

from __future__ import annotations

DONE = b"[DONE]"
"""The data that ends a stream of the chat API."""
MAX_LINE_BYTES = 3 * 1024 * 1024
"""A whole lesson in one event, each character escaped, takes less."""
_BOM = b"\xef\xbb\xbf"


class StreamTooLargeError(ValueError):
    """The stream, or one event of it, is far larger than any answer."""


class ErrorEvent(bytes):
    """The data of an event that is named `error`, or of a field `error`."""


class EventStream:
    """Feeds on chunks of any size and keeps what is not complete yet."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` bounds the whole stream, envelopes and comments included."""
        self._room = max_bytes
        self._begun = False
        self._after_cr = False
        self._rest: list[bytes] = []
        """Pieces of a line whose end has not come."""
        self._rest_bytes = 0
        self._data: list[bytes] = []
        """Data lines of the event that has not ended."""
        self._kind = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that end in this chunk. Raises StreamTooLargeError."""
        self._room -= len(chunk)
        if self._room < 0:
            raise StreamTooLargeError("the stream is far larger than any answer")
        if b"\r" in chunk or self._after_cr:
            chunk = self._with_newlines(chunk)
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest, self._rest_bytes = [], 0
        if rest:
            self._rest.append(rest)
            self._rest_bytes += len(rest)
            if self._rest_bytes > MAX_LINE_BYTES:
                raise StreamTooLargeError("a line of the stream is far larger than any answer")
        return self._events(lines)

    def end(self) -> list[bytes]:
        """The stream has ended: the data of an event that lacks its empty line."""
        rest, self._rest = self._rest, []
        return self._events([b"".join(rest), b""])

    def _with_newlines(self, chunk: bytes) -> bytes:
        r"""The chunk with \n for each line end. A \r\n can be cut between two chunks."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r") or (self._after_cr and not chunk)
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events: list[bytes] = []
        if lines and not self._begun:
            self._begun = True
            lines[0] = lines[0].removeprefix(_BOM)
        for line in lines:
            if not line:
                self._dispatch(events)
            elif line.startswith(b"data:"):
                data = line[6:] if line[5:6] == b" " else line[5:]
                self._data.append(data)
                if data.strip() == DONE:
                    self._dispatch(events)
            elif not line.startswith(b":"):
                self._field(line, events)
        return events

    def _field(self, line: bytes, events: list[bytes]) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(b"")
        elif name == b"event":
            self._kind = value.strip()
        elif name == b"error":
            events.append(ErrorEvent(value.strip()))

    def _dispatch(self, events: list[bytes]) -> None:
        """Ends an event. One without data is a sign of life, and says nothing."""
        data, kind = b"\n".join(self._data), self._kind
        self._data, self._kind = [], b""
        if kind == b"error":
            events.append(ErrorEvent(data))
        elif data:
            events.append(data)
