"""Japanese on a terminal: furigana in brackets, and lines that break where Japanese may break."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from lesson.models import FuriganaSegment, JapaneseText
from lesson.script import HIRAGANA, KANJI, KATAKANA
from nidan.plain import clean

BLANK = "＿＿＿"
_KANA = f"{HIRAGANA}{KATAKANA}"
_WIDE = "\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
# A word of Latin letters, a blank, and kanji with their reading stay whole; all else may break anywhere.
_UNITS = re.compile(
    rf"{BLANK}|[{KANJI}]+(?=\[[{_KANA}])|\[[^\[\]\s]*\]|[^\s\[\]{_WIDE}]+|.",
    re.DOTALL,
)
_READING = re.compile(rf"\[[{_KANA}]+\]")
_NEVER_FIRST = frozenset("、。，．・：；？！!?,.:;」』）)】〉》]ゝゞ々ーぁぃぅぇぉっゃゅょァィゥェォッャュョ…")
_NEVER_LAST = frozenset("「『（(【〈《[")


def bracketed(text: JapaneseText) -> str:
    """With each reading in brackets behind what it reads: 食[た]べ物[もの]. White space at the ends is left out."""
    return "".join(_segment(segment) for segment in text.furigana).strip()


def blanked(text: JapaneseText, gaps: Iterable[tuple[int, int]]) -> str:
    """As `bracketed`, each gap (start and length in code points) a blank, numbered when there are several.

    A reading that reaches into a gap is left out.
    """
    spans = sorted(gaps)
    hidden = {index for start, length in spans for index in range(start, start + length)}
    number = {start: f"({count})" if len(spans) > 1 else "" for count, (start, _) in enumerate(spans, start=1)}
    parts: list[str] = []
    at = 0
    for segment in text.furigana:
        places = range(at, at + len(segment.text))
        at = places.stop
        if hidden.isdisjoint(places):
            parts.append(_segment(segment))
            continue
        for place, char in zip(places, segment.text, strict=True):
            parts.append(f"{number[place]}{BLANK}" if place in number else "" if place in hidden else char)
    return clean("".join(parts)).strip()


def units(text: str) -> list[str]:
    """The text cut where a line may end; joined they are the text."""
    joined: list[str] = []
    for unit in _UNITS.findall(text):
        reading = unit.startswith("[") and unit != "["
        if joined and (reading or unit[0] in _NEVER_FIRST or joined[-1][-1] in _NEVER_LAST):
            joined[-1] += unit
        else:
            joined.append(unit)
    return joined


def broken(text: str, width: int, hang: int = 0) -> list[str]:
    """The text in lines of at most so many cells; from the second on they begin with `hang` spaces."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for unit in _short_enough(paragraph, max(1, width - hang)):
            if cell_len(line + unit.rstrip()) > width:
                if line.strip():
                    lines.append(line.rstrip())
                line = " " * (hang if lines else 0) + unit.lstrip()
            else:
                line += unit
        lines.append(line.rstrip())
    return lines


def _short_enough(paragraph: str, width: int) -> Iterator[str]:
    for unit in units(paragraph):
        yield from chop_cells(unit, width) if cell_len(unit) > width else [unit]


class Lines:
    """A renderable of text in any language, broken where Japanese may break too; readings in brackets are dimmed."""

    def __init__(self, text: str, style: str = "", hang: int = 0) -> None:
        self._text = clean(text)
        self._style = style
        self._hang = hang

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in broken(self._text, options.max_width, self._hang):
            styled = Text(line, style=self._style, no_wrap=True)
            styled.highlight_regex(_READING, "dim")
            yield styled

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widest_unit = max((cell_len(unit) for unit in units(self._text)), default=0)
        widest_line = max((cell_len(line) for line in self._text.split("\n")), default=0)
        return Measurement(widest_unit, widest_line).with_maximum(options.max_width)


def _segment(segment: FuriganaSegment) -> str:
    return clean(f"{segment.text}[{segment.ruby}]" if segment.ruby else segment.text)


def lettered(choices: Sequence[str]) -> Iterator[str]:
    """a) …, b) …"""
    for number, choice in enumerate(choices):
        yield f"{letter(number)}) {choice}"


def letter(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    return (letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)
