"""Latin initials read in Japanese: SNS is エスエヌエス; words written in Latin letters stay as they are."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_NAMES: Final = {
    "A": "エー", "B": "ビー", "C": "シー", "D": "ディー", "E": "イー", "F": "エフ", "G": "ジー", "H": "エイチ",
    "I": "アイ", "J": "ジェー", "K": "ケー", "L": "エル", "M": "エム", "N": "エヌ", "O": "オー", "P": "ピー",
    "Q": "キュー", "R": "アール", "S": "エス", "T": "ティー", "U": "ユー", "V": "ブイ", "W": "ダブリュー",
    "X": "エックス", "Y": "ワイ", "Z": "ゼット",
}  # fmt: skip
# Initials read as words, or not letter by letter.
_WORDS: Final = {
    "OK": "オーケー", "UFO": "ユーフォー", "TV": "テレビ", "LINE": "ライン", "BBQ": "バーベキュー", "NASA": "ナサ",
    "JR": "ジェイアール", "NHK": "エヌエイチケイ", "DIY": "ディーアイワイ", "DJ": "ディージェイ",
}  # fmt: skip
# Initials with vowels; other capitals with vowels are words: STOP, SALE, MENU.
_SPELT: Final = frozenset(
    {"AI", "AED", "ATM", "CEO", "EU", "EV", "IC", "ID", "IH", "IT", "LED", "NGO", "NPO", "OB", "OL", "PTA", "SUV"}
    | {"UK", "URL", "USA", "USB", "VIP", "WHO"}
)
_CAPITALS = re.compile(r"[A-Z]{2,5}")
_VOWELS: Final = frozenset("AIUEO")


def initials(surface: str) -> str | None:
    """The katakana reading of initials in any width; None for any other text."""
    plain = unicodedata.normalize("NFKC", surface)
    if plain in _WORDS:
        return _WORDS[plain]
    if not _CAPITALS.fullmatch(plain) or (plain not in _SPELT and not _VOWELS.isdisjoint(plain)):
        return None
    return "".join(_NAMES[letter] for letter in plain)
