"""Numbers read out: Arabic, kanji and mixed (1万5千) into hiragana, with the sound changes inside a number."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from enhancer_service.japanese.script import DIGIT

KANJI_DIGITS: Final = "〇零一二三四五六七八九"
_VALUES: Final = {digit: value for value, digit in enumerate("一二三四五六七八九", start=1)} | {"〇": 0, "零": 0}
_UNITS: Final = (("兆", 10**12), ("億", 10**8), ("万", 10**4), ("千", 1000), ("百", 100), ("十", 10))
_LONGEST: Final = 16  # longer ones are codes, not counts, and are read digit by digit

PATTERN: Final = (
    rf"(?:[{DIGIT}]{{1,3}}(?:[,，][{DIGIT}]{{3}})+(?![{DIGIT}])|[{DIGIT}{KANJI_DIGITS}])"
    rf"(?:[{DIGIT}{KANJI_DIGITS}十百千万億兆]|[.．](?=[{DIGIT}]))*|[十百千万億兆][{DIGIT}{KANJI_DIGITS}十百千万億兆]*"
)
"""Pattern of a written number, the input of `read`."""

DIGITS: Final = ("ぜろ", "いち", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう")
_HUNDREDS: Final = (
    "",
    "ひゃく",
    "にひゃく",
    "さんびゃく",
    "よんひゃく",
    "ごひゃく",
    "ろっぴゃく",
    "ななひゃく",
    "はっぴゃく",
    "きゅうひゃく",
)
_THOUSANDS: Final = (
    "",
    "せん",
    "にせん",
    "さんぜん",
    "よんせん",
    "ごせん",
    "ろくせん",
    "ななせん",
    "はっせん",
    "きゅうせん",
)
_GROUPS: Final = ("", "まん", "おく", "ちょう")


@dataclass(frozen=True, slots=True)
class Number:
    """A number's reading and what it ends in: "0" to "9", "10", "100", "1000", "10000", or 何 or 数 when none is named.

    `value` is None when it is no whole number, and then it ends in "".
    """

    reading: str
    tail: str
    value: int | None


def read(text: str) -> Number:
    """Reads a number as written; takes what `PATTERN` matches, any width."""
    plain = unicodedata.normalize("NFKC", text).replace(",", "")
    whole, _, fraction = plain.partition(".")
    if fraction:
        return _decimal(whole, fraction)
    if len(plain) > _LONGEST or (len(plain) > 1 and plain[0] in "0〇"):
        return Number(digit_by_digit(plain), "", None)
    value = _value(plain)
    if value >= 10**_LONGEST:
        return Number(digit_by_digit(plain), "", None)
    reading = cardinal(value)
    # 一千 pronounces its one, 千 has none.
    explicit = re.match("[一1]千", plain) and reading.startswith("せん")
    return Number(f"いっ{reading}" if explicit else reading, _tail(value), value)


def digit_by_digit(text: str) -> str:
    """Reads like a telephone number; units are separate words."""
    names = {unit: cardinal(size).removeprefix("いち").removeprefix("いっ") for unit, size in _UNITS}
    names |= {digit: DIGITS[value] for digit, value in _VALUES.items()}
    names |= {str(value): name for value, name in enumerate(DIGITS)}
    return "".join(names.get(character, "てん") for character in unicodedata.normalize("NFKC", text))


def cardinal(value: int) -> str:
    """Reads a number of up to sixteen digits as a count: 3,800 is さんぜんはっぴゃく."""
    if value == 0:
        return DIGITS[0]
    groups = []
    for place, unit in enumerate(_GROUPS):
        group = value // 10 ** (4 * place) % 10_000
        if group:
            groups.append(_group(group, unit))
    return "".join(reversed(groups))


def geminated(reading: str) -> str:
    """The number before a counter that doubles its first consonant: いち -> いっ, じゅう -> じゅっ."""
    return f"{reading[:-1]}っ"


def _group(group: int, unit: str) -> str:
    thousands, hundreds, tens, ones = group // 1000, group // 100 % 10, group // 10 % 10, group % 10
    ten = ("じゅう" if tens == 1 else f"{DIGITS[tens]}じゅう") if tens else ""
    reading = f"{_THOUSANDS[thousands]}{_HUNDREDS[hundreds]}{ten}{DIGITS[ones] if ones else ''}"
    if unit and group == 1000:
        return f"いっせん{unit}"
    if unit == "ちょう" and _tail(group) in {"1", "8", "10"}:
        return geminated(reading) + unit
    return reading + unit


def _tail(value: int) -> str:
    for size in (10, 100, 1000, 10_000):
        if value % size:
            digit = value % size * 10 // size
            return str(digit) if size == 10 else str(size // 10)
    return "10000" if value else "0"


def _value(plain: str) -> int:
    for unit, size in _UNITS:
        head, found, rest = plain.partition(unit)
        if found:
            return (_value(head) if head else 1) * size + (_value(rest) if rest else 0)
    return int("".join(str(_VALUES.get(character, character)) for character in plain))


def _decimal(whole: str, fraction: str) -> Number:
    front = read(whole) if whole else Number("れい", "0", 0)
    point = front.reading if front.tail != "0" else "れい"
    if front.tail in {"1", "8", "10"}:
        point = geminated(point)
    return Number(f"{point}てん{digit_by_digit(fraction)}", "", None)
