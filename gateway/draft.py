"""The lesson so far: what the stages have written. A draft is passive data that a store can save."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from lesson.items import extract_items
from lesson.models import (
    Brief,
    Content,
    EnhancedItem,
    EnhancementMode,
    Frame,
    Issue,
    Item,
    ReadingProvenance,
    SectionName,
    SectionValue,
)


@dataclass
class DraftSection:
    """A section that Stage 1 released, and the best annotations of its items so far."""

    name: SectionName
    value: SectionValue
    revision: int
    items: tuple[Item, ...]
    began_seconds: float = 0.0
    """When Stage 1 released it, in seconds since the start of the run."""
    best: dict[str, EnhancedItem] = field(default_factory=dict)
    """By item id."""
    shortfall: str = ""
    """Why the section is not enhanced, according to the last attempt."""
    done: bool = False
    """Whether Stage 2 has finished the section."""

    def ids_needing_model(self, mode: EnhancementMode) -> tuple[str, ...]:
        """Ids of the items that lack something a model could give, or whose annotation has faults.

        Before the first annotation these are all items, because the first call also brings the analyser's part.
        """
        return tuple(
            item.id
            for item in self.items
            if (item.needs_model(mode) or not self.best) and not is_accepted(self.best.get(item.id))
        )

    def keep_better(self, items: Iterable[EnhancedItem]) -> bool:
        """Keeps each annotation that is better than the current one. Returns True when a model gave one of them."""
        improved = False
        for item in items:
            current = self.best.get(item.text.id)
            if current is None or _rank(item) < _rank(current):
                self.best[item.text.id] = item
                improved = improved or bool(item.text.reading_model or item.text.translation_model)
        return improved


@dataclass
class Draft:
    """Everything that a run knows about its lesson."""

    lesson_id: str
    brief: Brief
    learner_level: int | None
    created_at: datetime
    """When the run began, UTC."""
    sections: dict[SectionName, DraftSection] = field(default_factory=dict)
    revisions: dict[SectionName, int] = field(default_factory=dict)
    """How often Stage 1 has released each section."""
    notes: list[Issue] = field(default_factory=list)
    missing_reasons: dict[SectionName, str] = field(default_factory=dict)
    """Why Stage 1 has not written a section."""
    style_issues: dict[SectionName, tuple[Issue, ...]] = field(default_factory=dict)
    """Issues in the current sections that are worth a re-ask."""
    origin: str = ""
    """The source of content that no language model wrote; else empty."""
    stage1_seconds: float = 0.0
    """From the start of the run to the end of Stage 1; 0 until then."""
    stage2_seconds: float = 0.0
    """From the first released section to the last finished one."""
    duration_seconds: float = 0.0

    @property
    def missing(self) -> tuple[SectionName, ...]:
        return tuple(name for name in SectionName if name not in self.sections)

    @property
    def frame(self) -> Frame | None:
        section = self.sections.get(SectionName.FRAME)
        return section.value if section and isinstance(section.value, Frame) else None

    def content(self, without: Iterable[SectionName] = ()) -> Content:
        """The current sections except `without`."""
        left_out, content = set(without), Content()
        for name in SectionName:
            if name in self.sections and name not in left_out:
                content = content.with_section(name, self.sections[name].value)
        return content

    def holds(self, name: SectionName, value: SectionValue) -> bool:
        """Whether the draft already has exactly this section."""
        section = self.sections.get(name)
        return section is not None and section.value == value

    def put(self, name: SectionName, value: SectionValue, began_seconds: float) -> DraftSection:
        """Adds the next revision of a section."""
        revision = self.revisions[name] = self.revisions.get(name, 0) + 1
        section = DraftSection(name, value, revision, extract_items(name, value), began_seconds)
        self.sections[name] = section
        return section

    def replace_notes(self, name: SectionName, notes: Iterable[Issue]) -> None:
        """Replaces the notes of one section."""
        self.notes = [note for note in self.notes if note.section is not name]
        self.notes.extend(notes)


def is_accepted(item: EnhancedItem | None) -> bool:
    """Whether an annotation is complete and without faults."""
    return item is not None and item.text.complete and not item.issues


def _rank(item: EnhancedItem) -> tuple[bool, int, int]:
    """Lower is better: complete first, then fewer faults, then a more trusted reading."""
    return (not item.text.complete, len(item.issues), list(ReadingProvenance).index(item.text.reading_provenance))
