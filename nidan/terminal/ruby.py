"""Furigana for a terminal: over the kanji, in brackets after them, or none. Pure: it has no console.

A text is a list of units, a unit a tuple of pieces. No line breaks within a unit: a word stays whole, and a reading
stays with its kanji.
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
# Latin words, blanks, and kanji with their reading stay whole; other Japanese may break anywhere.
_UNITS = rf"{BLANK}|[{KANJI}]+(?=\[[{_KANA}])|\[[^\[\]\s]*\]|[^\s\[\]{_WIDE}]+"
_JAPANESE_UNITS = re.compile(rf"{_UNITS}|.", re.DOTALL)
# Japanese quoted in another language is a word or a phrase, and stays whole, too.
_OTHER_UNITS = re.compile(rf"{_UNITS}|[{_KANA}{KANJI}]+|.", re.DOTALL)
_OVERHUNG = re.compile(rf"[{_KANA}、。]")
READING = re.compile(rf"\[[{_KANA}]+\]")
"""A reading in brackets."""
# Words that stay with the word before them: 食べ-ます, 魚-が, 小林-さん.
_LEANING = frozenset({"auxiliary", "particle", "suffix"})
_PREFIX = "prefix"


class Ruby(enum.StrEnum):
    """Where furigana stand."""

    ABOVE = "above"
    BRACKETS = "brackets"
    NONE = "none"


@dataclass(frozen=True)
class Piece:
    """Text and its kana; `ruby` is empty where it has none."""

    text: str
    ruby: str = ""


Unit = tuple[Piece, ...]


# --- texts as units ---------------------------------------------------------------------------------------------


def plain_units(text: str) -> list[Unit]:
    """Cuts a text of any language where a line may end. The joined pieces are the text."""
    pattern = _JAPANESE_UNITS if mostly_japanese(text) else _OTHER_UNITS
    return [(Piece(part),) for part in pattern.findall(text)]


def phrases(text: JapaneseText, with_ruby: bool = True) -> list[Unit]:
    """A text with its furigana, cut before each word that opens a phrase, without white space at the ends."""
    units = _units(text.furigana, text.words, frozenset(), {})
    return units if with_ruby else [tuple(Piece(piece.text) for piece in unit) for unit in units]


def blanked(text: JapaneseText | str, gaps: Iterable[tuple[int, int]]) -> list[Unit]:
    """Like `phrases`, with a blank for each gap (start and length in code points), numbered when there are several.

    Drops a reading that reaches into a gap. A str has no readings.
    """
    spans = sorted(gaps)
    hidden = frozenset(index for start, length in spans for index in range(start, start + length))
    number = {start: f"({count})" if len(spans) > 1 else "" for count, (start, _) in enumerate(spans, start=1)}
    if isinstance(text, str):
        return _units([FuriganaSegment(text=text, ruby=None)], (), hidden, number)
    return _units(text.furigana, text.words, hidden, number)


def bracketed(units: Iterable[Unit]) -> str:
    """One line, with each reading in brackets after its kanji: 食[た]べ物[もの]."""
    return "".join(_in_brackets(piece) for unit in units for piece in unit)


def led(lead: str, units: Sequence[Unit]) -> list[Unit]:
    """The units with a mark before them (a), 1., -), which stays with the first unit."""
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
    """The offsets at which no line may end: within a word, before a word of _LEANING, after a prefix."""
    end = -1
    for word in words:
        yield from range(word.start + 1, word.start + word.length)
        if word.start == end and word.pos in _LEANING:
            yield word.start
        end = word.start + word.length
        if word.pos == _PREFIX:
            yield end


def _parts(segment: FuriganaSegment, at: int, hidden: frozenset[int]) -> list[Piece]:
    """One piece when its reading may be shown; else its characters and Latin words."""
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
    """A line of the screen: `over` has the kana of `base` at the same cells, and is empty without kana.

    As in print, a reading wider than its kanji may reach one cell over kana on either side. Beyond that, and beside
    anything else, it moves the kanji apart.
    """

    base: str = ""
    over: str = ""

    def plus(self, unit: Unit, ruby: Ruby) -> Row:
        """The row with the unit appended, in as many cells as it needs."""
        row = self
        for piece in unit:
            if ruby is Ruby.ABOVE and piece.ruby:
                row = _with_above(row, piece)
            else:
                row = _with_plain(row, _in_brackets(piece) if ruby is Ruby.BRACKETS else piece.text)
        return row

    @property
    def stripped(self) -> Row:
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
    """Centres the narrower of the two. No reading touches the one before it."""
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
