"""Whatever the models do, a lesson's account of itself is true: random faults through the wire, against a model.

The model knows what each call was answered with, never what the gateway made of it, and says what must then hold.
Retries pause for real, so `make test` tries few examples and `make test-slow` many.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from gateway.attempts.policy import MAX_ATTEMPTS, PastAttempt, Remedy, next_attempt, remedy_for
from lesson import wire
from lesson.models import (
    REQUIRED_SECTIONS,
    Attempt,
    AttemptKind,
    AttemptOutcome,
    EnhancedSection,
    Lesson,
    Outcome,
    SectionName,
    SectionState,
    Stage,
)
from lesson.parsing import read_section
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import RemoteError, read_error
from tests.budget import DEEP, examples
from tests.model_server import Answer, Call, ModelServer, bank, model_server
from tests.trio import Trio, check_lesson, check_master, trio, until

EXAMPLES = examples(8, 100)
CHAINS = {
    Stage.STAGE1: ("gpt-5", "gpt-4o", "gpt-6.1-sol"),
    Stage.STAGE2: ("gpt-4.1", "gpt-4o-mini", "gpt-6-luna", "gpt-6.1-sol"),
}
STAGE1 = "stage1"
# The plan has no items: Stage 2 is never asked for it.
ASKED = tuple(name for name in SectionName if name is not SectionName.LESSON_PLAN)
DOWN = Answer(status=500, error={"message": "down"})

Json = dict[str, Any]


# --- what the models do -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One answer. `at` says where in it, for kinds that have a place."""

    kind: str
    at: int = 0


@dataclass(frozen=True)
class Script:
    """The answers to one kind of call, in order; after them good ones, or none that is any use."""

    faults: tuple[Fault, ...] = ()
    dies: bool = False

    def of(self, index: int) -> Fault:
        """What the call of that index, from 0, is answered with."""
        return self.faults[index] if index < len(self.faults) else Fault("dead" if self.dies else "good")


Plan = dict[str, Script]

_WHOLE: dict[str, Answer] = {
    "http 500": Answer(status=500, error={"message": "overloaded"}),
    "http 429": Answer(status=429, error={"message": "slow down"}),
    "http 401": Answer(status=401, error={"message": "no such key"}),
    "refusal": Answer(text="", refusal="I cannot help with that."),
    "empty": Answer(text=""),
    "not json": Answer(text="Here is your lesson! Enjoy."),
    "dead": DOWN,
}


def _stage2_edits(at: int) -> dict[str, Callable[[Json], object]]:
    """What can be wrong in an answer of Stage 2 that is JSON: each takes the answer and changes it."""

    def of(change: Callable[[list[Json], int], object]) -> Callable[[Json], object]:
        return lambda answer: change(answer["items"], at % len(answer["items"])) if answer["items"] else None

    return {
        "translation lost": of(lambda items, i: items[i].update(translation=None)),
        "translation a placeholder": of(lambda items, i: items[i].update(translation="[translation pending]")),
        "furigana spoilt": of(lambda items, i: items[i].update(furigana="?")),
        "text altered": of(lambda items, i: items[i].update(furigana="犬[いぬ]が嫌[きら]いです。")),
        "items missing": of(lambda items, i: items.__delitem__(slice(i, None))),
        "item extra": of(lambda items, i: items.insert(i, {"id": "999", "furigana": "猫", "translation": "A cat."})),
        "corrections absurd": lambda answer: answer.update(
            corrections=[{"id": str(at % 9), "word": "食", "reading": "ねこ"}, {"id": "1", "word": "", "reading": "x"}]
        ),
        "id twice": of(lambda items, i: items.append({**items[i], "translation": "Quite another thing."})),
    }


_SPOILT_STAGE1: dict[str, tuple[str, Callable[[Any], object]]] = {
    "frame null": ("frame", lambda _: None),
    "reading without text": ("reading", lambda value: {**value, "text": " "}),
    "dialogue without turns": ("dialogue", lambda value: {**value, "turns": []}),
    "grammar empty": ("grammar", lambda _: []),
    "culture null": ("culture", lambda _: None),
    "instruction blank": ("practice", lambda value: [{**value[0], "instruction": " "}, *value[1:]]),
    "plan a number": ("lessonPlan", lambda _: 7),
}
"""What can be wrong in one section of Stage 1: which, and what becomes of its value."""

_ANY = ("good", "http 500", "http 429", "http 401", "refusal", "empty", "not json", "broken", "no end", "length")
# What leaves a part of the lesson standing is drawn more often: there is more to get wrong.
_PARTS = ("section left out", "unasked sections", "contradicted", "no end", "length")
STAGE1_KINDS = (*_ANY, *_SPOILT_STAGE1, *_PARTS, *_PARTS)
STAGE2_KINDS = (*_ANY, *_stage2_edits(0))


def stage1_value(fault: Fault, index: int, asked: Sequence[str]) -> Json:
    """What the call of that index is answered with, before it is cut.

    Each value is signed with the index in a field that is no Japanese, so that a lesson shows whose it holds.
    """
    whole = fault.kind in ("unasked sections", "contradicted")
    value = deepcopy(bank().stage1("JF:349", [name.json_key for name in SectionName] if whole else list(asked)))
    for key, section in value.items():
        member = section[0] if isinstance(section, list) else section
        field_name = next(
            name for name in ("objective", "textType", "setting", "explanation", "body", "instruction", "studentTask")
            if name in member
        )  # fmt: skip
        member[field_name] = f"{member[field_name]} ({key}, answer {index})"
    if fault.kind in _SPOILT_STAGE1:
        key, spoil = _SPOILT_STAGE1[fault.kind]
        if key in value:
            value[key] = spoil(value[key])
    if fault.kind == "section left out":
        del value[list(value)[fault.at % len(value)]]
    return value


def stage1_answer(fault: Fault, index: int) -> Answer:
    if fault.kind in _WHOLE:
        return _WHOLE[fault.kind]
    if fault.kind == "contradicted":
        first = json.dumps(stage1_value(fault, index, ()), ensure_ascii=False)
        return Answer(text=f"{first}\nCorrection:\n{first.replace('魚が好きです', '肉が好きです')}")
    if fault.kind == "unasked sections":
        return Answer(text=json.dumps(stage1_value(fault, index, ()), ensure_ascii=False))

    def edit(value: Json) -> None:
        said = stage1_value(fault, index, list(value))
        value.clear()
        value.update(said)

    return _cut(fault, edit)


def stage2_answer(fault: Fault) -> Answer:
    if fault.kind in _WHOLE:
        return _WHOLE[fault.kind]
    return _cut(fault, _stage2_edits(fault.at).get(fault.kind, lambda _: None))


def _cut(fault: Fault, edit: Callable[[Json], object]) -> Answer:
    match fault.kind:
        case "broken":
            return Answer(edit=edit, cut_after=fault.at)
        case "no end":
            return Answer(edit=edit, finish=None, drop_end=fault.at)
        case "length":
            return Answer(edit=edit, finish="length", drop_end=fault.at)
    return Answer(edit=edit)


def scripts(kinds: Sequence[str], places: int, longest: int, dying: int = 0) -> st.SearchStrategy[Script]:
    """At most `longest` faults; `dying` in ten stay dead after them."""
    faults = st.lists(st.builds(Fault, st.sampled_from(kinds), st.integers(0, places)), max_size=longest)
    return st.builds(Script, faults.map(tuple), st.integers(1, 10).map(lambda drawn: drawn > 10 - dying))


def plans(longest: int, dying_stage1: int, dying_stage2: int) -> st.SearchStrategy[Plan]:
    stage1 = scripts(STAGE1_KINDS, 9000, longest, dying_stage1)
    return st.fixed_dictionaries(
        {STAGE1: stage1} | {name.value: scripts(STAGE2_KINDS, 600, longest, dying_stage2) for name in ASKED}
    )


# The first must end COMPLETE; of the second most end PARTIAL; the third give no lesson.
PLANS = st.one_of(plans(2, 0, 0), plans(6, 5, 2), plans(0, 10, 2))
GOOD: Plan = {STAGE1: Script()} | {name.value: Script() for name in ASKED}
PARTIAL: Plan = GOOD | {STAGE1: Script((Fault("culture null"),), dies=True)}
FAILED: Plan = GOOD | {STAGE1: Script(dies=True)}


# --- one lesson -------------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """One lesson, seen from outside."""

    plan: Plan
    calls: list[Call] = field(default_factory=list)
    events: list[pb.StreamLessonResponse] = field(default_factory=list)
    error: RemoteError | None = None
    cost_usd: float = 0.0
    """By the counter of /metrics."""

    def asked(self, key: str) -> list[Call]:
        return [call for call in self.calls if call.key == key]

    @property
    def lesson(self) -> Lesson:
        return wire.from_message(Lesson, self.events[-1].completed.lesson)


async def make(running: Trio, model: ModelServer, plan: Plan, topic: str) -> Made:
    """Asks for a lesson while the model server follows the plan. The topic tells calls of two lessons apart."""
    made = Made(plan)
    model.calls.clear()
    for key, script in plan.items():
        answer = stage1_answer if key == STAGE1 else lambda fault, _: stage2_answer(fault)
        model.script[key] = [answer(fault, index) for index, fault in enumerate(script.faults)]
        # The healthy answers to Stage 1 are signed, too: by the index after the script's last.
        model.always[key] = answer(script.of(len(script.faults)), len(script.faults))
    before = await cost(running)
    request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349", topic=topic))
    try:
        async for event in running.stub.StreamLesson(request, timeout=60):
            made.events.append(event)
    except grpc.aio.AioRpcError as error:
        made.error = read_error(error)
    await until(lambda: not model.in_flight)
    made.cost_usd = await cost(running) - before
    made.calls = list(model.calls)
    assert {call.data["brief"]["topic"] for call in made.calls} == {topic}
    return made


async def cost(running: Trio) -> float:
    return sum(
        float(usd)
        for usd in re.findall(r"^nidan_model_cost_usd_total{.*} (\S+)", await running.metrics(), re.MULTILINE)
    )


# --- what must hold ---------------------------------------------------------------------------------------------------


def check(made: Made) -> None:
    """All that must hold, whatever the models did."""
    current = check_events(made)
    check_stage1_calls(made)
    few = all(len(script.faults) < len(CHAINS[Stage.STAGE1]) and not script.dies for script in made.plan.values())
    if made.error is not None:
        assert not few
        check_failure(made, made.error)
        return
    lesson = made.lesson
    check_lesson(lesson)
    check_master(json.loads(made.events[-1].completed.master_json))
    check_outcome(lesson)
    # Each model of a chain gets its turn: with fewer faults than models, a healthy one is met.
    assert lesson.outcome is Outcome.COMPLETE or not few
    check_nothing_lost(made, lesson)
    check_account(made, lesson)
    check_attempts(made, lesson)
    assert {section.name: section for section in lesson.sections if section.revision} == current


def check_events(made: Made) -> dict[SectionName, EnhancedSection]:
    """The order of what was told; gives each section as it was told last, those that were taken back left out."""
    assert [event.sequence for event in made.events] == list(range(1, len(made.events) + 1))
    assert len({event.lesson_id for event in made.events}) == 1
    kinds = [event.WhichOneof("event") for event in made.events]
    assert kinds[0] == "accepted"
    assert kinds.count("accepted") == 1
    assert kinds.count("completed") == (made.error is None) == (kinds[-1] == "completed")
    told: dict[SectionName, int] = {}
    standing: set[SectionName] = set()
    enhanced: dict[SectionName, EnhancedSection] = {}
    for event in made.events:
        if event.HasField("section_ready"):
            name = _name(event.section_ready.name)
            assert name not in standing
            assert event.section_ready.revision == told.get(name, 0) + 1
            told[name] = event.section_ready.revision
            standing.add(name)
        elif event.HasField("section_replaced"):
            name = _name(event.section_replaced.name)
            assert name in standing
            assert event.section_replaced.revision == told[name]
            standing.remove(name)
            enhanced.pop(name, None)
        elif event.HasField("section_enhanced"):
            section = wire.from_message(EnhancedSection, event.section_enhanced.section)
            assert section.name in standing
            assert section.name not in enhanced
            assert section.revision == told[section.name]
            enhanced[section.name] = section
    assert made.error is not None or set(enhanced) == standing
    return enhanced


def _name(number: int) -> SectionName:
    name = wire.enum_from_number(SectionName, number)
    assert name is not None
    return name


def check_stage1_calls(made: Made) -> None:
    """At most five, in the chain's order; what was confirmed is not asked for again, and not forgotten."""
    calls = made.asked(STAGE1)
    assert 1 <= len(calls) <= MAX_ATTEMPTS
    check_models([call.body["model"] for call in calls], CHAINS[Stage.STAGE1])
    confirmed: Json = {}
    for index, call in enumerate(calls):
        held = call.data.get("confirmed") or {}
        assert not set(held) & set(call.data["sections"])
        assert set(held) | set(call.data["sections"]) == {name.json_key for name in SectionName}
        assert confirmed.items() <= held.items()
        sent = sure(made.plan[STAGE1].of(index), index, call)
        assert index == len(calls) - 1 or set(sent) <= set(calls[index + 1].data.get("confirmed") or {})
        confirmed = held


def check_models(asked: Sequence[str], chain: Sequence[str]) -> None:
    """First to last, none left out, none come back to."""
    kept = list(dict.fromkeys(asked))
    assert kept == list(chain[: len(kept)])
    assert list(asked) == sorted(asked, key=chain.index)


def sure(fault: Fault, index: int, call: Call) -> Json:
    """The sections by key that this answer surely gave: asked for, whole and right."""
    if fault.kind in _WHOLE or fault.kind in ("contradicted", "broken"):
        return {}  # of a broken connection nobody knows how much arrived
    value = stage1_value(fault, index, call.data["sections"])
    text = json.dumps(value, ensure_ascii=False)
    arrived = max(0, len(text) - fault.at) if fault.kind in ("no end", "length") else len(text) + 1
    spoilt = _SPOILT_STAGE1.get(fault.kind, ("",))[0]
    return {
        key: section
        for key, section in value.items()
        if key != spoilt and key in call.data["sections"] and _end(text, key) < arrived
    }


def _end(text: str, key: str) -> int:
    """Where the value of a top-level key ends; its key stands nowhere else."""
    at = text.index(f'"{key}": ') + len(key) + 4
    return json.JSONDecoder().raw_decode(text, at)[1]


def check_failure(made: Made, error: RemoteError) -> None:
    assert error.reason.removeprefix("STAGE1_").lower() in set(AttemptOutcome)
    assert error.reason.startswith("STAGE1_")
    assert error.stage == STAGE1
    assert error.lesson_id == made.events[0].lesson_id
    calls = made.asked(STAGE1)
    # Given up only where no model is left to ask.
    assert len(calls) == MAX_ATTEMPTS or calls[-1].body["model"] == CHAINS[Stage.STAGE1][-1]
    given = {key for index, call in enumerate(calls) for key in sure(made.plan[STAGE1].of(index), index, call)}
    assert not {name.json_key for name in REQUIRED_SECTIONS} <= given


def check_outcome(lesson: Lesson) -> None:
    states = {section.name: section.state for section in lesson.sections}
    assert list(states) == list(SectionName)
    assert all(states[name] is not SectionState.MISSING for name in REQUIRED_SECTIONS)
    whole = set(states.values()) == {SectionState.ENHANCED}
    assert lesson.outcome is (Outcome.COMPLETE if whole else Outcome.PARTIAL)
    for section in lesson.sections:
        assert bool(section.reason) == (section.state is not SectionState.ENHANCED)
        assert section.state is not SectionState.ENHANCED or all(text.complete for text in section.texts)


def check_nothing_lost(made: Made, lesson: Lesson) -> None:
    """Every value that Stage 1 surely gave is in the lesson; none is that an answer contradicted at its end."""
    content = lesson.content.model_dump_json()
    for index, call in enumerate(made.asked(STAGE1)):
        assert made.plan[STAGE1].of(index).kind != "contradicted" or f", answer {index})" not in content
        for key, value in sure(made.plan[STAGE1].of(index), index, call).items():
            name = next(name for name in SectionName if name.json_key == key)
            expected = read_section(name, value, lesson.brief).value
            assert expected is not None
            assert lesson.content.section(name) == expected


def check_account(made: Made, lesson: Lesson) -> None:
    """Each call is one attempt, each attempt one call, and the money is the same wherever it is told."""
    called = [call.headers["X-Client-Request-Id"] for call in made.calls]
    ids = [attempt.id for attempt in lesson.attempts]
    assert len(set(called)) == len(called)
    assert len(set(ids)) == len(ids)
    assert set(called) <= set(ids)
    # What was withdrawn may end before its call has left.
    uncalled = [attempt for attempt in lesson.attempts if attempt.id not in called]
    assert {attempt.outcome for attempt in uncalled} <= {AttemptOutcome.CANCELLED}
    assert lesson.cost_usd == pytest.approx(made.cost_usd, abs=1e-9)


def check_attempts(made: Made, lesson: Lesson) -> None:
    """The attempts at Stage 1 and at each revision of each section follow the rules of `gateway.attempts.policy`."""
    stage1 = [attempt for attempt in lesson.attempts if attempt.stage is Stage.STAGE1]
    missing = any(section.state is SectionState.MISSING for section in lesson.sections)
    check_series(made, STAGE1, stage1, done=not missing)
    for section in lesson.sections:
        mine = [attempt for attempt in lesson.attempts if attempt.section is section.name]
        series = list(_split(mine))
        assert len(series) <= section.revision
        assert bool(series) == (section.name in ASKED and section.state is not SectionState.MISSING)
        for index, attempts in enumerate(series):
            last = index == len(series) - 1
            check_series(
                made, section.name.value, attempts, done=section.state is SectionState.ENHANCED if last else None
            )


def _split(attempts: Sequence[Attempt]) -> Iterator[list[Attempt]]:
    """One list for each revision: each begins with a first attempt."""
    starts = [index for index, attempt in enumerate(attempts) if attempt.kind is AttemptKind.FIRST]
    for start, end in zip(starts, [*starts, len(attempts)][1:], strict=True):
        yield list(attempts[start:end])


def check_series(made: Made, key: str, attempts: Sequence[Attempt], *, done: bool | None) -> None:
    """The attempts at one thing. `done`: it came to its good end; None: it was withdrawn on the way, or replaced."""
    assert 1 <= len(attempts) <= MAX_ATTEMPTS
    chain = CHAINS[attempts[0].stage]
    check_models([attempt.model for attempt in attempts], chain)
    answered = {call.headers["X-Client-Request-Id"]: index for index, call in enumerate(made.asked(key))}
    history: list[PastAttempt] = []
    for attempt, following in zip(attempts, [*attempts[1:], None], strict=True):
        planned = next_attempt(history, chain)
        assert planned is not None
        assert (attempt.model, attempt.kind) == (planned.model, planned.kind)
        if attempt.outcome is AttemptOutcome.CANCELLED:
            assert done is None
            return
        fault = made.plan[key].of(answered[attempt.id])
        # A healthy model's answer is right: nothing is asked after it.
        assert (attempt.outcome is AttemptOutcome.OK) or fault.kind != "good"
        if following is not None:
            assert attempt.outcome is not AttemptOutcome.OK
            asked = made.asked(key)
            told = asked[answered[following.id]].data.get("reask", ()) if following.id in answered else ()
            history.append(PastAttempt(attempt.model, attempt.kind, attempt.outcome, frozenset(told)))
    if done is not None:
        check_end(attempts, chain, done=done)


def check_end(attempts: Sequence[Attempt], chain: Sequence[str], *, done: bool) -> None:
    last = attempts[-1]
    assert done or last.outcome is not AttemptOutcome.OK
    if not done and len(attempts) < MAX_ATTEMPTS:
        # Given up early only where the last model can do no more, or said the same again.
        before = {attempt.outcome for attempt in attempts[:-1] if attempt.model == last.model}
        assert last.model == chain[-1]
        assert remedy_for(last.outcome) is Remedy.NEXT_MODEL or last.outcome in before


# --- the property -----------------------------------------------------------------------------------------------------


@contextmanager
def fresh_trios(mode: str) -> Iterator[Callable[[Plan], Made]]:
    """Makes each lesson in its own trio, so that no breaker remembers the failures of another example."""
    numbers = count(1)
    with pytest.MonkeyPatch.context() as monkeypatch, asyncio.Runner() as runner:

        async def lesson_of(plan: Plan) -> Made:
            async with model_server() as model, trio(monkeypatch, model, {"STAGE2_MODE": mode}) as running:
                return await make(running, model, plan, f"topic {next(numbers)}")

        yield lambda plan: runner.run(lesson_of(plan))


@pytest.mark.deep
@pytest.mark.parametrize("mode", ["review", "model"])
def test_whatever_the_models_do_the_lesson_is_the_truth_about_it(mode: str) -> None:
    outcomes: dict[str, int] = {}
    with fresh_trios(mode) as lesson_of:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],  # each example takes a second: shrinking would take minutes
            derandomize=not DEEP,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(PLANS)
        @example(GOOD)
        @example(PARTIAL)
        @example(FAILED)
        def holds(plan: Plan) -> None:
            made = lesson_of(plan)
            check(made)
            outcome = made.error.reason if made.error else made.lesson.outcome.value
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

        holds()
    # All three ends are met: of lessons that only ever fail all this would hold, too.
    assert {"complete", "partial"} <= set(outcomes)
    assert len(outcomes) > 2, outcomes
