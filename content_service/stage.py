"""Stage 1: one model call that writes the lesson, released section by section as each is complete and valid."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from content_service import prompts
from lesson.japanese.levels import soft_notes
from lesson.japanese.style import issues_to_reask, style_issues
from lesson.models import (
    Attempt,
    AttemptOutcome,
    Brief,
    Content,
    SectionName,
    SectionValue,
    Stage,
    attempt_reported,
)
from lesson.parsing import SectionRead, derive_frame, read_section
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.client import CallOutcome, JsonSchema, ModelClient, ModelRequest, Reply
from servicekit.llm.extraction import ExtractError, Section, SectionStream

# The answer took back what it had said: nothing of it can be believed.
_CONTRADICTIONS = {"ambiguous", "section_conflict", "content_after_root", "duplicate_key"}
_SECTION_OF_KEY = {key: name for name in SectionName for key in (name.json_key, name.value)}


@dataclass(frozen=True)
class ContentRequest:
    """One attempt at the content of a lesson."""

    brief: Brief
    model: str
    attempt_id: str
    timeout_seconds: float
    max_output_tokens: int
    wanted: tuple[SectionName, ...] = tuple(SectionName)
    confirmed: Content = field(default_factory=Content)
    reask_reasons: tuple[str, ...] = ()
    max_cost_usd: float | None = None


@dataclass(frozen=True)
class SectionReleased:
    """A section that is complete and valid, while the model may still write the next one."""

    name: SectionName
    value: SectionValue
    revision: int = 1


@dataclass(frozen=True)
class ContentFinished:
    """The end of the attempt: what counts, what it cost, what was derived, what a re-ask should mend."""

    content: Content
    attempt: Attempt
    notes: tuple[str, ...]
    faults: tuple[str, ...]
    style_faults: tuple[str, ...]
    """What is worth asking for again once, of sections that stand; path first."""
    origin: str
    """What the provider says of content that no language model wrote; empty else."""


class ContentStage:
    """Asks one model server. The limits are for the first text of an answer, and for any silence after it."""

    def __init__(
        self, client: ModelClient, reasoning_effort: str, first_token_seconds: float, stall_seconds: float
    ) -> None:
        self._client = client
        self._reasoning_effort = reasoning_effort
        self._first_token_seconds = first_token_seconds
        self._stall_seconds = stall_seconds

    async def generate(self, request: ContentRequest) -> AsyncGenerator[SectionReleased | ContentFinished, None]:
        """Sections as they come, then always one ContentFinished, however the call ended."""
        answer = _Answer(request)
        async with self._client.stream(self._model_request(request)) as stream:
            async for delta in stream:
                for section in answer.feed(delta):
                    yield section
        yield answer.finished(stream.reply, self._client.provider)

    def _model_request(self, request: ContentRequest) -> ModelRequest:
        structured = capabilities(self._client.provider, request.model).structured
        return ModelRequest(
            model=request.model,
            system=prompts.system_prompt(request.brief.level, with_shape=structured != "json_schema"),
            user=prompts.user_prompt(request.brief, request.wanted, request.confirmed, request.reask_reasons),
            attempt_id=request.attempt_id,
            max_output_tokens=request.max_output_tokens,
            timeout_seconds=request.timeout_seconds,
            schema=JsonSchema("lesson", prompts.sections_schema(request.wanted)),
            reasoning_effort=self._reasoning_effort,
            first_token_seconds=self._first_token_seconds,
            stall_seconds=self._stall_seconds,
            max_cost_usd=request.max_cost_usd,
        )


class _Answer:
    """What one answer has said so far."""

    def __init__(self, request: ContentRequest) -> None:
        self._request = request
        self._stream = SectionStream([key for key, name in _SECTION_OF_KEY.items() if name in request.wanted])
        self._read: dict[SectionName, SectionRead] = {}

    def feed(self, delta: str) -> list[SectionReleased]:
        """The sections that this delta completes and that are valid."""
        read = [self._section(section) for section in self._stream.feed(delta)]
        return [SectionReleased(section.name, section.value) for section in read if section.value]

    def _section(self, section: Section) -> SectionRead:
        name = _SECTION_OF_KEY[section.key]
        self._read[name] = read_section(name, section.value, self._request.brief)
        return self._read[name]

    def finished(self, reply: Reply, provider: Provider) -> ContentFinished:
        """Judges the answer as a whole. The call's own outcome comes first, then whole JSON, then valid sections."""
        outcome, faults = AttemptOutcome(reply.outcome.value), [reply.reason] if reply.reason else []
        if reply.outcome is CallOutcome.OK:
            outcome, faults = self._judge()
        content = self._content()
        if SectionName.FRAME in self._request.wanted and content.frame is None:
            content = self._with_derived_frame(content)
        missing = [name for name in self._request.wanted if content.section(name) is None]
        if outcome is AttemptOutcome.OK and missing:
            outcome = AttemptOutcome.INVALID_SCHEMA
            faults = [fault for read in self._read.values() for fault in read.faults]
            faults += [f"{name.value}: missing" for name in missing if name not in self._read]
        notes = [note for read in self._read.values() for note in read.notes]
        notes += soft_notes(content, self._request.brief.level)
        style = style_issues(content, self._request.brief.level)
        notes += [str(fault) for fault in style if str(fault) not in notes]
        attempt = attempt_reported(
            reply,
            attempt_id=self._request.attempt_id,
            stage=Stage.STAGE1,
            section=None,
            provider=provider.value,
            model=self._request.model,
            outcome=outcome,
            reason=faults[0] if faults else "",
        )
        return ContentFinished(
            content=content,
            attempt=attempt,
            notes=tuple(notes),
            faults=tuple(faults),
            style_faults=tuple(map(str, issues_to_reask(style))),
            origin=reply.fingerprint if provider is Provider.OFFLINE else "",
        )

    def _judge(self) -> tuple[AttemptOutcome, list[str]]:
        try:
            whole = self._stream.finish("stop")
        except ExtractError as error:
            if error.reason in _CONTRADICTIONS:
                self._read.clear()
            return AttemptOutcome.INVALID_JSON, [f"{error.reason}: {error.detail}"]
        for key, value in whole.value.items():
            name = _SECTION_OF_KEY.get(key)
            if name in self._request.wanted and name not in self._read:
                self._read[name] = read_section(name, value, self._request.brief)
        return AttemptOutcome.OK, []

    def _content(self) -> Content:
        content = Content()
        for name, read in self._read.items():
            if read.value is not None:
                content = content.with_section(name, read.value)
        return content

    def _with_derived_frame(self, content: Content) -> Content:
        """An answer in the earlier system's shape has no frame: it is derived, and a note says so."""
        whole = content.reading and content.dialogue and content.grammar
        if SectionName.FRAME in self._read or not whole:
            return content
        read = SectionRead(SectionName.FRAME, derive_frame(self._request.brief, content))
        read.notes.append("frame: not given; derived from the brief and those who speak")
        self._read[SectionName.FRAME] = read
        return content.model_copy(update={"frame": read.value})
