"""Stage 2 of a run: each released section is enhanced in a task of its own, while Stage 1 goes on.

A re-ask asks only for items that lack something, always with their section as context.
"""

from __future__ import annotations

import asyncio
import contextvars
import uuid

from gateway import merge
from gateway.attempts.costs import most_usd
from gateway.attempts.policy import NextAttempt
from gateway.attempts.scheduler import AttemptPermit, AttemptScheduler
from gateway.draft import DraftSection
from gateway.events import SectionEnhanced
from gateway.runs.context import MIN_ATTEMPT_SECONDS, RunContext, next_reasons
from lesson.calls import EnhanceCall
from lesson.models import Attempt, AttemptOutcome, Issue, SectionName, Stage
from lesson.token_budget import token_budget
from servicekit import tracing


class Stage2:
    """Enhances the sections of the draft."""

    def __init__(self, context: RunContext) -> None:
        """Sections are enhanced in the contextvars of the caller: their spans belong to the lesson's span."""
        self._context = context
        self._mode = context.config.mode
        self._surroundings = contextvars.copy_context()
        self._current: dict[SectionName, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._began_seconds: float | None = None
        self._fell_back: dict[SectionName, str] = {}
        """The fallback model that each section needed."""
        self._all_fell_back = False

    def start(self, section: DraftSection) -> None:
        """Starts the enhancement of a released section."""
        if self._began_seconds is None:
            self._began_seconds = self._context.recorder.elapsed
        task = asyncio.create_task(self._enhance(section), context=self._surroundings.copy())
        self._current[section.name] = task
        self._tasks.append(task)

    def stop(self, section: DraftSection) -> None:
        """Cancels the enhancement of a withdrawn section."""
        self._current.pop(section.name).cancel()

    async def finish(self) -> None:
        """Waits for every section of the draft."""
        await asyncio.gather(*self._current.values())

    async def close(self) -> None:
        """Cancels what still runs and waits for it, so that nothing outlives the run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def report_if_all_fell_back(self) -> None:
        """Logs once that no section got through on the first model; operators search for this event."""
        draft = self._context.draft
        asked = {section.name for section in draft.sections.values() if section.items}
        if draft.stage1_seconds and not self._all_fell_back and asked <= self._fell_back.keys():
            self._all_fell_back = True
            self._context.recorder.log_all_sections_fell_back(next(iter(self._fell_back.values())))

    def report_unfinished(self) -> None:
        """Counts the sections that were not written, or not finished before the deadline."""
        context = self._context
        for name in SectionName:
            section = context.draft.sections.get(name)
            if section is None or not section.done:
                seconds = context.recorder.elapsed - section.began_seconds if section else None
                result = merge.section_of(context.draft, name)
                context.recorder.report_section_end(result, self._first_model, seconds)

    @property
    def _first_model(self) -> str:
        """Sections that no model answered for are counted under this name."""
        return next(iter(self._context.config.stage2_models), "")

    async def _enhance(self, section: DraftSection) -> None:
        """Makes attempts until every item is accepted, or no attempt can help."""
        context = self._context
        if not (context.stage2_models and any(item.needs_model(self._mode) for item in section.items)):
            await self._analyse(section)
        scheduler = context.scheduler(
            context.config.stage2_provider,
            context.stage2_models,
            context.budget,
            lambda model, seconds: self._price(model, section, seconds),
        )
        await self._ask_models(section, scheduler)
        if scope := context.report_refusal(scheduler):
            section.shortfall = _joined(f"the {scope}'s cost limit leaves no model", section.shortfall)
            await self._analyse(section)
        self._finish_section(section)

    async def _ask_models(self, section: DraftSection, scheduler: AttemptScheduler) -> None:
        context, number, reachable = self._context, 0, True
        reasons: tuple[Issue, ...] = ()
        while (
            reachable
            and (wanted := section.ids_needing_model(self._mode))
            and (permit := scheduler.next(context.stage2_seconds_left))
        ):
            with permit:
                await permit.pause()
                if context.stage2_seconds_left < MIN_ATTEMPT_SECONDS:
                    section.shortfall = _joined(merge.TOO_LATE, section.shortfall)
                    break
                number += 1
                self._note_fallback(section.name, permit.attempt)
                attempt, faults = await self._attempt(section, permit, wanted, reasons)
            scheduler.record_outcome(attempt, [str(fault) for fault in faults])
            reasons = next_reasons(attempt, faults, reasons)
            if still := section.ids_needing_model(self._mode):
                context.recorder.log_section_attempt_failed(attempt, len(still), number)
                reachable = await context.stage_returns(attempt)

    def _price(self, model: str, section: DraftSection, seconds: float) -> float | None:
        asked = [item for item in section.items if item.needs_model(self._mode)]
        tokens = token_budget(section.items, asked, self._mode)
        return most_usd(self._context.config.stage2_provider, model, tokens, self._context.now(), seconds)

    def _note_fallback(self, name: SectionName, attempt: NextAttempt) -> None:
        if attempt.model != self._context.stage2_models[0]:
            self._fell_back[name] = attempt.model
            self.report_if_all_fell_back()

    def _finish_section(self, section: DraftSection) -> None:
        context = self._context
        section.done = True
        result = merge.section_of(context.draft, section.name)
        context.draft.stage2_seconds = context.recorder.elapsed - (self._began_seconds or 0.0)
        models = (item.text.translation_model for item in section.best.values())
        model = next((model for model in models if model), self._first_model)
        context.recorder.report_section_end(result, model, context.recorder.elapsed - section.began_seconds)
        context.events.append(SectionEnhanced(result))

    async def _analyse(self, section: DraftSection) -> None:
        """Gets readings without a model, unless an attempt has brought them."""
        if section.best or not section.items:
            return
        upstream, call = self._context.shared.upstream, self._call(section, "", uuid.uuid4().hex)
        with tracing.span(f"{section.name.value} analyser", {"nidan.section": section.name.value}, "client"):
            result = await upstream.enhance(call, self._seconds_left)
            if result.attempt and await upstream.ready(Stage.STAGE2, self._context.config.restart_seconds):
                result = await upstream.enhance(call, self._seconds_left)
        section.keep_better(result.items)
        section.shortfall = section.shortfall or self._why_no_model()

    def _why_no_model(self) -> str:
        retired = self._context.stage2_retired
        if retired and not self._context.stage2_models:
            return f"no model was asked: {'; '.join(retired)}"
        return "no model was asked"

    async def _attempt(
        self, section: DraftSection, permit: AttemptPermit, wanted: tuple[str, ...], reasons: tuple[Issue, ...]
    ) -> tuple[Attempt, tuple[Issue, ...]]:
        """One model call for the wanted items: its attempt as counted, and what a re-ask should mend."""
        context = self._context
        opening = context.recorder.open_attempt(permit, context.config.stage2_provider, Stage.STAGE2, section.name)
        async with context.shared.stage2_calls:
            with opening as opened:
                call = self._call(
                    section, permit.attempt.model, opened.id, wanted, reasons=reasons, max_cost_usd=permit.reserved_usd
                )
                tracing.note({"nidan.items": len(wanted)})
                result = await context.shared.upstream.enhance(call, self._seconds_left)
                improved = section.keep_better(result.items)
                attempt = opened.settle(result.attempt or opened.cancelled, wasted=not improved)
        section.shortfall = _failure_of(attempt)
        return attempt, tuple(issue for item in result.items for issue in item.issues)

    @property
    def _seconds_left(self) -> float:
        return max(MIN_ATTEMPT_SECONDS, self._context.stage2_seconds_left)

    def _call(
        self,
        section: DraftSection,
        model: str,
        attempt_id: str,
        wanted: tuple[str, ...] = (),
        *,
        reasons: tuple[Issue, ...] = (),
        max_cost_usd: float | None = None,
    ) -> EnhanceCall:
        return EnhanceCall(
            section=section.name,
            brief=self._context.brief,
            frame=self._context.draft.frame,
            items=section.items,
            model=model,
            attempt_id=attempt_id,
            mode=self._mode,
            wanted_ids=wanted,
            reask_reasons=reasons,
            max_cost_usd=max_cost_usd,
        )


def _failure_of(attempt: Attempt) -> str:
    if attempt.outcome is AttemptOutcome.OK:
        return ""
    if attempt.outcome in (AttemptOutcome.UPSTREAM, AttemptOutcome.SHED):
        return attempt.reason
    return f"{attempt.model}: {attempt.outcome.value}: {attempt.reason}"


def _joined(first: str, then: str) -> str:
    return f"{first}; {then}" if then else first
