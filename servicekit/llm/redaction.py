"""Removes keys from what a server says, before it reaches logs, errors and lessons."""

from __future__ import annotations

import re
from urllib.parse import quote

IN_ITS_PLACE = "[key]"
_LONG = 8
"""A key of this many characters is replaced anywhere; a shorter one only as a whole word."""


def without_key(text: str, key: str) -> str:
    """The text with `[key]` in place of the key, plain or percent-encoded."""
    for form in {key, quote(key, safe="")} - {""}:
        if len(form) >= _LONG:
            text = text.replace(form, IN_ITS_PLACE)
        else:
            text = re.sub(rf"(?<![\w-]){re.escape(form)}(?![\w-])", IN_ITS_PLACE, text)
    return text
