"""Stage 1: one model call that writes the lesson. Releases each section as soon as it is complete and valid."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from content_service import prompts
from lesson.calls import ContentCall, ContentResult, SectionReleased
from lesson.japanese.levels import soft_notes
from lesson.japanese.style import issues_to_reask, style_issues
from lesson.models import (
    AttemptOutcome,
    Content,
    Issue,
    IssueSeverity,
    SectionName,
    Stage,
    attempt_reported,
    general_issue,
    issue_at,
)
from lesson.parsing import SectionRead, derive_frame, read_section
from servicekit.llm.calls import CallOutcome, JsonSchema, ModelRequest, Reply
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.extraction import ExtractError, Section, SectionStream

if TYPE_CHECKING:
    from servicekit.llm.client import ModelClient

# The answer contradicts itself, so no part of it can be trusted.
_CONTRADICTIONS = {"ambiguous", "section_conflict", "content_after_root", "duplicate_key"}
_SECTION_OF_KEY = {key: name for name in SectionName for key in (name.json_key, name.value)}


class ContentStage:
    """Calls one model server. `stall_seconds` limits every pause after the first text of an answer."""

    def __init__(
        self,
        client: ModelClient,
        *,
        reasoning_effort: str,
        max_output_tokens: int,
        first_token_seconds: float,
        stall_seconds: float,
    ) -> None:
        self._client = client
        self._reasoning_effort = reasoning_effort
        self._max_output_tokens = max_output_tokens
        self._first_token_seconds = first_token_seconds
        self._stall_seconds = stall_seconds

    async def generate(
        self, call: ContentCall, timeout_seconds: float
    ) -> AsyncGenerator[SectionReleased | ContentResult, None]:
        """Yields each released section, then always one ContentResult, however the call ends."""
        answer = _Answer(call)
        async with self._client.stream(self._model_request(call, timeout_seconds)) as stream:
            async for delta in stream:
                for section in answer.feed(delta):
                    yield section
        yield answer.finished(stream.reply, self._client.provider)

    def _model_request(self, call: ContentCall, timeout_seconds: float) -> ModelRequest:
        structured = capabilities(self._client.provider, call.model).structured
        return ModelRequest(
            model=call.model,
            system=prompts.system_prompt(call.brief.level, with_shape=structured != "json_schema"),
            user=prompts.user_prompt(call.brief, call.wanted, call.confirmed or Content(), call.reask_reasons),
            attempt_id=call.attempt_id,
            max_output_tokens=self._max_output_tokens,
            timeout_seconds=timeout_seconds,
            schema=JsonSchema("lesson", prompts.sections_schema(call.wanted)),
            reasoning_effort=self._reasoning_effort,
            first_token_seconds=self._first_token_seconds,
            stall_seconds=self._stall_seconds,
            max_cost_usd=call.max_cost_usd,
        )


class _Answer:
    """One answer as far as it has arrived."""

    def __init__(self, call: ContentCall) -> None:
        self._call = call
        self._stream = SectionStream([key for key, name in _SECTION_OF_KEY.items() if name in call.wanted])
        self._read: dict[SectionName, SectionRead] = {}

    def feed(self, delta: str) -> list[SectionReleased]:
        """The valid sections that this delta completes."""
        read = [self._section(section) for section in self._stream.feed(delta)]
        return [SectionReleased.of(section.name, section.value) for section in read if section.value]

    def _section(self, section: Section) -> SectionRead:
        name = _SECTION_OF_KEY[section.key]
        self._read[name] = read_section(name, section.value, self._call.brief)
        return self._read[name]

    def finished(self, reply: Reply, provider: Provider) -> ContentResult:
        """Judges the whole answer: first the call's own outcome, then its JSON, then its sections."""
        outcome, faults = AttemptOutcome(reply.outcome.value), [_fault(reply.reason)] if reply.reason else []
        if reply.outcome is CallOutcome.OK:
            outcome, faults = self._judge()
        content = self._content()
        if SectionName.FRAME in self._call.wanted and content.frame is None:
            content = self._with_derived_frame(content)
        missing = [name for name in self._call.wanted if content.section(name) is None]
        if outcome is AttemptOutcome.OK and missing:
            outcome, faults = AttemptOutcome.INVALID_SCHEMA, self._faults_of_sections(missing)
        attempt = attempt_reported(
            reply,
            attempt_id=self._call.attempt_id,
            stage=Stage.STAGE1,
            section=None,
            provider=provider.value,
            model=self._call.model,
            outcome=outcome,
            reason=str(faults[0]) if faults else "",
        )
        return ContentResult(
            content=content,
            attempt=attempt,
            issues=(*self._notes(content), *faults),
            origin=reply.fingerprint if provider is Provider.OFFLINE else "",
        )

    def _faults_of_sections(self, missing: list[SectionName]) -> list[Issue]:
        faults = [fault for read in self._read.values() for fault in read.faults]
        return faults + [
            issue_at(name.value, "missing", IssueSeverity.FAULT) for name in missing if name not in self._read
        ]

    def _notes(self, content: Content) -> list[Issue]:
        """Issues of the valid sections. A finding of both a level check and a style rule appears once."""
        level = self._call.brief.level
        found = [note for read in self._read.values() for note in read.notes]
        found += soft_notes(content, level)
        known = {(issue.path, issue.text) for issue in found}
        style = style_issues(content, level)
        found += [issue for issue in style if (issue.path, issue.text) not in known]
        to_reask = {(issue.path, issue.text): issue for issue in issues_to_reask(style)}
        return [to_reask.get((issue.path, issue.text), issue) for issue in found]

    def _judge(self) -> tuple[AttemptOutcome, list[Issue]]:
        try:
            whole = self._stream.finish("stop")
        except ExtractError as error:
            if error.reason in _CONTRADICTIONS:
                self._read.clear()
            return AttemptOutcome.INVALID_JSON, [_fault(f"{error.reason}: {error.detail}")]
        for key, value in whole.value.items():
            name = _SECTION_OF_KEY.get(key)
            if name in self._call.wanted and name not in self._read:
                self._read[name] = read_section(name, value, self._call.brief)
        return AttemptOutcome.OK, []

    def _content(self) -> Content:
        content = Content()
        for name, read in self._read.items():
            if read.value is not None:
                content = content.with_section(name, read.value)
        return content

    def _with_derived_frame(self, content: Content) -> Content:
        """Derives the frame, with a note, for an answer in the earlier system's shape, which has none."""
        whole = content.reading and content.dialogue and content.grammar
        if SectionName.FRAME in self._read or not whole:
            return content
        read = SectionRead(SectionName.FRAME, derive_frame(self._call.brief, content))
        read.notes.append(issue_at("frame", "not given; derived from the brief and those who speak"))
        self._read[SectionName.FRAME] = read
        return content.model_copy(update={"frame": read.value})


def _fault(text: str) -> Issue:
    return general_issue(text, IssueSeverity.FAULT)
