"""A lesson's Japanese with what Stage 2 says of it, ready to be set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.padding import Padding

from lesson.models import Content, JapaneseText, Lesson
from nidan.terminal.lines import Lines
from nidan.terminal.ruby import Ruby, Unit, led, phrases, plain_units
from nidan.terminal.sanitize import clean


@dataclass(frozen=True)
class View:
    """What a reader wants to see of a lesson."""

    ruby: Ruby = Ruby.BRACKETS
    kana: bool = False
    """A line with the whole sentence in kana."""
    romaji: bool = False
    translation: bool = False
    teacher: bool = False
    """Answers and lesson plan."""

    @property
    def has_lines_below(self) -> bool:
        """Whether more than the sentence itself may be shown of a sentence."""
        return self.kana or self.romaji or self.translation


ANNOTATION = View(romaji=True, translation=True)
"""All that there is, in a form that can be copied."""


class Annotated:
    """Finds each item's annotation by the item's id, its path in the content, and sets it as the view wants it."""

    def __init__(self, lesson: Lesson, view: View) -> None:
        self.content: Content = lesson.content
        self.view = view
        self._texts = {text.id: text for section in lesson.sections for text in section.texts}

    def text(self, item_id: str) -> JapaneseText | None:
        """None for what is no item (a choice in the learner's language) and for an item without annotation."""
        return self._texts.get(item_id)

    def units(self, item_id: str, plain: str, with_ruby: bool = True) -> list[Unit]:
        """The text with its readings where there are any."""
        text = self.text(item_id)
        return plain_units(clean(plain).strip()) if text is None else phrases(text, with_ruby)

    def set(self, units: Sequence[Unit], style: str = "", hang: int = 0) -> Lines:
        """The units as lines, their readings where the view has them."""
        return Lines(units, style, hang, self.view.ruby)

    def head(self, item_id: str, plain: str, style: str = "", lead: str = "") -> Lines:
        """The Japanese by itself, behind its lead (1.) if there is one."""
        units = self.units(item_id, plain)
        return self.set(led(lead, units) if lead else units, style, len(lead))

    def below(self, item_id: str, indent: int) -> Iterator[RenderableType]:
        """What the view wants under the Japanese, and there is."""
        text = self.text(item_id)
        yield from below(text, self.view, indent) if text is not None else ()

    def block(
        self, item_id: str, plain: str, style: str = "", indent: int = 2, lead: str = ""
    ) -> Iterator[RenderableType]:
        """The Japanese and what belongs under it."""
        yield indented(self.head(item_id, plain, style, lead), indent)
        yield from self.below(item_id, indent + max(2, len(lead)))

    def blocks(self, path: str, plain: Sequence[str], indent: int = 2) -> Iterator[RenderableType]:
        """A block for each member of the list at that path."""
        for index, text in enumerate(plain):
            yield from self.block(f"{path}.{index}", text, indent=indent)


def block(text: JapaneseText, style: str = "", indent: int = 2, view: View = ANNOTATION) -> Iterator[RenderableType]:
    """The text with its readings, and under it what the view wants and there is."""
    yield indented(Lines(phrases(text), style, ruby=view.ruby), indent)
    yield from below(text, view, indent + 2)


def below(text: JapaneseText, view: View, indent: int) -> Iterator[RenderableType]:
    """Kana, where they differ from the text itself; romaji; translation. No line for what is not there."""
    reading = text.reading.strip()
    if view.kana and reading and reading != text.kanji.strip():
        yield indented(Lines(reading, "dim"), indent)
    if view.romaji and text.romaji.strip():
        yield indented(Lines(text.romaji.strip(), "dim italic"), indent)
    if view.translation and text.translation:
        yield indented(translated(text.translation), indent)


def translated(text: str) -> Lines:
    """A translation, as such told from other text."""
    return Lines(text.strip(), "green")


def indented(inner: RenderableType, left: int = 2, above: int = 0) -> Padding:
    return Padding(inner, (above, 0, 0, left))


def learner_text(text: str, style: str = "", indent: int = 2) -> Padding:
    """A paragraph in the learner's language."""
    return indented(Lines(text, style), indent)


def marked(mark: str, text: str, style: str = "", indent: int = 2) -> Padding:
    """A paragraph behind a mark of one cell, its lines under each other."""
    return indented(Lines(f"{mark} {text}", style, hang=2), indent)
