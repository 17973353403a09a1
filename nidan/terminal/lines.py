"""Lines that break where Japanese may break, with or without furigana; letters for choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from nidan.terminal.ruby import READING, Piece, Row, Ruby, Unit, bracketed, plain_units
from nidan.terminal.sanitize import clean

_NEVER_FIRST = frozenset("、。，．・：；？！!?,.:;」』）)】〉》]ゝゞ々ーぁぃぅぇぉっゃゅょァィゥェォッャュョ…")
_NEVER_LAST = frozenset("「『（(【〈《[")


def unbroken(units: Sequence[Unit]) -> list[Unit]:
    """Joins units where no line may end: before a full stop, after an opening quote."""
    joined: list[Unit] = []
    for unit in units:
        if joined and _belongs(joined[-1][-1].text, unit[0].text):
            joined[-1] += unit
        else:
            joined.append(unit)
    return joined


def _belongs(before: str, after: str) -> bool:
    reading = after.startswith("[") and after != "["
    return before != "\n" and after != "\n" and (reading or after[:1] in _NEVER_FIRST or before[-1:] in _NEVER_LAST)


def broken(units: Sequence[Unit], width: int, ruby: Ruby = Ruby.BRACKETS, hang: int = 0) -> list[Row]:
    """The text in rows of at most `width` cells. Rows after the first begin with `hang` spaces."""
    margin = Row(" " * hang)
    rows: list[Row] = []
    row = Row()
    for unit in _short_enough(unbroken(units), max(1, width - hang), ruby):
        longer = row.plus(unit, ruby)
        if unit[0].text == "\n":
            rows.append(row.stripped)
            row = margin
        elif longer.width > width:
            rows += [row.stripped] if row.width else []
            row = (margin if rows else Row()).plus(_without_space_before(unit), ruby)
        else:
            row = longer
    return [*rows, row.stripped]


def _short_enough(units: Sequence[Unit], width: int, ruby: Ruby) -> Iterator[Unit]:
    """Cuts units that are too long for a line."""
    for unit in units:
        if unit[0].text == "\n" or Row().plus(unit, ruby).width <= width:
            yield unit
            continue
        for piece in unit:
            if Row().plus((piece,), ruby).width <= width:
                yield (piece,)
            else:
                text = piece.text if ruby is Ruby.NONE else bracketed([(piece,)])
                yield from ((Piece(part),) for part in chop_cells(text, width))


def _without_space_before(unit: Unit) -> Unit:
    return (Piece(unit[0].text.lstrip(), unit[0].ruby), *unit[1:])


class Lines:
    """Renders text in any language. With furigana above, a line that has some takes two rows."""

    def __init__(self, text: str | Sequence[Unit], style: str = "", hang: int = 0, ruby: Ruby = Ruby.BRACKETS) -> None:
        self._units = plain_units(clean(text)) if isinstance(text, str) else text
        self._style = style
        self._hang = hang
        self._ruby = ruby
        self._headroom = False

    @property
    def has_ruby_above(self) -> bool:
        """Whether a line takes two rows."""
        return self._ruby is Ruby.ABOVE and any(piece.ruby for unit in self._units for piece in unit)

    def with_headroom(self) -> Lines:
        """The same, with two rows for its first line."""
        lines = Lines(self._units, self._style, self._hang, self._ruby)
        lines._headroom = True
        return lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, row in enumerate(broken(self._units, options.max_width, self._ruby, self._hang)):
            if row.over or (self._headroom and not number):
                yield Text(row.over, style="dim", no_wrap=True)
            base = Text(row.base, style=self._style, no_wrap=True)
            base.highlight_regex(READING, "dim")
            yield base

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        units = unbroken(self._units)
        widest_unit = max((Row().plus(unit, self._ruby).width for unit in units), default=0)
        widest_line = max(row.width for row in broken(units, options.max_width, self._ruby, self._hang))
        return Measurement(widest_unit, max(widest_unit, widest_line)).with_maximum(options.max_width)


def side_by_side(*cells: Lines) -> tuple[Lines, ...]:
    """Aligns the first lines of a table row's cells."""
    if not any(cell.has_ruby_above for cell in cells):
        return cells
    return tuple(cell.with_headroom() for cell in cells)


def letter(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)
