"""One lesson being made: Stage 1 and Stage 2 side by side, until all is said, or the time is up.

A section's Stage 2 begins when Stage 1 releases it, while the model still writes the next. Such work is speculative:
what the end of an answer contradicts, or a re-ask replaces, is withdrawn, its Stage 2 cancelled and its cost counted as
waste. Only what is missing is asked again, and only items that lack something, always with their section as context.
"""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from gateway import merge
from gateway.attempts.breaker import Breakers
from gateway.attempts.budget import Budget, DayBudget
from gateway.attempts.costs import most_usd, stage1_usd
from gateway.attempts.ledger import Ledger
from gateway.attempts.policy import Remedy, Step, remedy_for
from gateway.attempts.retirement import Retirement
from gateway.attempts.scheduler import Turn, Turns, Waits
from gateway.events import Accepted, Completed, Event, LessonSpec, SectionEnhanced, SectionReady, SectionReplaced
from gateway.master.lesson import master_json
from gateway.metrics import LessonMetrics
from gateway.runs.errors import budget_exceeded, stage1_failure, stage1_retired
from gateway.runs.recorder import Journal
from gateway.runs.stage_clients import ContentCall, ContentResult, Described, EnhanceCall, EnhanceResult, Upstream
from lesson.items import extract_items
from lesson.japanese.readability import with_notes
from lesson.models import (
    Attempt,
    AttemptKind,
    AttemptOutcome,
    Brief,
    Content,
    EnhancedItem,
    EnhancedSection,
    EnhancementMode,
    Frame,
    Item,
    Lesson,
    Outcome,
    ReadingProvenance,
    SectionName,
    SectionValue,
    Stage,
    Versions,
    unanswered_attempt,
)
from lesson.token_budget import token_budget
from servicekit import tracing
from servicekit.errors import ServiceError
from servicekit.llm.capabilities import Provider

_DESCRIBE_SECONDS = 5.0
_LEAST_ATTEMPT_SECONDS = 1.0
"""With less left than this an attempt is not begun."""
_TOO_LATE = "the deadline came first"


@dataclass(frozen=True)
class Flow:
    """How lessons are made here: fixed for the life of the process."""

    stage1_provider: Provider
    stage1_models: tuple[str, ...]
    stage2_provider: Provider
    stage2_models: tuple[str, ...]
    deadline_seconds: float
    reserve_seconds: float
    """Kept from Stage 1 for the sections written last."""
    margin_seconds: float
    """A run ends this long before its deadline, with what it has."""
    cost_limit_usd: float
    """The most that one lesson may cost."""
    kept_for_stage2_usd: float
    """Of it, what Stage 1 leaves: every section once, with the cheapest model."""
    day_limit_usd: float | None
    """The most that all lessons of a UTC day may cost in this process; None: no limit."""
    restart_seconds: float
    """A stage that cannot be reached is waited for so long; trying it meanwhile would only use attempts up."""
    mode: EnhancementMode
    stage1_max_output_tokens: int
    lessons_limit: int
    """Lessons at once; more are refused before a running one is degraded."""
    stage1_calls_limit: int
    stage2_calls_limit: int
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    enabled: bool = True


@dataclass(frozen=True)
class Stages:
    """What all lessons share: the two stages, how many calls to each may be under way at once, who may be asked."""

    upstream: Upstream
    stage1_calls: asyncio.Semaphore
    stage2_calls: asyncio.Semaphore
    breakers: Mapping[Provider, Breakers]
    """By provider: a model that both stages ask has one breaker."""
    retirement: Retirement
    day: DayBudget


@dataclass
class _Section:
    """A section that Stage 1 released, and what Stage 2 has made of it so far."""

    name: SectionName
    value: SectionValue
    revision: int
    mode: EnhancementMode
    items: tuple[Item, ...]
    began: float
    """Seconds into the run."""
    best: dict[str, EnhancedItem] = field(default_factory=dict)
    why: str = ""
    """Why it is not enhanced, as far as the last attempt told."""
    done: bool = False
    task: asyncio.Task[None] = field(init=False)

    def result(self) -> EnhancedSection:
        texts = [item.text for item in self.best.values()]
        return merge.enhanced_section(self.name, self.items, texts, self.revision, self.why)

    def wanting_model(self) -> tuple[str, ...]:
        """Ids of the items that lack something a model could give, or whose answer had faults.

        Before any answer that is every item: the first call brings the analyser's share, too.
        """
        return tuple(
            item.id
            for item in self.items
            if (item.needs_model(self.mode) or not self.best) and not _stands(self.best.get(item.id))
        )


def _stands(item: EnhancedItem | None) -> bool:
    return item is not None and item.text.complete and not item.faults


class Run:
    """One lesson. `work()` makes it; `told` gives its events, and None when there are no more."""

    def __init__(
        self,
        *,
        flow: Flow,
        stages: Stages,
        metrics: LessonMetrics,
        ledger: Ledger,
        spec: LessonSpec,
        brief: Brief,
        now: Callable[[], datetime],
    ) -> None:
        self.lesson_id = str(uuid.uuid4())
        self.told: asyncio.Queue[Event | None] = asyncio.Queue()
        self._flow = flow
        self._stages = stages
        self._spec = spec
        self._brief = brief
        self._now = now
        self._created_at = now().timestamp()
        self._journal = Journal(metrics, ledger, brief, self.lesson_id)
        self._budget = Budget("lesson", flow.cost_limit_usd, stages.day)
        self._stage1_budget = Budget("lesson", flow.cost_limit_usd - flow.kept_for_stage2_usd, self._budget)
        self._waits: dict[Provider, Waits] = {}
        self._refused_by: str | None = None
        """The budget that left no model for Stage 1."""
        self._stage1_models, self._stage1_ended = stages.retirement.parted(
            flow.stage1_provider, self._stage1_chain(), now().date()
        )
        self._stage2_models, self._stage2_ended_models = stages.retirement.parted(
            flow.stage2_provider, flow.stage2_models, now().date()
        )
        self._notes: list[str] = []
        self._missing_because: dict[SectionName, str] = {}
        self._style: dict[SectionName, tuple[str, ...]] = {}
        """What is worth asking for again of the sections that stand."""
        self._origin = ""
        self._sections: dict[SectionName, _Section] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._revisions: dict[SectionName, int] = {}
        self._fell_back: dict[SectionName, str] = {}
        self._all_fell_back = False
        self._last_stage1: Attempt | None = None
        self._stage1_seconds = 0.0
        self._stage1_told = False
        self._stage2_began: float | None = None
        self._stage2_ended = 0.0
        self._around: contextvars.Context
        """What the lesson's sections begin under."""

    async def work(self) -> None:
        """Makes the lesson. Raises ServiceError when there can be none; leaves no call and no task behind."""
        with self._journal.lesson_span():
            self._around = contextvars.copy_context()
            await self._work()

    async def _work(self) -> None:
        ended = "cancelled"
        try:
            self._journal.started()
            gone = (*self._stage1_ended, *self._stage2_ended_models)
            self._notes.extend(f"{ending.told(self._now().date())}; it was not asked" for ending in gone)
            self.told.put_nowait(Accepted(self._brief, self._stage1_models, self._stage2_models))
            lesson = await self._lesson()
            ended = lesson.outcome.value
            self.told.put_nowait(Completed(lesson, master_json(lesson)))
        except ServiceError as error:
            ended = "failed"
            self._journal.failed(error)
            raise
        finally:
            stage2_seconds = self._stage2_seconds
            self._journal.ended(
                ended, [section.result() for section in self._sections.values()], self._stage1_seconds, stage2_seconds
            )
            self.told.put_nowait(None)

    async def _lesson(self) -> Lesson:
        versions = asyncio.create_task(self._stages.upstream.describe(_DESCRIBE_SECONDS))
        try:
            async with asyncio.timeout(self._left(self._flow.margin_seconds)):
                await self._stage1()
                await asyncio.gather(*(section.task for section in self._sections.values()))
                told = self._described(await versions)
        except TimeoutError:
            self._notes.append("the deadline came first: the lesson is what there was by then")
            done = versions.done() and not versions.cancelled()
            told = self._described(versions.result()) if done else _NO_VERSIONS
        finally:
            await _end([versions, *self._tasks])
        return self._built(told)

    def _described(self, told: Described) -> Versions:
        """Takes in what the providers list of their models' ends: the next lesson will know it."""
        self._stages.retirement.take_in(self._flow.stage1_provider, told.stage1_ends)
        self._stages.retirement.take_in(self._flow.stage2_provider, told.stage2_ends)
        return told.versions

    def _left(self, reserve_seconds: float) -> float:
        """Seconds to the deadline, less what is kept. A caller may only lower the one; the other shrinks with it."""
        share = min(1.0, (self._spec.timeout_seconds or self._flow.deadline_seconds) / self._flow.deadline_seconds)
        return max(0.0, share * (self._flow.deadline_seconds - reserve_seconds) - self._journal.elapsed)

    # --- Stage 1 ------------------------------------------------------------------------------------------------

    async def _stage1(self) -> None:
        """Attempts until every section is there, or none can help; then what is missing is said."""
        if not self._stage1_models:
            self._stage1_failed()
            raise stage1_retired([ending.told(self._now().date()) for ending in self._stage1_ended], self.lesson_id)
        turns = self._turns(self._flow.stage1_provider, self._stage1_models, self._stage1_budget, self._stage1_reserve)
        reasons: tuple[str, ...] = ()
        reachable, time_for_it = True, self._left(self._flow.reserve_seconds)
        while reachable and (missing := self._missing()) and (turn := turns.next(self._stage1_left())):
            with turn:
                await turn.pause()
                if self._stage1_left() < _LEAST_ATTEMPT_SECONDS:
                    break
                result = await self._stage1_attempt(turn, missing, reasons)
            turns.ended(result.attempt, result.faults)
            reasons = _to_mend(result.attempt, result.faults, reasons)
            reachable = not self._missing() or await self._reachable(result.attempt)
        self._refused_by = self._money(turns)
        if self._stage1_left() > time_for_it / 2:
            await self._ask_for_better(turns)
        self._stage1_seconds = self._journal.elapsed
        self._stage1_judged()

    def _stage1_left(self) -> float:
        return self._left(self._flow.reserve_seconds)

    def _turns(
        self, provider: Provider, models: Sequence[str], budget: Budget, price: Callable[[str], float | None]
    ) -> Turns:
        waits = self._waits.setdefault(provider, Waits(lambda: self._journal.elapsed))
        return Turns(models, self._stages.breakers[provider], waits, budget, price)

    def _money(self, turns: Turns) -> str | None:
        """The scope of the budget that left no model a turn; counted."""
        if turns.refused_by is not None:
            self._journal.refused_for_money(turns.refused_by)
        return turns.refused_by

    def _stage1_chain(self) -> tuple[str, ...]:
        """The caller's model first, then the rest of the chain."""
        first = self._spec.model or self._flow.stage1_models[0]
        return tuple(dict.fromkeys((first, *self._flow.stage1_models)))

    def _missing(self) -> tuple[SectionName, ...]:
        return tuple(name for name in SectionName if name not in self._sections)

    async def _ask_for_better(self, turns: Turns) -> None:
        """What a learner would stumble over is asked for again, once; only an answer with less of it replaces it.

        Not the frame: all that was written stands on it.
        """
        wanted = tuple(name for name, faults in self._style.items() if faults and name is not SectionName.FRAME)
        if not wanted or self._missing():
            return
        turn = turns.next(self._stage1_left())
        if turn is None:
            return
        with turn:
            if turn.step.kind is AttemptKind.REASK:
                reasons = tuple(fault for name in wanted for fault in self._style[name])
                await self._stage1_attempt(turn, wanted, reasons, on_trial=True)

    async def _stage1_attempt(
        self, turn: Turn, wanted: tuple[SectionName, ...], reasons: tuple[str, ...], *, on_trial: bool = False
    ) -> ContentResult:
        """One model call. `on_trial`: the wanted sections stand already, and each is replaced only by a better one."""
        async with (
            self._stages.stage1_calls,
            self._row(turn, self._flow.stage1_provider, Stage.STAGE1, None) as row,
        ):
            call = ContentCall(
                brief=self._brief,
                model=turn.step.model,
                attempt_id=row.id,
                timeout_seconds=self._left(self._flow.reserve_seconds),
                max_output_tokens=self._flow.stage1_max_output_tokens,
                wanted=wanted,
                confirmed=self._content(without=wanted),
                reask_reasons=reasons,
                max_cost_usd=turn.reserved_usd,
            )
            released: set[SectionName] = set()
            async with aclosing(self._stages.upstream.generate(call)) as events:
                async for event in events:
                    if isinstance(event, ContentResult):
                        result = event
                    elif not on_trial:
                        released.add(event.name)
                        self._release(event.name, event.value)
            if on_trial:
                row.settle(result.attempt, wasted=not self._take_better(result, wanted))
                return result
            self._agree(result, wanted, released)
            useful = any(result.content.section(name) for name in wanted)
            self._last_stage1 = row.settle(result.attempt, wasted=not useful)
        self._origin = self._origin or result.origin
        self._notes.extend(result.notes)
        self._style |= {name: _of_section(name, result.style_faults) for name in wanted if name in self._sections}
        for name in self._missing():
            reason = next((fault for fault in result.faults if fault.startswith(name.value)), result.attempt.reason)
            self._missing_because[name] = reason
        return result

    def _take_better(self, result: ContentResult, wanted: tuple[SectionName, ...]) -> bool:
        """Takes each section that has less to stumble over than the one that stands; says whether any had."""
        better = False
        for name in wanted:
            value, faults = result.content.section(name), _of_section(name, result.style_faults)
            if value is not None and len(faults) < len(self._style[name]):
                better = True
                self._release(name, value)
                self._style[name] = faults
                self._notes = [note for note in self._notes if not note.startswith(name.value)]
                self._notes.extend(_of_section(name, result.notes))
        return better

    def _agree(self, result: ContentResult, wanted: tuple[SectionName, ...], released: set[SectionName]) -> None:
        """The end of an answer counts, not what was released on the way: what it took back is withdrawn."""
        for name in wanted:
            value = result.content.section(name)
            if value is not None:
                self._release(name, value)
            elif name in released:
                self._withdraw(name, f"the answer took it back: {result.attempt.reason}")

    def _release(self, name: SectionName, value: SectionValue) -> None:
        """A section is there: it is told, and its Stage 2 begins. The same section again is no news."""
        known = self._sections.get(name)
        if known is not None and known.value == value:
            return
        if known is not None:
            self._withdraw(name, "a later answer replaced it")
        revision = self._revisions[name] = self._revisions.get(name, 0) + 1
        section = _Section(name, value, revision, self._flow.mode, extract_items(name, value), self._journal.elapsed)
        self._sections[name] = section
        self.told.put_nowait(SectionReady(name, revision, value))
        if self._stage2_began is None:
            self._stage2_began = self._journal.elapsed
        # Its spans are under the lesson, not under the attempt that happened to release it.
        section.task = asyncio.create_task(self._enhance(section), context=self._around.copy())
        self._tasks.append(section.task)

    def _withdraw(self, name: SectionName, reason: str) -> None:
        section = self._sections.pop(name)
        section.task.cancel()
        self.told.put_nowait(SectionReplaced(name, section.revision, reason))

    def _content(self, without: tuple[SectionName, ...] = ()) -> Content:
        content = Content()
        for name in SectionName:
            if name in self._sections and name not in without:
                content = content.with_section(name, self._sections[name].value)
        return content

    def _stage1_failed(self) -> bool:
        """Whether there can be no lesson of what was written. Told once, unless money kept it from being tried."""
        # What the lesson could still become: all that was written, enhanced.
        at_best = [merge.enhanced_section(name, (), ()) for name in self._sections]
        failed = merge.outcome_of(at_best) is Outcome.FAILED
        last = self._last_stage1
        if not self._stage1_told and (last or not self._refused_by):
            self._stage1_told = True
            model = last.model if last else self._stage1_chain()[0]
            self._journal.stage1_ended(model, len(self._sections), failed)
        return failed

    def _stage1_judged(self) -> None:
        missing, last, failed = self._missing(), self._last_stage1, self._stage1_failed()
        if failed and last is None and self._refused_by is not None:
            raise budget_exceeded(self._refused_by, self.lesson_id)
        if failed:
            raise stage1_failure(last, missing, self.lesson_id)
        self._tell_if_all_fell_back()

    def _stage1_reserve(self, model: str) -> float | None:
        return stage1_usd(self._flow.stage1_provider, model, self._flow.stage1_max_output_tokens, self._now())

    # --- Stage 2 ------------------------------------------------------------------------------------------------

    async def _enhance(self, section: _Section) -> None:
        """Attempts until every item stands, or none can help. Each answer can only better what there is."""
        number = 0
        reasons: tuple[str, ...] = ()
        if not (self._stage2_models and any(item.needs_model(self._flow.mode) for item in section.items)):
            await self._analyser_alone(section)
        turns = self._turns(
            self._flow.stage2_provider,
            self._stage2_models,
            self._budget,
            lambda model: self._stage2_reserve(model, section),
        )
        reachable = True
        while reachable and (wanted := section.wanting_model()) and (turn := turns.next(self._stage2_left())):
            with turn:
                await turn.pause()
                if self._stage2_left() < _LEAST_ATTEMPT_SECONDS:
                    section.why = "; ".join(part for part in (_TOO_LATE, section.why) if part)
                    break
                number += 1
                self._note_fallback(section.name, turn.step)
                attempt, faults = await self._section_attempt(section, turn, wanted, reasons)
            turns.ended(attempt, faults)
            reasons = _to_mend(attempt, faults, reasons)
            if still := section.wanting_model():
                self._journal.section_attempt_failed(attempt, len(still), number)
                reachable = await self._reachable(attempt)
        if scope := self._money(turns):
            section.why = "; ".join(part for part in (f"the {scope}'s cost limit leaves no model", section.why) if part)
            await self._analyser_alone(section)
        self._section_done(section)

    def _stage2_left(self) -> float:
        return self._left(self._flow.margin_seconds)

    def _section_done(self, section: _Section) -> None:
        section.done = True
        result = section.result()
        self._stage2_ended = self._journal.elapsed
        model = next((item.text.translation_model for item in section.best.values() if item.text.translation_model), "")
        self._journal.section_ended(result, model or self._first_stage2_model, self._journal.elapsed - section.began)
        self.told.put_nowait(SectionEnhanced(result))

    @property
    def _first_stage2_model(self) -> str:
        """Under which a section is counted that no model answered for."""
        return next(iter(self._flow.stage2_models), "")

    def _note_fallback(self, name: SectionName, step: Step) -> None:
        if step.model != self._stage2_models[0]:
            self._fell_back[name] = step.model
            self._tell_if_all_fell_back()

    def _tell_if_all_fell_back(self) -> None:
        """Operators search for the one event that says that no section got through on the first model."""
        asked = {section.name for section in self._sections.values() if section.items}
        if self._stage1_seconds and not self._all_fell_back and asked <= self._fell_back.keys():
            self._all_fell_back = True
            self._journal.all_sections_fell_back(next(iter(self._fell_back.values())))

    async def _analyser_alone(self, section: _Section) -> None:
        """Readings without a model, where no attempt has brought them yet."""
        if section.best or not section.items:
            return
        call = self._enhance_call(section, "", uuid.uuid4().hex)
        with tracing.span(f"{section.name.value} analyser", {"nidan.section": section.name.value}, "client"):
            result = await self._stages.upstream.enhance(call)
            if result.failure and await self._stages.upstream.ready(Stage.STAGE2, self._flow.restart_seconds):
                result = await self._stages.upstream.enhance(call)
        self._better(section, result)
        section.why = section.why or self._why_no_model()

    def _why_no_model(self) -> str:
        ended = [ending.told(self._now().date()) for ending in self._stage2_ended_models]
        return f"no model was asked: {'; '.join(ended)}" if ended and not self._stage2_models else "no model was asked"

    async def _section_attempt(
        self, section: _Section, turn: Turn, wanted: tuple[str, ...], reasons: tuple[str, ...]
    ) -> tuple[Attempt, tuple[str, ...]]:
        """One model call for the wanted items: its attempt as counted, and what a re-ask should mend."""
        async with (
            self._stages.stage2_calls,
            self._row(turn, self._flow.stage2_provider, Stage.STAGE2, section.name) as row,
        ):
            call = self._enhance_call(
                section, turn.step.model, row.id, wanted, reasons=reasons, max_cost_usd=turn.reserved_usd
            )
            tracing.note({"nidan.items": len(wanted)})
            result = await self._stages.upstream.enhance(call)
            improved = self._better(section, result)
            attempt = row.settle(result.attempt or row.untold, wasted=not improved)
        section.why = result.failure or _why(attempt)
        return attempt, _reasons(result)

    def _enhance_call(
        self,
        section: _Section,
        model: str,
        attempt_id: str,
        wanted: tuple[str, ...] = (),
        *,
        reasons: tuple[str, ...] = (),
        max_cost_usd: float | None = None,
    ) -> EnhanceCall:
        frame = self._sections.get(SectionName.FRAME)
        return EnhanceCall(
            section=section.name,
            brief=self._brief,
            frame=frame.value if frame and isinstance(frame.value, Frame) else None,
            items=section.items,
            model=model,
            attempt_id=attempt_id,
            timeout_seconds=max(_LEAST_ATTEMPT_SECONDS, self._left(self._flow.margin_seconds)),
            mode=self._flow.mode,
            wanted_ids=wanted,
            reask_reasons=reasons,
            max_cost_usd=max_cost_usd,
        )

    def _better(self, section: _Section, result: EnhanceResult) -> bool:
        """Takes each answer that is better than what stands; says whether any model's was."""
        improved = False
        for item in result.items:
            known = section.best.get(item.text.id)
            if known is None or _rank(item) < _rank(known):
                section.best[item.text.id] = item
                improved = improved or bool(item.text.reading_model or item.text.translation_model)
        return improved

    def _stage2_reserve(self, model: str, section: _Section) -> float | None:
        asked = [item for item in section.items if item.needs_model(self._flow.mode)]
        return most_usd(
            self._flow.stage2_provider, model, token_budget(section.items, asked, self._flow.mode), self._now()
        )

    @property
    def _stage2_seconds(self) -> float:
        return max(0.0, self._stage2_ended - (self._stage2_began or 0.0)) if self._stage2_began is not None else 0.0

    async def _reachable(self, attempt: Attempt) -> bool:
        """After an attempt that its stage's process did not answer: whether the process comes back."""
        if attempt.outcome is not AttemptOutcome.UPSTREAM:
            return True
        return await self._stages.upstream.ready(attempt.stage, self._flow.restart_seconds)

    # --- rows, and the lesson -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _row(
        self, turn: Turn, provider: Provider, stage: Stage, section: SectionName | None
    ) -> AsyncIterator[_Row]:
        """A ledger row around a call: whatever ends the call, the row is settled, once, and its money with it."""
        row_id = self._journal.opened(turn.step, stage, section, turn.reserved_usd)
        untold = unanswered_attempt(
            attempt_id=row_id,
            stage=stage,
            section=section,
            provider=provider.value,
            model=turn.step.model,
            outcome=AttemptOutcome.CANCELLED,
            reason="nobody waits for the answer any more",
        )
        row = _Row(row_id, self._journal, turn, untold)
        with self._journal.attempt_span(untold, turn.step.kind):
            try:
                yield row
            finally:
                if not row.settled:
                    row.settle(row.untold, wasted=True)

    def _built(self, versions: Versions) -> Lesson:
        self._stage1_failed()  # where the deadline came before it was judged
        sections = tuple(self._told_of(name) for name in SectionName)
        self._journal.stage2_ended(
            [section for section in sections if section.items],
            next(iter(self._stage2_models), ""),
            self._stage2_seconds,
        )
        attempts = self._journal.attempts
        outcome = merge.outcome_of(sections)
        if outcome is Outcome.FAILED:
            raise stage1_failure(self._last_stage1, self._missing(), self.lesson_id)
        self._tell_cut_short(sections)
        lesson = Lesson(
            lesson_id=self.lesson_id,
            brief=self._brief,
            learner_level=self._spec.learner_level,
            outcome=outcome,
            sample=any(attempt.provider == Provider.OFFLINE.value for attempt in attempts),
            sample_note=self._origin,
            created_at=self._created_at,
            content=self._content(),
            sections=sections,
            attempts=attempts,
            versions=versions,
            notes=tuple(self._notes),
            duration_seconds=self._journal.elapsed,
            stage1_seconds=self._stage1_seconds,
            stage2_seconds=self._stage2_seconds,
        )
        return with_notes(lesson)

    def _tell_cut_short(self, sections: Iterable[EnhancedSection]) -> None:
        """Sections that were not written, or not done when the deadline came, are counted as they stand."""
        for result in sections:
            section = self._sections.get(result.name)
            if section is None or not section.done:
                seconds = self._journal.elapsed - section.began if section else None
                self._journal.section_ended(result, self._first_stage2_model, seconds)

    def _told_of(self, name: SectionName) -> EnhancedSection:
        section = self._sections.get(name)
        if section is None:
            return merge.missing_section(name, self._missing_because.get(name, _TOO_LATE))
        if not section.done:
            section.why = section.why or _TOO_LATE
        return section.result()


_NO_VERSIONS = Versions(prompt_stage1="", prompt_stage2="", lesson_schema="", annotator="")


@dataclass
class _Row:
    """An open ledger row."""

    id: str
    journal: Journal
    turn: Turn
    untold: Attempt
    """The attempt when nobody told how it ended."""
    settled: bool = False

    def settle(self, attempt: Attempt, *, wasted: bool) -> Attempt:
        self.settled = True
        counted = self.journal.settled(self.id, attempt, wasted=wasted)
        self.turn.ended(counted)
        return counted


def _rank(item: EnhancedItem) -> tuple[bool, int, int]:
    """Lower is better: complete, then with fewer faults, then with the more trusted reading."""
    return (not item.text.complete, len(item.faults), list(ReadingProvenance).index(item.text.reading_provenance))


def _reasons(result: EnhanceResult) -> tuple[str, ...]:
    """What a re-ask tells the model: the faults by item."""
    return tuple(f"{item.text.id}: {fault}" for item in result.items for fault in item.faults)


def _to_mend(attempt: Attempt, faults: tuple[str, ...], before: tuple[str, ...]) -> tuple[str, ...]:
    """What the next request tells the model: the faults of an answer. What went wrong on the way is not its affair."""
    return faults if remedy_for(attempt.outcome) is Remedy.REASK else before


def _of_section(name: SectionName, lines: Sequence[str]) -> tuple[str, ...]:
    """Those whose path begins with the section."""
    return tuple(line for line in lines if line.partition(":")[0].partition(".")[0] == name.value)


def _why(attempt: Attempt) -> str:
    if attempt.outcome is AttemptOutcome.OK:
        return ""
    return f"{attempt.model}: {attempt.outcome.value}: {attempt.reason}"


async def _end(tasks: Sequence[asyncio.Task[None] | asyncio.Task[Described]]) -> None:
    """Cancels what still runs and waits for its end, so that nothing outlives the run."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
