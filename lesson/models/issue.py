"""What is wrong or worth knowing about a place in a lesson."""

from __future__ import annotations

import enum

from lesson.models.base import Model, SectionName


class IssueSeverity(enum.StrEnum):
    """What follows from an issue, mildest first."""

    NOTE = "note"
    """For people: something was derived, or is off in counts, lengths or language."""
    STYLE = "style"
    """A learner would stumble over it: the section stands, and is worth asking for once more."""
    FAULT = "fault"
    """The section or item cannot stand: a re-ask must mend it."""


class Issue(Model):
    """One issue. Its string is what people and models read: `path: text`."""

    path: str
    """Field by field from the section (dialogue.turns.3.text); empty for an issue of the whole answer or lesson."""
    section: SectionName | None
    """None for an issue of the whole answer or lesson."""
    text: str
    severity: IssueSeverity

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def issue_at(path: str, text: str, severity: IssueSeverity = IssueSeverity.NOTE) -> Issue:
    """The issue at a path, which begins with its section."""
    return Issue(path=path, section=SectionName(path.split(".", 1)[0]), text=text, severity=severity)


def general_issue(text: str, severity: IssueSeverity = IssueSeverity.NOTE) -> Issue:
    """An issue of the whole answer or lesson."""
    return Issue(path="", section=None, text=text, severity=severity)
