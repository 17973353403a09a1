"""What a caller asks of the flow, and what the flow tells in return, one event after another."""

from __future__ import annotations

from dataclasses import dataclass

from lesson.models import Brief, EnhancedSection, Lesson, Level, SectionName, SectionValue


@dataclass(frozen=True)
class LessonSpec:
    """What lesson is wanted, every field already checked for form. An id, or topic and level, or both."""

    can_do_id: str = ""
    topic: str = ""
    level: Level | None = None
    can_do_text: str = ""
    learner_language: str = "en"
    learner_level: int | None = None
    model: str = ""
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class Accepted:
    brief: Brief
    stage1_models: tuple[str, ...]
    stage2_models: tuple[str, ...]


@dataclass(frozen=True)
class SectionReady:
    name: SectionName
    revision: int
    value: SectionValue


@dataclass(frozen=True)
class SectionEnhanced:
    section: EnhancedSection


@dataclass(frozen=True)
class SectionReplaced:
    name: SectionName
    revision: int
    reason: str


@dataclass(frozen=True)
class Completed:
    lesson: Lesson
    master_json: str


Event = Accepted | SectionReady | SectionEnhanced | SectionReplaced | Completed
