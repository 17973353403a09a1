"""What the gateway asks of the two stages, and what they answer: the one form on both sides of the wire.

A call's time is no part of it: the gateway sets it as the RPC's deadline, and the stage reads it there.
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
    """The sections to write, in the order of SectionName; given none, all."""
    confirmed: Content | None = None
    """Sections that stand: context, never written again."""
    reask_reasons: tuple[Issue, ...] = ()
    """What was wrong with the attempt before; empty on the first."""


class SectionReleased(Model):
    """A section that is complete and valid, while the model may still write the next one."""

    name: SectionName
    content: Content
    """Only the named section is written."""

    @classmethod
    def of(cls, name: SectionName, value: SectionValue) -> SectionReleased:
        return cls(name=name, content=Content().with_section(name, value))

    @property
    def value(self) -> SectionValue | None:
        """The section; None when the message did not hold it."""
        return self.content.section(self.name)


class ContentResult(Model):
    """The end of an attempt at the content."""

    content: Content
    """Everything valid, parsed once more as a whole: this counts, not what was released on the way."""
    attempt: Attempt
    issues: tuple[Issue, ...] = ()
    origin: str = ""
    """Where content comes from that no language model wrote; else empty."""

    @property
    def faults(self) -> tuple[Issue, ...]:
        """Why the answer as a whole cannot stand; empty when all wanted sections are there."""
        return tuple(issue for issue in self.issues if issue.severity is IssueSeverity.FAULT)

    @property
    def notes(self) -> tuple[Issue, ...]:
        """Issues of sections that stand."""
        return tuple(issue for issue in self.issues if issue.severity is not IssueSeverity.FAULT)

    def style_issues(self, name: SectionName) -> tuple[Issue, ...]:
        """What is worth asking for once more in one section."""
        return tuple(issue for issue in self.issues if issue.severity is IssueSeverity.STYLE and issue.section is name)


class EnhanceCall(Model):
    """One attempt at the annotations of a section."""

    section: SectionName
    brief: Brief
    frame: Frame | None
    """None: characters, register and scenario are not known."""
    items: tuple[Item, ...]
    """The whole section in order; items that are not wanted are context."""
    wanted_ids: tuple[str, ...] = ()
    """The items to annotate; empty: all."""
    mode: EnhancementMode
    model: str
    """Empty: the analyser alone, without a model call."""
    attempt_id: str
    max_cost_usd: float | None = None
    """The most that the attempt may cost, in US dollars; None: no limit."""
    reask_reasons: tuple[Issue, ...] = ()
    """What was wrong with the attempt before; empty on the first."""
    language: str = "ja"
    """BCP-47 tag of the items."""


class EnhanceResult(Model):
    """Every wanted item in order, and the model call's attempt; None when no model was asked.

    A call that got no reply has no items, and an attempt that says why: it ended UPSTREAM or SHED.
    """

    items: tuple[EnhancedItem, ...]
    attempt: Attempt | None
