"""The request for a lesson, and the events that answer it."""

from __future__ import annotations

from dataclasses import dataclass

from lesson.models import Brief, EnhancedSection, Lesson, Level, SectionName, SectionValue


@dataclass(frozen=True)
class LessonSpec:
    """The requested lesson: a Can-do id, or topic and level, or both. `api.requests` has checked every field's form."""

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


@dataclass(frozen=True)
class LoggedEvent:
    """An event of a run, with its number in the run's log: 1, 2, 3 …"""

    lesson_id: str
    sequence: int
    event: Event
