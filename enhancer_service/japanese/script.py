"""Which script a character is in, and how kana folds: look-ups over Unicode blocks, nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

# Character classes for use inside [...]: the repetition mark and the like are read with the kanji they stand by.
KANJI: Final = "\u2e80-\u2fd5\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd々〆〇〻"
KANA: Final = "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
DIGIT: Final = "0-9０-９"
LATIN: Final = "A-Za-zＡ-Ｚａ-ｚÀ-ÖØ-öø-ɏ"

# What ruby stands over: a run of kanji, digits and Latin, with ヶ after a kanji and a number's own punctuation.
BASE: Final = (
    rf"(?:[{KANJI}{DIGIT}{LATIN}]|(?<=[{KANJI}{DIGIT}])[ヶヵ]"
    rf"|(?<=[{DIGIT}])(?:[,，.．:：](?=[{DIGIT}])|[%％‰℃]))+"
)

_REMEMBERED: Final = 8192
_SHORT: Final = 32

P = TypeVar("P")


def remembered(pure: Callable[..., P]) -> Callable[..., P]:
    """Keeps a pure function's last results for short texts: a lesson's words come again and again.

    All arguments are strings. What is long is worked out anew each time, so that no text can fill the memory.
    """
    known = lru_cache(_REMEMBERED)(pure)

    @wraps(pure)
    def look_up(*texts: str) -> P:
        return known(*texts) if sum(map(len, texts)) <= _SHORT else pure(*texts)

    return look_up


_KANJI = re.compile(rf"[{KANJI}]")
_KANA_ONLY = re.compile(rf"[{KANA}]+")
_RUBY = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\u30fc]+")
_READABLE = re.compile(rf"[{KANJI}{DIGIT}{LATIN}]")
_HALF_WIDTH = re.compile(r"[\uff66-\uff9f]+")
_TO_HIRAGANA: Final = {code: code - 0x60 for code in range(0x30A1, 0x30F7)} | {0x30FD: 0x309D, 0x30FE: 0x309E}
_TO_KATAKANA: Final = {hiragana: katakana for katakana, hiragana in _TO_HIRAGANA.items()}


def has_kanji(text: str) -> bool:
    return _KANJI.search(text) is not None


def takes_ruby(text: str) -> bool:
    """Whether anything in the text can be read in more than one way: kanji, digits or Latin letters."""
    return _READABLE.search(text) is not None


def is_kana(text: str) -> bool:
    """Whether the text is kana and nothing else, half-width and combining marks included; False when empty."""
    return _KANA_ONLY.fullmatch(text) is not None


def is_ruby(text: str) -> bool:
    """Whether the text may stand as ruby: whole hiragana, katakana and ー, at least one."""
    return _RUBY.fullmatch(text) is not None


def hiragana(text: str) -> str:
    """Katakana turned into hiragana, everything else as it is."""
    return text.translate(_TO_HIRAGANA)


def katakana(text: str) -> str:
    """Hiragana turned into katakana, everything else as it is."""
    return text.translate(_TO_KATAKANA)


@remembered
def plain_kana(text: str) -> str:
    """Kana as it is usually written: half-width made whole, separate voicing marks joined."""
    wide = _HALF_WIDTH.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return unicodedata.normalize("NFC", wide)


def folded(text: str) -> str:
    """The text with all kana as full-width hiragana, for comparing readings."""
    return hiragana(plain_kana(text))
