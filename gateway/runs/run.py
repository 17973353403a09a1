"""The life of one run: Stage 1 and Stage 2 side by side, until the lesson is done or the time is up."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway import merge
from gateway.events import Accepted, Completed
from gateway.master.lesson import render
from gateway.runs.context import RunContext
from gateway.runs.stage1 import Stage1
from gateway.runs.stage2 import Stage2
from gateway.runs.stage_clients import StageDescription
from lesson.japanese.readability import measure, with_notes
from lesson.models import Lesson, Versions, general_issue
from lesson.steps import run_in_slices
from servicekit.errors import ServiceError

_DESCRIBE_SECONDS: Final = 5.0
_NO_VERSIONS: Final = Versions(prompt_stage1="", prompt_stage2="", lesson_schema="", annotator="")


class Run:
    """One lesson. `work` makes it; `events` is its log."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self.lesson_id = context.lesson_id
        self.events = context.events

    async def work(self) -> None:
        """Makes the lesson. Raises ServiceError when there can be none; leaves no call and no task behind."""
        with self._context.recorder.lesson_span():
            await self._work()

    async def _work(self) -> None:
        context, outcome = self._context, "cancelled"
        try:
            context.recorder.log_start()
            retired = (*context.stage1_retired, *context.stage2_retired)
            context.draft.notes.extend(general_issue(f"{each}; it was not asked") for each in retired)
            self.events.append(Accepted(context.brief, context.stage1_models, context.stage2_models))
            lesson = await self._lesson()
            measured = await run_in_slices(measure(lesson))
            lesson = with_notes(lesson, measured)
            master = await run_in_slices(render(lesson, measured))
            outcome = lesson.outcome.value
            self.events.append(Completed(lesson, master))
        except ServiceError as error:
            outcome = "failed"
            context.recorder.log_failure(error)
            raise
        finally:
            sections = [merge.section_of(context.draft, name) for name in context.draft.sections]
            context.recorder.report_end(outcome, sections, context.draft)
            self.events.close()

    async def _lesson(self) -> Lesson:
        context = self._context
        stage2 = Stage2(context)
        stage1 = Stage1(context, stage2.start, stage2.stop)
        describing = asyncio.create_task(context.shared.upstream.describe(_DESCRIBE_SECONDS))
        try:
            async with asyncio.timeout(context.stage2_seconds_left):
                await stage1.run()
                stage2.report_if_all_fell_back()
                await stage2.finish()
                versions = self._take_description(await describing)
        except TimeoutError:
            note = general_issue("the deadline came first: the lesson holds what was finished by then")
            context.draft.notes.append(note)
            described = describing.done() and not describing.cancelled()
            versions = self._take_description(describing.result()) if described else _NO_VERSIONS
        finally:
            describing.cancel()
            await asyncio.gather(describing, stage2.close(), return_exceptions=True)
        return self._assembled(stage1, stage2, versions)

    def _take_description(self, described: StageDescription) -> Versions:
        """Keeps the end dates that the providers list, for the next lesson."""
        retirement, config = self._context.shared.retirement, self._context.config
        retirement.add_listed(config.stage1_provider, described.stage1_ends)
        retirement.add_listed(config.stage2_provider, described.stage2_ends)
        return described.versions

    def _assembled(self, stage1: Stage1, stage2: Stage2, versions: Versions) -> Lesson:
        """The lesson, reported. Raises ServiceError when a required section is missing."""
        context = self._context
        stage1.report_end()  # where the deadline came before its own report
        context.draft.duration_seconds = context.recorder.elapsed
        lesson = merge.assemble(context.draft, context.recorder.attempts, versions)
        with_items = [section for section in lesson.sections if section.items]
        context.recorder.report_stage2_end(
            with_items, next(iter(context.stage2_models), ""), context.draft.stage2_seconds
        )
        if not merge.can_succeed(context.draft):
            raise stage1.failure()
        stage2.report_unfinished()
        return lesson
