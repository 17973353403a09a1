"""The finished lesson: its sections with their states, and its outcome."""

from __future__ import annotations

import enum
from datetime import datetime

from lesson.models.annotation import Item, JapaneseText
from lesson.models.attempt import Attempt
from lesson.models.base import COUNTED_SECTIONS, Brief, Model, SectionName
from lesson.models.content import Content
from lesson.models.issue import Issue


class SectionState(enum.StrEnum):
    """Listed in order of precedence: a section has the first state that applies."""

    MISSING = "missing"
    ENHANCED = "enhanced"
    PLAIN = "plain"
    DEGRADED = "degraded"


class Outcome(enum.StrEnum):
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class EnhancedSection(Model):
    """A section of the finished lesson: its state with the reason, and its items in order."""

    name: SectionName
    state: SectionState
    reason: str
    """What is missing, for people; empty when enhanced."""
    revision: int
    items: tuple[Item, ...]
    texts: tuple[JapaneseText, ...]


class Versions(Model):
    """Versions of everything that made the lesson besides the models; part of its fingerprint."""

    prompt_stage1: str
    prompt_stage2: str
    lesson_schema: str
    annotator: str


class Lesson(Model):
    """A whole lesson: the content of Stage 1, the annotations of Stage 2, and the attempts behind both."""

    lesson_id: str
    brief: Brief
    learner_level: int | None
    """1 to 6, for display only."""
    outcome: Outcome
    sample: bool
    """Whether people wrote the lesson for the offline model, not a language model for this request."""
    sample_note: str
    """A sample's source and whether a teacher has reviewed it, for people; empty for any other lesson."""
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
