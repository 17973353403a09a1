"""Estimates tokens, so that usage and max_tokens are meaningful without a tokeniser.

One token for each character outside ASCII (kana, kanji), one for four ASCII characters, rounded up for the whole text.
"""

from __future__ import annotations

_QUARTERS = 4


def count(text: str) -> int:
    """The estimated tokens of `text`; 0 for an empty one."""
    return -(-sum(map(_quarters, text)) // _QUARTERS)


def cut(text: str, tokens: int) -> str:
    """The longest start of the text that costs at most `tokens`."""
    left = tokens * _QUARTERS
    for index, char in enumerate(text):
        left -= _quarters(char)
        if left < 0:
            return text[:index]
    return text


def _quarters(char: str) -> int:
    return 1 if char.isascii() else _QUARTERS
