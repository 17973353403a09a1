"""Stage 1 of a run: attempts at the content until every section is written, or no attempt can help.

A section is released while the model still writes the next one. That work is speculative: what the end of the answer
contradicts, or a re-ask replaces, is withdrawn. A re-ask asks only for what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing

from gateway import merge
from gateway.attempts.costs import most_tokens, stage1_usd
from gateway.attempts.scheduler import AttemptPermit, AttemptScheduler
from gateway.draft import DraftSection
from gateway.events import SectionReady, SectionReplaced
from gateway.runs.context import MIN_ATTEMPT_SECONDS, RunContext, next_reasons
from gateway.runs.errors import budget_exceeded, stage1_failure, stage1_retired
from lesson.calls import ContentCall, ContentResult
from lesson.models import Attempt, AttemptKind, Issue, SectionName, SectionValue, Stage
from servicekit.errors import ServiceError


class Stage1:
    """Writes the sections into the draft. `on_release` starts Stage 2 of a section, `on_withdraw` stops it."""

    def __init__(
        self,
        context: RunContext,
        on_release: Callable[[DraftSection], None],
        on_withdraw: Callable[[DraftSection], None],
    ) -> None:
        self._context = context
        self._draft = context.draft
        self._on_release = on_release
        self._on_withdraw = on_withdraw
        self._last: Attempt | None = None
        self._refused_by: str | None = None
        """The scope of the budget that left no model."""
        self._reported = False

    async def run(self) -> None:
        """Raises ServiceError when there can be no lesson."""
        context = self._context
        if not context.stage1_models:
            self.report_end()
            raise stage1_retired(context.stage1_retired, context.lesson_id)
        scheduler = context.scheduler(
            context.config.stage1_provider, context.stage1_models, context.stage1_budget, self._price
        )
        time_for_stage1 = context.stage1_seconds_left
        await self._write_missing(scheduler)
        self._refused_by = context.report_refusal(scheduler)
        if context.stage1_seconds_left > time_for_stage1 / 2:
            await self._improve_style(scheduler)
        self._draft.stage1_seconds = context.recorder.elapsed
        self.report_end()
        if not merge.can_succeed(self._draft):
            raise self.failure()

    def report_end(self) -> None:
        """Reports how Stage 1 ended, once; not when the budget allowed no attempt."""
        if self._reported or (self._last is None and self._refused_by):
            return
        self._reported = True
        model = self._last.model if self._last else self._context.stage1_chain[0]
        failed = not merge.can_succeed(self._draft)
        self._context.recorder.report_stage1_end(model, len(self._draft.sections), failed)

    def failure(self) -> ServiceError:
        """The error of a lesson that lacks a required section."""
        if self._last is None and self._refused_by is not None:
            return budget_exceeded(self._refused_by, self._context.lesson_id)
        return stage1_failure(self._last, self._draft.missing, self._context.lesson_id)

    def _price(self, model: str, seconds: float) -> float | None:
        config = self._context.config
        tokens = most_tokens(config.stage1_max_output_tokens, seconds)
        return stage1_usd(config.stage1_provider, model, tokens, self._context.now())

    async def _write_missing(self, scheduler: AttemptScheduler) -> None:
        context, reachable = self._context, True
        reasons: tuple[Issue, ...] = ()
        while (
            reachable and (missing := self._draft.missing) and (permit := scheduler.next(context.stage1_seconds_left))
        ):
            with permit:
                await permit.pause()
                if context.stage1_seconds_left < MIN_ATTEMPT_SECONDS:
                    break
                result, attempt = await self._attempt(permit, missing, reasons)
            scheduler.record_outcome(attempt, [str(fault) for fault in result.faults])
            reasons = next_reasons(attempt, result.faults, reasons)
            reachable = not self._draft.missing or await context.stage_returns(attempt)

    async def _improve_style(self, scheduler: AttemptScheduler) -> None:
        """Asks once more for sections that a learner would stumble over; only a better answer replaces one.

        Never for the frame: every other section is written on it.
        """
        issues = self._draft.style_issues
        wanted = tuple(name for name, found in issues.items() if found and name is not SectionName.FRAME)
        if not wanted or self._draft.missing:
            return
        permit = scheduler.next(self._context.stage1_seconds_left)
        if permit is None:
            return
        with permit:
            if permit.attempt.kind is AttemptKind.REASK:
                reasons = tuple(issue for name in wanted for issue in issues[name])
                await self._attempt(permit, wanted, reasons, only_better=True)

    async def _attempt(
        self,
        permit: AttemptPermit,
        wanted: tuple[SectionName, ...],
        reasons: tuple[Issue, ...],
        *,
        only_better: bool = False,
    ) -> tuple[ContentResult, Attempt]:
        """One model call, and its attempt as counted. `only_better`: an answer replaces only what is worse."""
        context = self._context
        opening = context.recorder.open_attempt(permit, context.config.stage1_provider, Stage.STAGE1, None)
        async with context.shared.stage1_calls:
            with opening as opened:
                call = self._call(opened.id, permit, wanted, reasons)
                result, released = await self._read(call, release=not only_better)
                useful = self._take_better(result, wanted) if only_better else self._accept(result, wanted, released)
                attempt = opened.settle(result.attempt, wasted=not useful)
        if not only_better:
            self._last = attempt
            self._take_issues(result, wanted)
        return result, attempt

    def _call(
        self, attempt_id: str, permit: AttemptPermit, wanted: tuple[SectionName, ...], reasons: tuple[Issue, ...]
    ) -> ContentCall:
        return ContentCall(
            brief=self._context.brief,
            model=permit.attempt.model,
            attempt_id=attempt_id,
            wanted=wanted,
            confirmed=self._draft.content(without=wanted),
            reask_reasons=reasons,
            max_cost_usd=permit.reserved_usd,
        )

    async def _read(self, call: ContentCall, *, release: bool) -> tuple[ContentResult, set[SectionName]]:
        """Reads the stage's stream to its result; returns the sections that it released on the way, too."""
        released: set[SectionName] = set()
        seconds = self._context.stage1_seconds_left
        async with aclosing(self._context.shared.upstream.generate(call, seconds)) as events:
            async for event in events:
                if isinstance(event, ContentResult):
                    result = event
                elif release and event.value is not None:
                    released.add(event.name)
                    self._release(event.name, event.value)
        return result, released

    def _accept(self, result: ContentResult, wanted: Sequence[SectionName], released: set[SectionName]) -> bool:
        """Takes the result, which counts, in place of what was released on the way; True when it holds anything."""
        useful = False
        for name in wanted:
            value = result.content.section(name)
            if value is not None:
                useful = True
                self._release(name, value)
            elif name in released:
                self._withdraw(name, f"the answer took it back: {result.attempt.reason}")
        return useful

    def _take_better(self, result: ContentResult, wanted: Sequence[SectionName]) -> bool:
        """Takes each section that has fewer style issues than the current one; True when any has."""
        better = False
        for name in wanted:
            value, issues = result.content.section(name), result.style_issues(name)
            if value is not None and len(issues) < len(self._draft.style_issues[name]):
                better = True
                self._release(name, value)
                self._draft.style_issues[name] = issues
                self._draft.replace_notes(name, [note for note in result.notes if note.section is name])
        return better

    def _take_issues(self, result: ContentResult, wanted: Sequence[SectionName]) -> None:
        draft = self._draft
        draft.origin = draft.origin or result.origin
        draft.notes.extend(result.notes)
        for name in wanted:
            if name in draft.sections:
                draft.style_issues[name] = result.style_issues(name)
        for name in draft.missing:
            faults = (str(fault) for fault in result.faults if fault.section is name)
            draft.missing_reasons[name] = next(faults, result.attempt.reason)

    def _release(self, name: SectionName, value: SectionValue) -> None:
        """Puts a section into the draft and starts its Stage 2, unless this very section stands already."""
        if self._draft.holds(name, value):
            return
        if name in self._draft.sections:
            self._withdraw(name, "a later answer replaced it")
        section = self._draft.put(name, value, self._context.recorder.elapsed)
        self._context.events.append(SectionReady(name, section.revision, value))
        self._on_release(section)

    def _withdraw(self, name: SectionName, reason: str) -> None:
        section = self._draft.sections.pop(name)
        self._on_withdraw(section)
        self._context.events.append(SectionReplaced(name, section.revision, reason))
