"""Finds where the top-level values of an object end, in text that arrives in pieces.

The scanner knows brackets, quotes and the few characters between top-level keys, and nothing of what is inside a value;
the caller parses each value's slice. The scanner is deliberately simple: at anything it does not know (Python repr,
smart quotes, full-width structure, comments or odd spaces *between* top-level keys) it stops for good, which delays
sections but never gives a wrong one. Time is linear in the text, about a microsecond per delta.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Literal, NamedTuple

from servicekit.llm.json_lossless import ODD_SPACE

ENVELOPES = frozenset({"lesson", "data", "result", "output", "response"})
MAX_CANDIDATES = 16

_REASONING = "think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis"
# Bounded, so that a tag cut by the end of a delta is at most `_LONGEST_TAG` characters long.
REASONING_TAG = re.compile(rf"<(?P<close>/?)(?P<name>{_REASONING})(?:\s[^<>{{}}]{{0,40}})?>", re.IGNORECASE)
_LONGEST_TAG = 64
_CUT_TAG = re.compile(r"<[^<>{}]*\Z")

# A `"key": {` that begins a line or follows JSON punctuation: the brace is no root, the root's own was lost before it.
_KEY_BEFORE = re.compile(r'(?:\A|[\n,:{\[])\s*"[^"\n]{0,100}"\s*:\s*\[?\s*\Z')


def end_of_reasoning(name: str) -> re.Pattern[str]:
    """The tag that ends the reasoning which the tag `name` began."""
    return re.compile(rf"</{name}\s{{0,4}}>", re.IGNORECASE)


def begins_inside_an_object(text: str, at: int) -> bool:
    """Whether the brace at `at` is the value of a key that belongs to no object: its own `{` was lost."""
    return _KEY_BEFORE.search(text[max(0, at - 200) : at]) is not None


class Event(NamedTuple):
    """`at` is the offset just after the character that made the event sure.

    key_opens: the opening quote of a key that is not the first. key: its closing quote and colon. value: the value of
    `key`, from `start` to `at`. root_closed: the outermost brace.
    """

    kind: Literal["key_opens", "key", "value", "root_closed"]
    at: int
    key: str = ""
    start: int = 0


_Search = Callable[[str, int], "re.Match[str] | None"]

_SEEK: _Search = re.compile(r"[{<｛]").search
_IN_VALUE: _Search = re.compile(r'["\[\]{}]').search
_IN_STRING: _Search = re.compile(r'"|\\.?', re.DOTALL).search
_NOTHING: _Search = re.compile(r"(?!)").search
_SPACE = re.compile(r"[ \t\r\n]+")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ODD = re.compile(f"['“”„＂/#｛{ODD_SPACE}]")
# Possessive: a word cut by the end of a delta must not give up its last letter to match.
_BARE_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*+\s*+(\S)")
_SCALAR = re.compile(r"[^\s,\]}]++(?=[\s,\]}])")
_LONGEST_WORD = 200


class _StateMachine:
    """Collects the text and hands it to the current state.

    A state is a method (buffer, position) -> position up to which it understands the buffer. A state that moves neither
    itself nor the position waits for more text. `_idle` finds the only characters at which the state can change; a
    delta without them is passed over, which makes feeding cheap.
    """

    def __init__(self) -> None:
        self._chunks: list[str] = []
        self._held = ""  # fed and not yet understood; begins at offset `_base`
        self._base = 0
        self._events: list[Event] = []
        self._state: Callable[[str, int], int] = self._pass_over
        self._idle: _Search | None = None

    def feed(self, delta: str) -> Sequence[Event]:
        """Take the next piece of text, of any length; the events it makes sure, in order."""
        self._chunks.append(delta)
        if not self._held and self._idle is not None and self._idle(delta, 0) is None:
            self._base += len(delta)
            return ()
        return self._understand(self._held + delta)

    def stop(self) -> None:
        """Give up: no more events, while text is still collected."""
        self._enter(self._pass_over, _NOTHING)

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The text fed so far, or a slice of it."""
        self._chunks = ["".join(self._chunks)]
        return self._chunks[0][start:end]

    def _understand(self, buffer: str) -> Sequence[Event]:
        self._events = []
        position = 0
        while position < len(buffer):
            before = (position, self._state)
            position = self._state(buffer, position)
            if before == (position, self._state):
                break
        self._held = buffer[position:]
        self._base += position
        return self._events

    def _pass_over(self, buffer: str, _: int) -> int:
        return len(buffer)

    def _enter(self, state: Callable[[str, int], int], idle: _Search | None = None) -> None:
        self._state = state
        self._idle = idle

    def _stop_at(self, position: int) -> int:
        self.stop()
        return position


class RootScanner(_StateMachine):
    """Feed it deltas; it answers with events. One instance reads one text and follows one root object.

    The root is the first object that has one of `keys` at its top level, or under envelopes of one key. After it has
    closed, or after `stop`, there are no more events.
    """

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__()
        self._keys = frozenset(keys)
        self._envelopes = ENVELOPES - self._keys
        self._candidates = 0
        self._closer = REASONING_TAG  # of the reasoning being skipped
        self._levels = 0  # envelopes around the keys
        self._seen: set[str] = set()  # top-level keys
        self._name = ""  # the last top-level key
        self._start = self._depth = 0  # of its value
        self._quoted = False  # inside a string of its value
        self._become_seeker()

    # outside of the root

    def _become_seeker(self) -> None:
        self._levels = 0
        self._seen = set()
        self._enter(self._seek, _SEEK)

    def _seek(self, buffer: str, position: int) -> int:
        found = _SEEK(buffer, position)
        if found is None:
            return len(buffer)
        if found.group() == "<":
            self._enter(self._tag)
            return found.start()
        if found.group() == "{" and self._may_be_root(self._base + found.start()):
            self._enter(self._after_brace)
            return found.end()
        return self._stop_at(found.end())

    def _may_be_root(self, at: int) -> bool:
        self._candidates += 1
        return self._candidates <= MAX_CANDIDATES and not begins_inside_an_object(self.text(0, at), at)

    def _tag(self, buffer: str, position: int) -> int:
        tag = REASONING_TAG.match(buffer, position)
        if tag is None:
            if len(buffer) - position < _LONGEST_TAG and _CUT_TAG.match(buffer, position):
                return position
            self._enter(self._seek, _SEEK)
            return position + 1
        if tag["close"]:
            self._enter(self._seek, _SEEK)
        else:
            self._closer = end_of_reasoning(tag["name"])
            self._enter(self._reasoning)
        return tag.end()

    def _reasoning(self, buffer: str, position: int) -> int:
        end = self._closer.search(buffer, position)
        if end is None:
            return max(position, len(buffer) - _LONGEST_TAG)
        self._enter(self._seek, _SEEK)
        return end.end()

    def _after_brace(self, buffer: str, position: int) -> int:
        """A root, a broken root, or a brace in prose, by what follows it."""
        if space := _SPACE.match(buffer, position):
            return space.end()
        char = buffer[position]
        if char == '"':
            self._enter(self._key)
        elif _ODD.match(char):
            self.stop()
        elif char.isascii() and (char.isalpha() or char in "_$"):
            self._enter(self._bare_word)
        else:
            self._enter(self._seek, _SEEK)
        return position

    def _bare_word(self, buffer: str, position: int) -> int:
        """`{reading} and` is prose; `{reading: ` and `{reading": ` are roots of a kind that only `finish` reads."""
        word = _BARE_WORD.match(buffer, position)
        if word is None:
            return self._wait(buffer, position)
        if word.group(1) in ":：\"'":
            return self._stop_at(position)
        self._enter(self._seek, _SEEK)
        return position

    def _wait(self, buffer: str, position: int) -> int:
        return position if len(buffer) - position < _LONGEST_WORD else self._stop_at(position)

    # top level of the root

    def _key(self, buffer: str, position: int) -> int:
        token = _STRING.match(buffer, position)
        if token is None:
            return self._wait(buffer, position)
        try:
            self._name = str(json.loads(token.group()))
        except ValueError:
            return self._stop_at(position)
        self._enter(self._colon)
        return token.end()

    def _colon(self, buffer: str, position: int) -> int:
        if space := _SPACE.match(buffer, position):
            return space.end()
        if buffer[position] != ":" or self._name in self._seen:
            return self._stop_at(position)
        self._seen.add(self._name)
        self._events.append(Event("key", self._base + position + 1, self._name))
        self._enter(self._value)
        return position + 1

    def _value(self, buffer: str, position: int) -> int:
        if space := _SPACE.match(buffer, position):
            return space.end()
        char = buffer[position]
        if char == "{" and len(self._seen) == 1 and self._name in self._envelopes:
            self._levels += 1
            self._seen = set()
            self._enter(self._first_key)
            return position + 1
        self._start = self._base + position
        self._depth, self._quoted = (0, True) if char == '"' else (1, False)
        if char in '{["':
            self._enter(self._inside, _IN_STRING if self._quoted else _IN_VALUE)
            return position + 1
        if char not in "-0123456789tfnTFN":
            return self._stop_at(position)
        self._enter(self._scalar)
        return position

    def _inside(self, buffer: str, position: int) -> int:
        """Up to the end of the value: only quotes and the number of open brackets matter here."""
        while found := (_IN_STRING if self._quoted else _IN_VALUE)(buffer, position):
            char = found.group()
            if char == "\\":  # the delta ends in the middle of an escape
                return found.start()
            position = found.end()
            if char == '"':
                self._quoted = not self._quoted
                self._idle = _IN_STRING if self._quoted else _IN_VALUE
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
            if self._depth == 0 and not self._quoted:
                return self._value_ends(position)
        return len(buffer)

    def _scalar(self, buffer: str, position: int) -> int:
        """A number or literal is whole only at the delimiter after it."""
        token = _SCALAR.match(buffer, position)
        return self._wait(buffer, position) if token is None else self._value_ends(token.end())

    def _value_ends(self, position: int) -> int:
        self._events.append(Event("value", self._base + position, self._name, self._start))
        self._enter(self._after_value)
        return position

    def _after_value(self, buffer: str, position: int) -> int:
        if space := _SPACE.match(buffer, position):
            return space.end()
        if buffer[position] == ",":
            self._enter(self._next_key)
            return position + 1
        return self._close(position) if buffer[position] == "}" else self._stop_at(position)

    def _next_key(self, buffer: str, position: int) -> int:
        if space := _SPACE.match(buffer, position):
            return space.end()
        if buffer[position] == '"':
            self._events.append(Event("key_opens", self._base + position + 1))
            self._enter(self._key)
            return position
        return self._close(position) if buffer[position] == "}" else self._stop_at(position)

    def _first_key(self, buffer: str, position: int) -> int:
        """The first key under an envelope."""
        if space := _SPACE.match(buffer, position):
            return space.end()
        if buffer[position] != '"':
            return self._stop_at(position)
        self._enter(self._key)
        return position

    def _after_envelope(self, buffer: str, position: int) -> int:
        """An envelope has one key: only its brace may follow, at most a trailing comma before it."""
        if space := _SPACE.match(buffer, position):
            return space.end()
        if buffer[position] == ",":
            self._enter(self._envelope_brace)
            return position + 1
        return self._envelope_brace(buffer, position)

    def _envelope_brace(self, buffer: str, position: int) -> int:
        if space := _SPACE.match(buffer, position):
            return space.end()
        return self._close(position) if buffer[position] == "}" else self._stop_at(position)

    def _close(self, position: int) -> int:
        """A brace closed the keys' object; with envelopes around it, only the outermost one confirms anything."""
        if self._levels:
            self._levels -= 1
            self._enter(self._after_envelope)
        elif self._seen & self._keys:
            self._events.append(Event("root_closed", self._base + position + 1))
            self.stop()
        else:
            self._become_seeker()
        return position + 1
