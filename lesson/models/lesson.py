"""The finished lesson: sections, their state, and the outcome."""

from __future__ import annotations

import enum
from datetime import datetime

from lesson.models.annotation import Item, JapaneseText
from lesson.models.attempt import Attempt
from lesson.models.base import COUNTED_SECTIONS, Brief, Model, SectionName
from lesson.models.content import Content
from lesson.models.issue import Issue


class SectionState(enum.StrEnum):
    """The first that fits."""

    MISSING = "missing"
    ENHANCED = "enhanced"
    PLAIN = "plain"
    DEGRADED = "degraded"


class Outcome(enum.StrEnum):
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class EnhancedSection(Model):
    """A section of the finished lesson: its state, why, and its items in order."""

    name: SectionName
    state: SectionState
    reason: str
    """Empty when enhanced; else what is missing, for people."""
    revision: int
    items: tuple[Item, ...]
    texts: tuple[JapaneseText, ...]


class Versions(Model):
    """What made the lesson beside the models: part of its fingerprint."""

    prompt_stage1: str
    prompt_stage2: str
    lesson_schema: str
    annotator: str


class Lesson(Model):
    """A whole lesson: the plain content of Stage 1, the annotations of Stage 2 by item id, and the truth about both."""

    lesson_id: str
    brief: Brief
    learner_level: int | None
    """1 to 6, display only."""
    outcome: Outcome
    sample: bool
    """Written by hand for the offline model, not by a language model for this request."""
    sample_note: str
    """Where a sample comes from, for people, and whether a teacher has reviewed it; empty when it is none."""
    created_at: datetime
    """When the run began, UTC."""
    content: Content
    sections: tuple[EnhancedSection, ...]
    attempts: tuple[Attempt, ...]
    versions: Versions
    notes: tuple[Issue, ...]
    """What a reader should know."""
    duration_seconds: float
    stage1_seconds: float
    stage2_seconds: float

    def state(self, name: SectionName) -> SectionState:
        return next((section.state for section in self.sections if section.name is name), SectionState.MISSING)

    @property
    def sections_enhanced(self) -> int:
        return sum(self.state(name) is SectionState.ENHANCED for name in COUNTED_SECTIONS)

    @property
    def cost_usd(self) -> float:
        """The sum over attempts whose cost is known."""
        return sum(attempt.cost_usd or 0.0 for attempt in self.attempts)
