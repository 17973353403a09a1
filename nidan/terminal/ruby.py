"""Furigana for a terminal: over the kanji, in brackets behind them, or not at all. Pure: no console here.

A text is units, a unit is pieces. No line ends within a unit, so a word stays whole and a reading with what it reads.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from lesson.models import FuriganaSegment, JapaneseText, Word
from lesson.script import HIRAGANA, KANJI, KATAKANA, mostly_japanese
from nidan.terminal.sanitize import clean

BLANK = "＿＿＿"
_KANA = f"{HIRAGANA}{KATAKANA}"
_WIDE = "\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
# A word of Latin letters, a blank, and kanji with their reading stay whole; other Japanese may break anywhere.
_UNITS = rf"{BLANK}|[{KANJI}]+(?=\[[{_KANA}])|\[[^\[\]\s]*\]|[^\s\[\]{_WIDE}]+"
_JAPANESE_UNITS = re.compile(rf"{_UNITS}|.", re.DOTALL)
# Japanese that is quoted in another language is a word or a phrase: it stays whole, too.
_OTHER_UNITS = re.compile(rf"{_UNITS}|[{_KANA}{KANJI}]+|.", re.DOTALL)
_OVERHUNG = re.compile(rf"[{_KANA}、。]")
READING = re.compile(rf"\[[{_KANA}]+\]")
"""A reading in brackets."""
# What a reader takes in together with the word before it: 食べ-ます, 魚-が, 小林-さん.
_LEANING = frozenset({"auxiliary", "particle", "suffix"})
_PREFIX = "prefix"


class Ruby(enum.StrEnum):
    """Where furigana stand."""

    ABOVE = "above"
    BRACKETS = "brackets"
    NONE = "none"


@dataclass(frozen=True)
class Piece:
    """Text, and the kana to be set over it; empty where there are none."""

    text: str
    ruby: str = ""


Unit = tuple[Piece, ...]


# --- texts as units ---------------------------------------------------------------------------------------------


def plain_units(text: str) -> list[Unit]:
    """A text of any language, cut where a line may end; joined the pieces are the text."""
    pattern = _JAPANESE_UNITS if mostly_japanese(text) else _OTHER_UNITS
    return [(Piece(part),) for part in pattern.findall(text)]


def phrases(text: JapaneseText, with_ruby: bool = True) -> list[Unit]:
    """A text with its furigana, cut before each word that opens a phrase. White space at the ends is left out."""
    units = _units(text.furigana, text.words, frozenset(), {})
    return units if with_ruby else [tuple(Piece(piece.text) for piece in unit) for unit in units]


def blanked(text: JapaneseText | str, gaps: Iterable[tuple[int, int]]) -> list[Unit]:
    """As `phrases`, each gap (start and length in code points) a blank, numbered when there are several.

    A reading that reaches into a gap is left out; a str has no readings.
    """
    spans = sorted(gaps)
    hidden = frozenset(index for start, length in spans for index in range(start, start + length))
    number = {start: f"({count})" if len(spans) > 1 else "" for count, (start, _) in enumerate(spans, start=1)}
    if isinstance(text, str):
        return _units([FuriganaSegment(text=text, ruby=None)], (), hidden, number)
    return _units(text.furigana, text.words, hidden, number)


def bracketed(units: Iterable[Unit]) -> str:
    """One line, with each reading in brackets behind what it reads: 食[た]べ物[もの]."""
    return "".join(_in_brackets(piece) for unit in units for piece in unit)


def led(lead: str, units: Sequence[Unit]) -> list[Unit]:
    """With a mark before it that stays with the first unit: a), 1., -."""
    first = units[0] if units else ()
    return [(Piece(lead), *first), *units[1:]]


def _units(
    segments: Iterable[FuriganaSegment], words: Sequence[Word], hidden: frozenset[int], number: dict[int, str]
) -> list[Unit]:
    closed = frozenset(_closed(words))
    units: list[Unit] = []
    at = 0
    for segment in segments:
        for part in _parts(segment, at, hidden):
            shown = _shown(part, at, hidden, number)
            if units and at in closed:
                units[-1] += (shown,)
            else:
                units.append((shown,))
            at += len(part.text)
    kept = (tuple(piece for piece in map(_cleaned, unit) if piece.text) for unit in units)
    return _stripped([unit for unit in kept if unit])


def _cleaned(piece: Piece) -> Piece:
    return Piece(clean(piece.text), clean(piece.ruby))


def _closed(words: Sequence[Word]) -> Iterator[int]:
    """The offsets at which no line may end: in a word, before one that leans on it, behind a prefix."""
    end = -1
    for word in words:
        yield from range(word.start + 1, word.start + word.length)
        if word.start == end and word.pos in _LEANING:
            yield word.start
        end = word.start + word.length
        if word.pos == _PREFIX:
            yield end


def _parts(segment: FuriganaSegment, at: int, hidden: frozenset[int]) -> list[Piece]:
    """One piece when it has a reading that may be shown; else characters, and words of Latin letters."""
    if not hidden.isdisjoint(range(at, at + len(segment.text))):
        return [Piece(char) for char in segment.text]
    if segment.ruby:
        return [Piece(segment.text, segment.ruby)]
    return [piece for unit in plain_units(segment.text) for piece in unit]


def _shown(part: Piece, at: int, hidden: frozenset[int], number: dict[int, str]) -> Piece:
    if at in number:
        return Piece(f"{number[at]}{BLANK}")
    return Piece("") if at in hidden else part


def _stripped(units: list[Unit]) -> list[Unit]:
    solid = [index for index, unit in enumerate(units) if "".join(piece.text for piece in unit).strip()]
    return units[solid[0] : solid[-1] + 1] if solid else []


# --- a row of the screen ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line as it is set: `over` has the kana of `base` at the same cells, and is empty where there are none.

    A reading that is wider than its kanji may reach one cell over kana on either side, as in print; for more than that,
    and beside anything else, the kanji get room.
    """

    base: str = ""
    over: str = ""

    def plus(self, unit: Unit, ruby: Ruby) -> Row:
        """The unit behind it, in as many cells as it needs."""
        row = self
        for piece in unit:
            if ruby is Ruby.ABOVE and piece.ruby:
                row = _with_above(row, piece)
            else:
                row = _with_plain(row, _in_brackets(piece) if ruby is Ruby.BRACKETS else piece.text)
        return row

    @property
    def ended(self) -> Row:
        """Without white space at its end."""
        return Row(self.base.rstrip(), self.over.rstrip())

    @property
    def width(self) -> int:
        """Cells, without white space at its end."""
        return max(cell_len(self.base.rstrip()), cell_len(self.over))


def _in_brackets(piece: Piece) -> str:
    return f"{piece.text}[{piece.ruby}]" if piece.ruby else piece.text


def _with_plain(row: Row, text: str) -> Row:
    reaching = cell_len(row.over) - cell_len(row.base)
    room = " " * reaching if reaching > 0 and not _OVERHUNG.match(text) else ""
    return Row(row.base + room + text, row.over)


def _with_above(row: Row, piece: Piece) -> Row:
    """The narrower of the two in the middle; no reading touches the one before it."""
    below, above = cell_len(piece.text), cell_len(piece.ruby)
    beyond, inset = max(0, above - below), max(0, below - above) // 2
    left, right = beyond // 2, (beyond + 1) // 2
    reached = cell_len(row.over)
    start = max(cell_len(row.base), reached)
    over_at = start + inset - min(left, int(_OVERHUNG.match(row.base[-1:]) is not None))
    over_at = max(over_at, reached + 1 if reached else 0)
    base_at = max(start, over_at + left - inset)
    return Row(
        row.base + " " * (base_at - cell_len(row.base)) + piece.text + " " * max(0, right - 1),
        row.over + " " * (over_at - reached) + piece.ruby,
    )
