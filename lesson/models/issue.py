"""Findings about a place in a lesson."""

from __future__ import annotations

import enum

from lesson.models.base import Model, SectionName


class IssueSeverity(enum.StrEnum):
    """The consequence of an issue, mildest first."""

    NOTE = "note"
    """For people only: a derived value, or a deviation in counts, lengths or language."""
    STYLE = "style"
    """A learner would stumble over it: the section is usable but worth a re-ask."""
    FAULT = "fault"
    """The section or item is not usable: a re-ask must mend it."""


class Issue(Model):
    """One issue. People and models read its string, `path: text`."""

    path: str
    """Field by field from the section (dialogue.turns.3.text); empty for an issue of the whole answer or lesson."""
    section: SectionName | None
    """None for an issue of the whole answer or lesson."""
    text: str
    severity: IssueSeverity

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def issue_at(path: str, text: str, severity: IssueSeverity = IssueSeverity.NOTE) -> Issue:
    """The issue at a path, which starts with the section."""
    return Issue(path=path, section=SectionName(path.split(".", 1)[0]), text=text, severity=severity)


def general_issue(text: str, severity: IssueSeverity = IssueSeverity.NOTE) -> Issue:
    """An issue of the whole answer or lesson."""
    return Issue(path="", section=None, text=text, severity=severity)
