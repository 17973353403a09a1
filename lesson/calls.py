"""The requests and results of the two stages, in one form for both sides of the wire.

A call's time limit is not among them: the gateway sets it as the RPC's deadline, where the stage reads it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from lesson.models import (
    Attempt,
    Brief,
    Content,
    EnhancedItem,
    EnhancementMode,
    Frame,
    Issue,
    IssueSeverity,
    Item,
    Model,
    SectionName,
    SectionValue,
)


def _in_order(wanted: tuple[SectionName, ...]) -> tuple[SectionName, ...]:
    return tuple(name for name in SectionName if name in wanted) or tuple(SectionName)


class ContentCall(Model):
    """One attempt at the content of a lesson."""

    brief: Brief
    model: str
    attempt_id: str
    max_cost_usd: float | None = None
    """The most that the attempt may cost, in US dollars; None: no limit."""
    wanted: Annotated[tuple[SectionName, ...], AfterValidator(_in_order)] = tuple(SectionName)
    """The sections to write, in the order of SectionName. An empty tuple means all."""
    confirmed: Content | None = None
    """Sections that are already valid: context for the model, which does not write them again."""
    reask_reasons: tuple[Issue, ...] = ()
    """What was wrong with the attempt before; empty on the first."""


class SectionReleased(Model):
    """A section that is complete and valid. The model may still be writing the next one."""

    name: SectionName
    content: Content
    """Only the named section is written."""

    @classmethod
    def of(cls, name: SectionName, value: SectionValue) -> SectionReleased:
        return cls(name=name, content=Content().with_section(name, value))

    @property
    def value(self) -> SectionValue | None:
        """The section; None when the message does not hold it."""
        return self.content.section(self.name)


class ContentResult(Model):
    """The end of an attempt at the content."""

    content: Content
    """All valid sections after the answer's end. They count in place of the released ones."""
    attempt: Attempt
    issues: tuple[Issue, ...] = ()
    origin: str = ""
    """The source of content that no language model wrote; else empty."""

    @property
    def faults(self) -> tuple[Issue, ...]:
        """Why the answer as a whole is not usable; empty when it has all wanted sections."""
        return tuple(issue for issue in self.issues if issue.severity is IssueSeverity.FAULT)

    @property
    def notes(self) -> tuple[Issue, ...]:
        """Issues of valid sections."""
        return tuple(issue for issue in self.issues if issue.severity is not IssueSeverity.FAULT)

    def style_issues(self, name: SectionName) -> tuple[Issue, ...]:
        """The issues of one section that are worth a re-ask."""
        return tuple(issue for issue in self.issues if issue.severity is IssueSeverity.STYLE and issue.section is name)


class EnhanceCall(Model):
    """One attempt at the annotations of a section."""

    section: SectionName
    brief: Brief
    frame: Frame | None
    """None when characters, register and scenario are unknown."""
    items: tuple[Item, ...]
    """The whole section in order. Unwanted items serve as context."""
    wanted_ids: tuple[str, ...] = ()
    """The items to annotate. An empty tuple means all."""
    mode: EnhancementMode
    model: str
    """Empty for the analyser alone, without a model call."""
    attempt_id: str
    max_cost_usd: float | None = None
    """The most that the attempt may cost, in US dollars; None: no limit."""
    reask_reasons: tuple[Issue, ...] = ()
    """What was wrong with the attempt before; empty on the first."""
    language: str = "ja"
    """BCP-47 tag of the items."""


class EnhanceResult(Model):
    """Every wanted item in order, and the attempt of the model call; None without a model call.

    A call without a reply has no items, and its attempt (UPSTREAM or SHED) gives the reason.
    """

    items: tuple[EnhancedItem, ...]
    attempt: Attempt | None
