"""JSON and text that a log, a terminal or a file can take, whatever a server, a model or a caller wrote."""

from __future__ import annotations

import json
import re
from typing import Any, Final

# DEL and C1 controls, invisible format characters (soft hyphen, zero width, directions, tags, fillers), line and
# paragraph separators, private use, noncharacters, half surrogates.
_UNSEEN: Final = (
    "\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000f0000-\U0010ffff"
)
_TO_ESCAPE: Final = re.compile(f"[{_UNSEEN}]")
_TO_ESCAPE_IN_JSON: Final = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f{_UNSEEN}]")
_TO_CLEAN: Final = re.compile(f"[\x00-\x1f{_UNSEEN}]+")


def safe_dumps(value: Any, **options: Any) -> str:
    """JSON with every invisible or unwritable character escaped; letters of all scripts stay as they are."""
    options.setdefault("ensure_ascii", False)
    return _TO_ESCAPE.sub(_escaped, json.dumps(value, **options))


def safe_json(text: str) -> str:
    """JSON that another process wrote, with the same characters escaped. It stays the same JSON."""
    return _TO_ESCAPE_IN_JSON.sub(_escaped, text)


def one_safe_line(text: str, most: int) -> str:
    """The text in one line of at most `most` characters, without characters that nobody sees."""
    return " ".join(_TO_CLEAN.sub(" ", text[: 20 * most]).split())[:most]


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
