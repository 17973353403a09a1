"""A key may come back in what a server says, and stops there: what a server says goes to logs, errors and lessons."""

from __future__ import annotations

import re
from urllib.parse import quote

IN_ITS_PLACE = "[key]"
_LONG = 8
"""A key of so many characters is one wherever it stands; a shorter one, of a local server, might be part of a word."""


def without_key(text: str, key: str) -> str:
    """The text with `[key]` where the key stood, as it is or as it is written in an address."""
    for form in {key, quote(key, safe="")} - {""}:
        if len(form) >= _LONG:
            text = text.replace(form, IN_ITS_PLACE)
        else:
            text = re.sub(rf"(?<![\w-]){re.escape(form)}(?![\w-])", IN_ITS_PLACE, text)
    return text
