"""A lesson's Japanese with what Stage 2 says of it, ready to be set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lesson.models import Content, JapaneseText, Lesson
from nidan.japanese import Lines, bracketed
from nidan.plain import clean


class Annotated:
    """Finds each item's annotation by the item's id, its path in the content."""

    def __init__(self, lesson: Lesson) -> None:
        self.content: Content = lesson.content
        self._texts = {text.id: text for section in lesson.sections for text in section.texts}

    def text(self, item_id: str) -> JapaneseText | None:
        """None for what is no item (a choice in the learner's language) and for an item without annotation."""
        return self._texts.get(item_id)

    def bracketed(self, item_id: str, plain: str) -> str:
        """With readings in brackets where there are any."""
        text = self.text(item_id)
        return clean(plain).strip() if text is None else bracketed(text)

    def block(self, item_id: str, plain: str, style: str = "", indent: int = 2) -> Iterator[RenderableType]:
        """The Lines, its romaji under it, its translation under that; a line for what is there and none else."""
        text = self.text(item_id)
        if text is None:
            yield indented(Lines(self.bracketed(item_id, plain), style), indent)
        else:
            yield from block(text, style, indent)

    def blocks(self, path: str, plain: Sequence[str], indent: int = 2) -> Iterator[RenderableType]:
        """A block for each member of the list at that path."""
        for index, text in enumerate(plain):
            yield from self.block(f"{path}.{index}", text, indent=indent)

    def line(self, item_id: str, plain: str) -> Iterator[RenderableType]:
        """The Japanese and its translation, without romaji: for the answer key."""
        text = self.text(item_id)
        yield Lines(self.bracketed(item_id, plain))
        if text and text.translation:
            yield indented(Lines(text.translation.strip(), "green"))


def block(text: JapaneseText, style: str = "", indent: int = 2) -> Iterator[RenderableType]:
    """The text with its readings, its romaji under it, its translation under that; no line for what is not there."""
    yield indented(Lines(bracketed(text), style), indent)
    if text.romaji.strip():
        yield indented(Lines(text.romaji.strip(), "dim italic"), indent + 2)
    if text.translation:
        yield indented(Lines(text.translation.strip(), "green"), indent + 2)


def indented(inner: RenderableType, left: int = 2, above: int = 0) -> Padding:
    return Padding(inner, (above, 0, 0, left))


def learner_text(text: str, style: str = "", indent: int = 2) -> Padding:
    """A paragraph in the learner's language."""
    return indented(Lines(text, style), indent)


def marked(mark: str, text: str, style: str = "", indent: int = 2) -> Padding:
    """A paragraph behind a mark of one cell, its lines under each other."""
    return indented(Lines(f"{mark} {text}", style, hang=2), indent)


def numbered(number: int, lines: Sequence[RenderableType]) -> Table:
    """The lines beside their number."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(justify="right", min_width=2)
    grid.add_column(ratio=1)
    grid.add_row("", Text(f"{number}."), Group(*lines))
    return grid
