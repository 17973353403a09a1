"""Scripts of characters and foldings of kana, by Unicode blocks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

# Character classes for use inside [...]; 々 and its like belong to the kanji beside them.
KANJI: Final = "\u2e80-\u2fd5\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd々〆〇〻"
KANA: Final = "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
DIGIT: Final = "0-9０-９"
LATIN: Final = "A-Za-zＡ-Ｚａ-ｚÀ-ÖØ-öø-ɏ"

# The base of ruby: a run of kanji, digits and Latin, with ヶ after a kanji and a number's own punctuation.
BASE: Final = (
    rf"(?:[{KANJI}{DIGIT}{LATIN}]|(?<=[{KANJI}{DIGIT}])[ヶヵ]"
    rf"|(?<=[{DIGIT}])(?:[,，.．:：](?=[{DIGIT}])|[%％‰℃]))+"
)

_REMEMBERED: Final = 8192
_SHORT: Final = 32

P = TypeVar("P")


def remembered(pure: Callable[..., P]) -> Callable[..., P]:
    """Caches a pure function's results for short texts: a lesson repeats its words.

    All arguments are strings. Long texts are not cached, so that no text can fill the memory.
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
    """Whether the text contains kanji, digits or Latin letters, which have several readings."""
    return _READABLE.search(text) is not None


def is_kana(text: str) -> bool:
    """Whether the text is kana only, half-width and combining marks included; False for an empty text."""
    return _KANA_ONLY.fullmatch(text) is not None


def is_ruby(text: str) -> bool:
    """Whether the text is valid ruby: one or more full-width hiragana, katakana and ー."""
    return _RUBY.fullmatch(text) is not None


def hiragana(text: str) -> str:
    """Converts katakana to hiragana and keeps everything else."""
    return text.translate(_TO_HIRAGANA)


def katakana(text: str) -> str:
    """Converts hiragana to katakana and keeps everything else."""
    return text.translate(_TO_KATAKANA)


@remembered
def plain_kana(text: str) -> str:
    """Kana in the usual spelling: full-width, with voicing marks composed."""
    wide = _HALF_WIDTH.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return unicodedata.normalize("NFC", wide)


def folded(text: str) -> str:
    """The text with all kana as full-width hiragana, for comparing readings."""
    return hiragana(plain_kana(text))
