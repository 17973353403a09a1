"""From text to one JSON value, strictly.

The parser is the standard library's, and refuses what that one lets pass: duplicate keys, NaN and Infinity, lone
surrogates, excessive depth.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, NoReturn

MAX_CHARS = 400_000
# Without the count: two answers that are both too large have the same fault, and the second is no reason to ask again.
TOO_LARGE = f"more than the {MAX_CHARS:,} characters that are read"
MAX_DEPTH = 32


class ExtractError(ValueError):
    """Text that is not accepted as JSON.

    `reason` is a short stable word for metrics and re-asks (`truncated`, `ambiguous`, ...), `detail` says in words
    what was met, `pos` is the offset in characters at which it was met.
    """

    def __init__(self, reason: str, detail: str, pos: int = 0) -> None:
        super().__init__(reason, detail, pos)
        self.reason = reason
        self.detail = detail
        self.pos = pos

    def __str__(self) -> str:
        return f"{self.reason} at character {self.pos}: {self.detail}"


@dataclass(frozen=True)
class Parsed:
    """One value, the offset just after it, and a note for each kind of repair, in the order they were first needed."""

    value: Any
    end: int
    notes: tuple[str, ...] = ()


def strict_loads(s: str) -> Any:
    """Parse the whole of `s` as one JSON value; white space around it is allowed.

    Raises ExtractError: `truncated`, `duplicate_key` (at every level), `non_finite`, `lone_surrogate`, `bad_escape`,
    `missing_comma_or_stray_quote`, `unexpected_character`, `content_after_root`, `too_deep`, `too_large`.
    """
    if len(s) > MAX_CHARS:
        raise ExtractError("too_large", TOO_LARGE, MAX_CHARS)
    start = after_space(s, 0)
    try:
        value, end = strict_value(s, start)
    except json.JSONDecodeError as error:
        raise _explained(error) from None
    if s[end:].strip(" \t\r\n"):
        raise ExtractError("content_after_root", "text follows the JSON value", end)
    return value


_JSON_SPACE = re.compile(r"[ \t\r\n]+")
SURROGATE = re.compile("[\ud800-\udfff]")
_MAY_HOLD_SURROGATE = re.compile("[\ud800-\udfff]|\\\\u[dD][89a-fA-F]")


def after_space(text: str, pos: int) -> int:
    space = _JSON_SPACE.match(text, pos)
    return space.end() if space else pos


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ExtractError("duplicate_key", f"the key {twice!r} stands twice in one object")
    return members


def _refused_constant(name: str) -> NoReturn:
    raise ExtractError("non_finite", f"{name} is no JSON number")


def finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ExtractError("non_finite", f"{digits[:40]} is too large for a number")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refused_constant, parse_float=finite)


def strict_value(text: str, start: int) -> tuple[Any, int]:
    """(value, end) of the strict JSON value at `start`. Raises json.JSONDecodeError for syntax, else ExtractError."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except ExtractError as error:  # raised by a hook, which gets no position
        raise ExtractError(error.reason, error.detail, start) from None
    except RecursionError:
        raise ExtractError("too_deep", f"more than {MAX_DEPTH} levels", start) from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # CPython refuses to read integers of thousands of digits
        raise ExtractError("too_large", "an integer of thousands of digits", start) from None
    _refuse_depth(value, start)
    if _MAY_HOLD_SURROGATE.search(text, start, end):
        _refuse_surrogates(value, start)
    return value, end


def _refuse_depth(value: Any, start: int) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise ExtractError("too_deep", f"more than {MAX_DEPTH} levels", start)


def _refuse_surrogates(value: Any, start: int) -> None:
    if SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise ExtractError("lone_surrogate", "half of a character: it could not be written as UTF-8", start)


def _explained(error: json.JSONDecodeError) -> ExtractError:
    """The standard library's syntax error in our words."""
    if error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated"):
        return ExtractError("truncated", "the text ends inside the JSON value", error.pos)
    if "delimiter" in error.msg:
        return ExtractError("missing_comma_or_stray_quote", error.msg, error.pos)
    if "escape" in error.msg:
        return ExtractError("bad_escape", error.msg, error.pos)
    return ExtractError("unexpected_character", error.msg, error.pos)
