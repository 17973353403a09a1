"""Progress of a lesson on stderr: a live line on a terminal, else plain lines.

It imports little, because it reports while the services start; the first event loads gRPC and the models.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status
from rich.text import Text

from nidan.terminal.sanitize import clean

if TYPE_CHECKING:
    from lesson.models import EnhancedSection, SectionName
    from nidan.client import Event

_MARKS = {"enhanced": ("✓", "green"), "missing": ("✗", "red")}
_MARK_OF_THE_REST = ("!", "yellow")


def message_console() -> Console:
    """stderr, for messages to a person."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


class Progress:
    """Shows events as they come. With `live_only`, only the live line shows the current activity."""

    def __init__(self, console: Console, live_only: bool = False) -> None:
        self._console = console
        self._live_only = live_only
        self._status: Status | None = None
        self._written: list[str] = []

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the live line inside the block; with `live_only`, from the first activity on."""
        if not self._console.is_terminal:
            yield
            return
        self._status = self._console.status("")
        try:
            if not self._live_only:
                self._status.start()
            yield
        finally:
            self._status.stop()
            self._status = None

    def finish(self) -> None:
        """Removes the live line, before other output to the terminal."""
        if self._status is not None:
            self._status.stop()

    def say(self, text: str, style: str = "") -> None:
        """Prints a permanent line."""
        self._console.print(Text(clean(text), style=style))

    def doing(self, text: str) -> None:
        """Shows the current activity, which replaces the one before on a terminal."""
        if self._status is not None:
            self._status.update(Text(clean(text)))
            self._status.start()
        elif not self._live_only:
            self.say(text)

    def show(self, event: Event) -> None:
        """Shows one event. Completed shows nothing: the lesson follows."""
        from nidan.client import Accepted, SectionEnhanced, SectionReady, SectionReplaced  # noqa: PLC0415

        match event:
            case Accepted():
                brief = event.brief
                about = " · ".join(part for part in (brief.topic, brief.can_do_id, brief.level.value) if part)
                self.say(about, "bold")
                self.doing(f"Stage 1 writing with {', '.join(event.stage1_models[:1])} …")
            case SectionReady():
                self._ready(event.name)
            case SectionEnhanced():
                self._enhanced(event.section)
            case SectionReplaced():
                self.say(f"Stage 1 takes back {_display_name(event.name)}: {event.reason}", "yellow")

    def _ready(self, name: SectionName) -> None:
        self._written.append(_display_name(name))
        if self._status is None:
            self.say(f"Stage 1 wrote {_display_name(name)}")
        else:
            self.doing(f"Stage 1 writing … {', '.join(self._written)}")

    def _enhanced(self, section: EnhancedSection) -> None:
        mark, style = _MARKS.get(section.state.value, _MARK_OF_THE_REST)
        why = f": {section.reason}" if section.reason else ""
        self.say(f"Stage 2 {mark} {_display_name(section.name)} {section.state.value}{why}", style)


def _display_name(name: SectionName) -> str:
    return name.value.replace("_", " ")
