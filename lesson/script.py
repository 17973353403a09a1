"""The script of a text, by its characters."""

from __future__ import annotations

import re

HIRAGANA = "\u3041-\u3096\u309d\u309e"
KATAKANA = "\u30a1-\u30fa\u30fc-\u30fe\uff66-\uff9f"
KANJI = "\u3005\u3006\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Ideographs of every plane, with 々 (repeat), 〆 and 〇."""

_JAPANESE = re.compile(f"[{HIRAGANA}{KATAKANA}{KANJI}]")
_LETTER = re.compile(r"[^\W\d_]")


def has_japanese(text: str) -> bool:
    """Whether the text contains kana or kanji."""
    return _JAPANESE.search(text) is not None


def mostly_japanese(text: str) -> bool:
    """Whether more than half of the letters are kana or kanji."""
    letters = len(_LETTER.findall(text))
    return letters > 0 and len(_JAPANESE.findall(text)) * 2 > letters
