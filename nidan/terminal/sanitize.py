"""Makes text from the wire harmless for a terminal."""

from __future__ import annotations

import unicodedata

# Such text must not control the terminal or reverse its own direction.
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """Removes control characters. Line breaks stay, tabs become spaces."""
    kept = (char for char in text.replace("\t", " ") if char == "\n" or unicodedata.category(char) != "Cc")
    return "".join(char for char in kept if char not in _DIRECTION)
