"""A lesson's Japanese with its annotations, as lines for the terminal."""

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
    """The parts of a lesson to show."""

    ruby: Ruby = Ruby.BRACKETS
    kana: bool = False
    """A line with the whole sentence in kana."""
    romaji: bool = False
    translation: bool = False
    teacher: bool = False
    """Answers and lesson plan."""

    @property
    def has_lines_below(self) -> bool:
        """Whether lines may follow below a sentence."""
        return self.kana or self.romaji or self.translation


ANNOTATION = View(romaji=True, translation=True)
"""Shows everything, in a form that can be copied."""


class Annotated:
    """Finds an item's annotation by its id, which is its path in the content, and lays it out for the view."""

    def __init__(self, lesson: Lesson, view: View) -> None:
        self.content: Content = lesson.content
        self.view = view
        self._texts = {text.id: text for section in lesson.sections for text in section.texts}

    def text(self, item_id: str) -> JapaneseText | None:
        """None for text that is no item (a choice in the learner's language) and for an item without annotation."""
        return self._texts.get(item_id)

    def units(self, item_id: str, plain: str, with_ruby: bool = True) -> list[Unit]:
        """The text, with its readings where it has an annotation."""
        text = self.text(item_id)
        return plain_units(clean(plain).strip()) if text is None else phrases(text, with_ruby)

    def set(self, units: Sequence[Unit], style: str = "", hang: int = 0) -> Lines:
        """The units as lines, with readings where the view puts them."""
        return Lines(units, style, hang, self.view.ruby)

    def head(self, item_id: str, plain: str, style: str = "", lead: str = "") -> Lines:
        """The Japanese alone, after its lead (1.) if it has one."""
        units = self.units(item_id, plain)
        return self.set(led(lead, units) if lead else units, style, len(lead))

    def below(self, item_id: str, indent: int) -> Iterator[RenderableType]:
        """The lines below the Japanese that the view shows."""
        text = self.text(item_id)
        yield from below(text, self.view, indent) if text is not None else ()

    def block(
        self, item_id: str, plain: str, style: str = "", indent: int = 2, lead: str = ""
    ) -> Iterator[RenderableType]:
        """The Japanese and the lines below it."""
        yield indented(self.head(item_id, plain, style, lead), indent)
        yield from self.below(item_id, indent + max(2, len(lead)))

    def blocks(self, path: str, plain: Sequence[str], indent: int = 2) -> Iterator[RenderableType]:
        """A block for each member of the list at `path`."""
        for index, text in enumerate(plain):
            yield from self.block(f"{path}.{index}", text, indent=indent)


def block(text: JapaneseText, style: str = "", indent: int = 2, view: View = ANNOTATION) -> Iterator[RenderableType]:
    """The text with its readings, and the lines below it that the view shows."""
    yield indented(Lines(phrases(text), style, ruby=view.ruby), indent)
    yield from below(text, view, indent + 2)


def below(text: JapaneseText, view: View, indent: int) -> Iterator[RenderableType]:
    """Kana where they differ from the text, romaji, translation; those that exist."""
    reading = text.reading.strip()
    if view.kana and reading and reading != text.kanji.strip():
        yield indented(Lines(reading, "dim"), indent)
    if view.romaji and text.romaji.strip():
        yield indented(Lines(text.romaji.strip(), "dim italic"), indent)
    if view.translation and text.translation:
        yield indented(translated(text.translation), indent)


def translated(text: str) -> Lines:
    """A translation, in its own colour."""
    return Lines(text.strip(), "green")


def indented(inner: RenderableType, left: int = 2, above: int = 0) -> Padding:
    return Padding(inner, (above, 0, 0, left))


def learner_text(text: str, style: str = "", indent: int = 2) -> Padding:
    """A paragraph in the learner's language."""
    return indented(Lines(text, style), indent)


def marked(mark: str, text: str, style: str = "", indent: int = 2) -> Padding:
    """A paragraph with a one-cell mark before it, and a hanging indent."""
    return indented(Lines(f"{mark} {text}", style, hang=2), indent)
