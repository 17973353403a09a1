"""From text to one JSON value: strictly, and below that with repairs that cannot change what was meant.

The lossless reader runs only when the strict one meets a syntax error. It drops or replaces *syntax* (a trailing comma,
a comment, a full-width colon, the quotes of a Python repr) and never adds, drops or moves content; it closes no
bracket, adds no comma and no quote. Wherever a fault of one character could have made the same text out of another
meaning, it refuses. Every repair leaves a note.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from servicekit.llm.json_strict import MAX_DEPTH, SURROGATE, ExtractError, Parsed, after_space, finite, strict_value


def read_value(text: str, start: int = 0, *, part: bool = False) -> Parsed:
    """Read the one value that begins at `start`: strictly if possible, else losslessly.

    `part`: the value stands in an object that is JSON so far, so it is neither Python repr nor full-width throughout.
    Raises ExtractError; besides the reasons of `strict_loads`: `elision`, `bracket_mismatch`,
    `unexpected_*`.
    """
    try:
        return Parsed(*strict_value(text, start))
    except json.JSONDecodeError:
        return _LosslessReader(text, start, part=part).read()


WIDE = {"：": ":", "，": ",", "｛": "{", "｝": "}", "［": "[", "］": "]"}
OPEN_QUOTES = '"“”„＂'
# White space that JSON does not know: no-break, ideographic, zero-width and typographic spaces, the BOM.
ODD_SPACE = "\u00a0\u3000\ufeff\u200b-\u200d\u2060\u2000-\u200a\u202f\u205f\u2028\u2029\u0085\u000b\u000c"

_ODD_SPACES = re.compile(f"[{ODD_SPACE}]+")
_COMMENT = re.compile(r"//[^\r\n]*|#[^\r\n]*|/\*.*?\*/", re.DOTALL)
_ELLIPSIS = re.compile(r"…|‥|\.\.")
_ELIDING_WORDS = re.compile(
    r"…|‥|\.\.|\b(?:omit|remain|rest\b|etc\b|and so on|continu|truncat|abbreviat|shorten|skip|more\b|other|similar"
    r"|same\b|repeat|follow|above|unchanged|placeholder|todo\b|tbd\b|add\b|fill|insert|\d+\s*(?:[-–~]|to)\s*\d+)"
    r"|略|残り|続|以下|同様|など|等|ほか|その他|繰り?返|追加|上記|前述|同じ",
    re.IGNORECASE,
)
_DOUBLE_QUOTED = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_SINGLE_QUOTED = re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL)
_SMART_QUOTED = re.compile(r'[“”„＂]([^“”„＂"\\]*(?:\\.[^“”„＂"\\]*)*)[“”＂]', re.DOTALL)
_BARE_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![0-9A-Za-z_.+-])")
_INFINITE = re.compile(r"[+-]?(?:NaN|Infinity|inf|nan)\b")
_CONTROL = re.compile(r"[\x00-\x1f]")
_CLOSER_ON_THIS_LINE = re.compile(r"[ \t]*[,，]?[ \t]*[}\]｝］]")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_JSON_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "'": "'"}
# What repr() writes, and no more: \b and \/ mean one thing in JSON and another in Python.
_REPR_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_JSON_LITERALS = {"true": True, "false": False, "null": None}
_PYTHON_LITERALS = {"True": True, "False": False, "None": None}


class _Cursor:
    """A position in the text. Each method begins at `self._pos` and leaves it just after what it read."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._pos = start
        self._notes: dict[str, None] = {}

    def _note(self, note: str) -> None:
        self._notes[note] = None

    def _error(self, reason: str, detail: str) -> ExtractError:
        return ExtractError(reason, detail, self._pos)

    def _gap(self) -> None:
        """Skip white space and comments; an ellipsis here says that content was left out."""
        text = self._text
        while True:
            self._pos = after_space(text, self._pos)
            if odd := _ODD_SPACES.match(text, self._pos):
                self._note("space")
                self._pos = odd.end()
            elif text.startswith(("//", "/*", "#"), self._pos):
                self._comment()
            elif _ELLIPSIS.match(text, self._pos):
                raise self._error("elision", "an ellipsis stands where a value or key should")
            else:
                return

    def _comment(self) -> None:
        comment = _COMMENT.match(self._text, self._pos)
        if comment is None:
            raise self._error("truncated", "a comment is never closed")
        if _ELIDING_WORDS.search(comment.group()):
            raise self._error("elision", f"a comment says that content was left out: {comment.group()[:60]!r}")
        # `"http:" // "example"` may be one string that lost its escapes: a comment with quotes proves nothing.
        if any(quote in comment.group() for quote in OPEN_QUOTES):
            raise self._error("unexpected_comment", f"a comment holds quoted text: {comment.group()[:60]!r}")
        self._note("comment")
        self._pos = comment.end()

    def _peek(self) -> str:
        """The next character of syntax, full-width forms as ASCII. Raises `truncated` where the text or fence ends."""
        if self._pos >= len(self._text):
            raise self._error("truncated", "the text ends inside the JSON value")
        if self._text.startswith("```", self._pos):
            raise self._error("truncated", "the code fence ends inside the JSON value")
        char = self._text[self._pos]
        return WIDE.get(char, char)

    def _take(self) -> bool:
        """Step over one character of syntax; whether it was full-width."""
        wide = self._text[self._pos] in WIDE
        if wide:
            self._note("full_width")
        self._pos += 1
        return wide

    def _unexpected(self, char: str) -> ExtractError:
        kinds = {",": "comma", ":": "colon", "'": "quote", '"': "quote", "}": "bracket", "]": "bracket"}
        return self._error(f"unexpected_{kinds.get(char, 'character')}", f"{char!r} stands where a value or key should")


class _Scalars(_Cursor):
    """Reads strings, numbers and literals, in JSON's syntax or in Python's."""

    def __init__(self, text: str, start: int, *, part: bool) -> None:
        super().__init__(text, start)
        self._python = not part and self._first_key_is_single_quoted()

    def _first_key_is_single_quoted(self) -> bool:
        start, self._pos = self._pos, self._pos + 1
        self._gap()
        single = self._text.startswith("'", self._pos)
        self._pos = start
        return single

    def _string(self) -> str:
        quote = self._text[self._pos]
        if quote == "'" and not self._python:
            raise self._unexpected(quote)
        pattern = {'"': _DOUBLE_QUOTED, "'": _SINGLE_QUOTED}.get(quote, _SMART_QUOTED)
        token = pattern.match(self._text, self._pos)
        if token is None:
            raise self._unterminated(quote)
        body = token.group(1)
        if self._python and quote == '"' and "'" not in body:
            raise self._error("unexpected_quote", "repr() would have written this string in single quotes")
        if pattern is _SMART_QUOTED:
            self._note("smart_quotes")
        if body.endswith(("\n", "\r")) and _CLOSER_ON_THIS_LINE.match(self._text, token.end()):
            # In `"market⏎"  }` the line break is the layout's, and the quote has slipped past it.
            raise self._error("unexpected_control_character", "a raw line break at the end of a string")
        value = self._decoded(body)
        self._pos = token.end()
        return value

    def _unterminated(self, quote: str) -> ExtractError:
        if quote in "\"'":
            return self._error("truncated", "the text ends inside a string")
        detail = "a smart quote opens a string that never ends or holds other quotes"
        return self._error("missing_comma_or_stray_quote", detail)

    def _decoded(self, body: str) -> str:
        if _CONTROL.search(body):
            if self._python:
                raise self._error("unexpected_control_character", "repr() would have escaped it")
            self._note("control_character")
        if "\\" in body:
            body = _ESCAPE.sub(self._unescaped, body)
        if not SURROGATE.search(body):
            return body
        try:  # two escaped halves make one character
            return body.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise self._error("lone_surrogate", "half of a character: it could not be written as UTF-8") from None

    def _unescaped(self, match: re.Match[str]) -> str:
        code = match.group(1)
        table = _REPR_ESCAPES if self._python else _JSON_ESCAPES
        if code in table:
            if code == "'" and not self._python:
                self._note("escaped_apostrophe")
            return table[code]
        if len(code) == 5 or (self._python and len(code) > 1 and int(code[1:], 16) < 0x110000):
            return chr(int(code[1:], 16))
        raise self._error("bad_escape", f"{match.group()!r} means nothing in JSON")

    def _number(self) -> float:
        if _INFINITE.match(self._text, self._pos):
            raise self._error("non_finite", "not a finite number")
        token = _NUMBER.match(self._text, self._pos)
        if token is None:
            raise self._error("unexpected_number", f"{self._text[self._pos : self._pos + 20]!r} is no JSON number")
        try:
            value = finite(token.group()) if token.group(1) or token.group(2) else int(token.group())
        except ExtractError as error:
            raise self._error(error.reason, error.detail) from None
        except ValueError:  # CPython refuses to read integers of thousands of digits
            raise self._error("too_large", "an integer of thousands of digits") from None
        self._pos = token.end()
        return value

    def _literal(self) -> bool | None:
        if _INFINITE.match(self._text, self._pos):
            raise self._error("non_finite", "not a finite number")
        word = _BARE_WORD.match(self._text, self._pos)
        name = word.group() if word else ""
        if name in _PYTHON_LITERALS:
            self._note("python_literal")
        elif name not in _JSON_LITERALS or self._python:
            raise self._error("unexpected_literal", f"{name[:40]!r} is neither a string nor a literal")
        self._pos += len(name)
        return _PYTHON_LITERALS[name] if name in _PYTHON_LITERALS else _JSON_LITERALS[name]


class _LosslessReader(_Scalars):
    """Recursive descent over one value."""

    def __init__(self, text: str, start: int, *, part: bool) -> None:
        super().__init__(text, start, part=part)
        self._comma_was_wide = False
        self._narrow_comma_seen = part
        self._quoted_keys_seen = part
        self._bare_keys: Counter[str] = Counter()
        self._split_strings: dict[str, ExtractError] = {}  # by the bare key, or "，"

    def read(self) -> Parsed:
        if self._python:
            self._note("python_repr")
        value = self._value(1)
        self._refuse_split_strings()
        return Parsed(value, self._pos, tuple(self._notes))

    def _value(self, depth: int) -> Any:
        char = self._peek()
        if char in "{[" and depth > MAX_DEPTH:
            raise self._error("too_deep", f"more than {MAX_DEPTH} levels")
        if char == "{":
            return self._object(depth)
        if char == "[":
            return self._array(depth)
        if char in OPEN_QUOTES or char == "'":
            return self._string()
        if char in "+-" or char in "0123456789":
            return self._number()
        if _BARE_WORD.match(char):
            return self._literal()
        raise self._unexpected(char)

    def _object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        before: Any = None
        self._take()
        self._gap()
        while self._peek() != "}":
            bare = _BARE_WORD.match(self._text, self._pos) is not None
            key = self._key(members)
            if bare and isinstance(before, str):
                self._suspect_split_at(key)
            self._colon(key)
            before = members[key] = self._value(depth + 1)
            if not self._another("}"):
                break
        self._take()
        return members

    def _colon(self, key: str) -> None:
        self._gap()
        if self._peek() != ":":
            raise self._error("missing_comma_or_stray_quote", f"no colon after the key {key[:40]!r}")
        self._take()
        self._gap()

    def _key(self, members: dict[str, Any]) -> str:
        char = self._peek()
        if char in OPEN_QUOTES or char == "'":
            key = self._string()
            self._quoted_keys_seen = True
        elif word := _BARE_WORD.match(self._text, self._pos):
            self._note("unquoted_key")
            self._pos = word.end()
            key = word.group()
            self._bare_keys[key] += 1
        elif char == "]":
            raise self._error("bracket_mismatch", "']' closes an object")
        else:
            raise self._unexpected(char)
        if key in members:
            raise self._error("duplicate_key", f"the key {key!r} stands twice in one object")
        return key

    def _suspect_split_at(self, key: str) -> None:
        """`"First", remember: "..."` may be one string with unescaped quotes in it."""
        detail = f"the key {key!r} has no quotes, unlike others"
        self._split_strings[key] = self._error("unexpected_key", detail)

    def _refuse_split_strings(self) -> None:
        """Raise for a suspected split string, unless the whole text is written in the manner that made it suspect."""
        for mark, error in self._split_strings.items():
            consistent = not self._narrow_comma_seen if mark == "，" else not self._quoted_keys_seen
            if not consistent and self._bare_keys[mark] < 2:
                raise error

    def _array(self, depth: int) -> list[Any]:
        elements: list[Any] = []
        self._take()
        self._gap()
        while self._peek() != "]":
            if self._peek() == "}":
                raise self._error("bracket_mismatch", "'}' closes a list")
            self._suspect_split_string(elements)
            elements.append(self._value(depth + 1))
            if not self._another("]"):
                break
        self._take()
        return elements

    def _suspect_split_string(self, elements: list[Any]) -> None:
        """`"りんご"，"みかん"` may be one string with unescaped quotes in it, unless all commas are full-width."""
        between_strings = elements and isinstance(elements[-1], str) and self._peek() in OPEN_QUOTES
        if between_strings and self._comma_was_wide:
            detail = "a full-width comma between two strings of a list, and other commas elsewhere"
            self._split_strings["，"] = self._error("missing_comma_or_stray_quote", detail)

    def _another(self, closer: str) -> bool:
        """Whether one more element follows; if not, the next character is `closer`."""
        self._gap()
        char = self._peek()
        if char == closer:
            return False
        if char in "]}":
            raise self._error("bracket_mismatch", f"{char!r} stands where {closer!r} should")
        if char != ",":
            raise self._error("missing_comma_or_stray_quote", f"{char!r} follows a value")
        self._comma_was_wide = self._take()
        self._narrow_comma_seen |= not self._comma_was_wide
        self._gap()
        if self._peek() == closer:
            self._note("trailing_comma")
            return False
        return True
