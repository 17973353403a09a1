"""The table of outcomes (`gateway.attempts.policy.OUTCOME_RULES`, docs/errors.md): complete, documented as
it is, and every row made to happen.

Each row happens at the first model of both chains in one lesson: for Stage 1, and for the dialogue's Stage 2.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.attempts.breaker import FAILURES_TO_OPEN, Breakers
from gateway.attempts.budget import Budget
from gateway.attempts.policy import OUTCOME_RULES, Remedy
from gateway.attempts.scheduler import AttemptPermit, AttemptScheduler, RetryAfter
from gateway.runs.errors import stage1_failure
from lesson.models import (
    Attempt,
    AttemptKind,
    AttemptOutcome,
    Lesson,
    Outcome,
    SectionName,
    SectionState,
    Stage,
    unanswered_attempt,
)
from lesson.v1 import content_service_pb2_grpc, enhancer_service_pb2_grpc
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import OverloadedError, UpstreamError
from servicekit.server import Service, serving
from servicekit.telemetry import Registry
from tests.model_server import Answer, ModelServer
from tests.trio import Trio, trio, until

DOC = Path(__file__).parents[2] / "docs" / "errors.md"
STAGE1 = ("gpt-5", "gpt-4o", "gpt-6.1-sol")
STAGE2 = ("gpt-4.1", "gpt-4o-mini", "gpt-6-luna")
CHAINS = {
    "CANDO_AI_STAGE1_MODEL": STAGE1[0],
    "CANDO_AI_STAGE1_FALLBACK_MODELS": ",".join(STAGE1[1:]),
    "CANDO_AI_STAGE2_MODEL": STAGE2[0],
    "CANDO_AI_STAGE2_FALLBACK_MODELS": ",".join(STAGE2[1:]),
}
FAR = datetime(2027, 6, 1, tzinfo=UTC)
"""By then gpt-5, gpt-4o, gpt-4.1 and gpt-4o-mini have ended."""


# --- the table ----------------------------------------------------------------------------------------------------


def failed(outcome: AttemptOutcome) -> Attempt:
    return unanswered_attempt(
        attempt_id="1", stage=Stage.STAGE1, section=None, provider="openai", model="a", outcome=outcome, reason="x"
    )


def held_back(outcome: AttemptOutcome) -> bool:
    breakers = Breakers(lambda: 0.0, lambda _model, _open: None)
    for _ in range(FAILURES_TO_OPEN):
        breakers.begin("a")
        breakers.record_outcome("a", outcome)
    return "a" in breakers.refused(("a", "b"))


def fails_with(outcome: AttemptOutcome) -> str:
    if outcome in (AttemptOutcome.OK, AttemptOutcome.CANCELLED):
        return "-"
    error = stage1_failure(failed(outcome), (SectionName.FRAME,), "lesson")
    assert error.reason == f"STAGE1_{outcome.value.upper()}"
    return error.status.name + (", again" if error.retryable else "")


def test_every_end_of_an_attempt_has_its_row() -> None:
    assert set(OUTCOME_RULES) == set(AttemptOutcome)


def test_the_documented_table_is_the_one_in_force() -> None:
    words = {Remedy.REASK: "re-ask", Remedy.RETRY: "retry", Remedy.NEXT_MODEL: "next model"}
    told = [line for line in DOC.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert told == [
        f"| `{outcome.value}` | {end.meaning} | {words[end.remedy]} | {'yes' if held_back(outcome) else 'no'} "
        f"| {fails_with(outcome)} |"
        for outcome, end in OUTCOME_RULES.items()
    ]


def test_every_row_is_made_to_happen_in_both_stages() -> None:
    ours = set(OURS) | {AttemptOutcome.RETIRED, AttemptOutcome.CANCELLED, AttemptOutcome.OK}
    streamed = {AttemptOutcome.STALLED, AttemptOutcome.FIRST_TOKEN_TIMEOUT}  # Stage 2's answers come whole
    assert {case.outcome for case in CASES if case.stage1} | ours == set(AttemptOutcome)
    assert {case.outcome for case in CASES if case.stage2} | ours | streamed == set(AttemptOutcome)


# --- what a model or its server does ------------------------------------------------------------------------------


def bad_practice(lesson: dict[str, Any]) -> None:
    lesson["practice"][0]["instruction"] = " "


def bad_translation(answer: dict[str, Any]) -> None:
    answer["items"][0]["translation"] = "N/A"


@dataclass(frozen=True)
class Case:
    """A row, made to happen by these answers; None: the stage cannot meet it."""

    outcome: AttemptOutcome
    stage1: Answer | None
    stage2: Answer | None
    env: Mapping[str, str] = field(default_factory=dict)


def both(outcome: AttemptOutcome, answer: Answer, **env: str) -> Case:
    return Case(outcome, answer, answer, env)


def status(outcome: AttemptOutcome, stage1: int, stage2: int, code: str | None = None) -> Case:
    """Two statuses of one row, one for each stage: what a status means is the client's affair, which both share."""
    error = {"message": "no", "code": code}
    return Case(outcome, Answer(status=stage1, error=error), Answer(status=stage2, error=error))


HALF = '{"frame": {"canDoText": "'
HALF_ITEMS = '{"items": [{"id": "1", '
NEVER = Answer(delay_seconds=30)
CASES = [
    both(AttemptOutcome.INVALID_JSON, Answer(text="Here is what you asked for!")),
    Case(AttemptOutcome.INVALID_SCHEMA, Answer(edit=bad_practice), Answer(edit=bad_translation)),
    both(AttemptOutcome.EMPTY, Answer(text=" \n")),
    Case(AttemptOutcome.LENGTH, Answer(text=HALF, finish="length"), Answer(text=HALF_ITEMS, finish="length")),
    Case(AttemptOutcome.STALLED, Answer(text=HALF, stall_after=6), None, {"AI_STREAM_STALL_SECONDS": "1"}),
    Case(AttemptOutcome.BROKEN_STREAM, Answer(text=HALF, cut_after=6), Answer(finish=None)),
    Case(AttemptOutcome.BROKEN_STREAM, Answer(text=HALF, finish=None), Answer(text=HALF_ITEMS, finish=None)),
    both(AttemptOutcome.CONNECTION, Answer(cut_after=0)),
    status(AttemptOutcome.RATE_LIMITED, 429, 429),
    status(AttemptOutcome.SERVER_ERROR, 408, 409),
    status(AttemptOutcome.SERVER_ERROR, 503, 500),
    Case(
        AttemptOutcome.SERVER_ERROR,
        Answer(body=b'data: {"error": {"message": "no"}}\n\n'),
        Answer(body=b"<html></html>"),
    ),
    both(AttemptOutcome.REFUSED, Answer(text="", refusal="I cannot do that.")),
    Case(
        AttemptOutcome.CONTENT_FILTER,
        Answer(text=HALF, finish="content_filter"),
        Answer(text=HALF_ITEMS, finish="content_filter"),
    ),
    both(AttemptOutcome.REASONING_EXHAUSTED, Answer(text="", finish="length")),
    status(AttemptOutcome.AUTH, 401, 403),
    status(AttemptOutcome.QUOTA, 429, 429, "insufficient_quota"),
    status(AttemptOutcome.UNKNOWN_MODEL, 404, 404, "model_not_found"),
    status(AttemptOutcome.BAD_REQUEST, 400, 404),
    Case(AttemptOutcome.TIMEOUT, NEVER, None, {"AI_STAGE1_TIMEOUT_SECONDS": "4"}),
    Case(AttemptOutcome.TIMEOUT, None, NEVER, {"AI_STAGE2_TIMEOUT_SECONDS": "4"}),
    Case(AttemptOutcome.FIRST_TOKEN_TIMEOUT, NEVER, None, {"AI_STAGE1_FIRST_TOKEN_SECONDS": "2"}),
]


def rows(lesson: Lesson, stage: Stage) -> list[tuple[str, AttemptKind, AttemptOutcome]]:
    """Model, kind and outcome of the attempts at Stage 1, or at the dialogue's Stage 2."""
    section = None if stage is Stage.STAGE1 else SectionName.DIALOGUE
    mine = [one for one in lesson.attempts if one.stage is stage and one.section is section]
    return [(one.model, one.kind, one.outcome) for one in mine]


def wanted(outcome: AttemptOutcome | None, chain: tuple[str, ...]) -> list[tuple[str, AttemptKind, AttemptOutcome]]:
    """What the table says, when the first model always ends so and the second is well."""
    if outcome is None:
        return [(chain[0], AttemptKind.FIRST, AttemptOutcome.OK)]
    again = {Remedy.REASK: AttemptKind.REASK, Remedy.RETRY: AttemptKind.RETRY}.get(OUTCOME_RULES[outcome].remedy)
    second = [(chain[0], again, outcome)] if again else []
    return [(chain[0], AttemptKind.FIRST, outcome), *second, (chain[1], AttemptKind.FALLBACK, AttemptOutcome.OK)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.outcome.value)
async def test_a_row_is_in_force(monkeypatch: pytest.MonkeyPatch, model: ModelServer, case: Case) -> None:
    times = 1 if OUTCOME_RULES[case.outcome].remedy is Remedy.NEXT_MODEL else 2
    model.script = {
        key: [answer] * times for key, answer in (("stage1", case.stage1), ("dialogue", case.stage2)) if answer
    }
    async with trio(monkeypatch, model, CHAINS | dict(case.env)) as running:
        lesson, _ = await running.generate()

    assert lesson.outcome is Outcome.COMPLETE
    for stage, answer, chain in ((Stage.STAGE1, case.stage1, STAGE1), (Stage.STAGE2, case.stage2, STAGE2)):
        assert rows(lesson, stage) == wanted(case.outcome if answer else None, chain)
    # An attempt is one call, and there is no call beside them.
    assert len(model.calls) == len(lesson.attempts)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(status=401, error={"message": "no", "code": "invalid_api_key"}), AttemptOutcome.AUTH),
        (Answer(status=429, error={"message": "no", "code": "insufficient_quota"}), AttemptOutcome.QUOTA),
        # Also where the provider says when to come back: an empty account is no fuller then.
        (
            Answer(status=429, error={"message": "no", "code": "insufficient_quota"}, headers={"retry-after-ms": "10"}),
            AttemptOutcome.QUOTA,
        ),
    ],
    ids=["auth", "quota", "quota_with_retry_after"],
)
async def test_a_key_or_a_quota_is_asked_about_once_a_model_and_never_again(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, answer: Answer, outcome: AttemptOutcome
) -> None:
    async with trio(monkeypatch, model, CHAINS) as running:
        model.always = {"dialogue": answer}
        lesson, _ = await running.generate()
        model.calls.clear()
        model.always = {"stage1": answer}
        error = await running.refused()

    assert [(name, end) for name, _, end in rows(lesson, Stage.STAGE2)] == [(name, outcome) for name in STAGE2]
    assert lesson.state(SectionName.DIALOGUE) is SectionState.PLAIN
    assert [call.body["model"] for call in model.calls] == list(STAGE1)
    assert (error.reason, error.retryable) == (f"STAGE1_{outcome.name}", False)


# --- what our own stages do ---------------------------------------------------------------------------------------


Meet = Callable[[Any, int], None]


class Between:
    """Both stages as the gateway sees them: each call is passed on to the real one, unless `meet` says otherwise.

    `meet` is told of each call to the first models of the chains, for Stage 1 or the dialogue, and which of them it is,
    from 1; it may change the request, or raise.
    """

    def __init__(self, meet: Meet) -> None:
        self._meet = meet
        self._met: Counter[str] = Counter()
        self.content: Any = None
        self.enhancer: Any = None

    def _meets(self, request: Any) -> None:
        if request.model in (STAGE1[0], STAGE2[0]):
            self._met[request.model] += 1
            self._meet(request, self._met[request.model])

    async def GenerateContent(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        self._meets(request)
        async for event in self.content.GenerateContent(request, timeout=context.time_remaining()):
            yield event

    async def EnhanceSection(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.section == DIALOGUE:
            self._meets(request)
        return await self.enhancer.EnhanceSection(request, timeout=context.time_remaining())

    async def Describe(self, _request: Any, context: Any) -> Any:  # noqa: N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not asked for here")

    def register(self, server: Any) -> None:
        content_service_pb2_grpc.add_ContentServiceServicer_to_server(self, server)  # type: ignore[arg-type]
        enhancer_service_pb2_grpc.add_EnhancerServiceServicer_to_server(self, server)  # type: ignore[arg-type]


DIALOGUE = 3
"""Its number in the contract."""


@asynccontextmanager
async def trio_with(monkeypatch: pytest.MonkeyPatch, model: ModelServer, meet: Meet) -> AsyncIterator[Trio]:
    between = Between(meet)
    service = Service(
        name="between", bind="127.0.0.1", port=0, health_port=0, metrics_port=0, grpc_names=(),
        register=between.register, registry=Registry(), longest_call_seconds=5.0, calls_limit=10,
    )  # fmt: skip
    async with serving(service) as ports:
        address = f"127.0.0.1:{ports.grpc}"
        env = {"CONTENT_ADDRESS": address, "ENHANCER_ADDRESS": address}
        async with (
            trio(monkeypatch, model, CHAINS | env) as running,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.content.grpc}") as content,
            grpc.aio.insecure_channel(f"127.0.0.1:{running.enhancer.grpc}") as enhancer,
        ):
            stub1: Any = content_service_pb2_grpc.ContentServiceStub(content)
            stub2: Any = enhancer_service_pb2_grpc.EnhancerServiceStub(enhancer)
            between.content, between.enhancer = stub1, stub2
            yield running


def gone_once(_request: Any, number: int) -> None:
    if number == 1:
        raise UpstreamError("gone")


def full(_request: Any, _number: int) -> None:
    raise OverloadedError("full", retry_after_seconds=3600.0)


def poor(request: Any, _number: int) -> None:
    request.max_cost_usd = 0.0001


FIRST, RETRY, FALLBACK, OK = AttemptKind.FIRST, AttemptKind.RETRY, AttemptKind.FALLBACK, AttemptOutcome.OK
OURS: Mapping[AttemptOutcome, tuple[Meet, list[tuple[int, AttemptKind, AttemptOutcome]]]] = {
    AttemptOutcome.UPSTREAM: (gone_once, [(0, FIRST, AttemptOutcome.UPSTREAM), (0, RETRY, OK)]),
    # A retry, but not so late as the stage says.
    AttemptOutcome.SHED: (full, [(0, FIRST, AttemptOutcome.SHED), (1, FALLBACK, OK)]),
    AttemptOutcome.BUDGET_TOO_SMALL: (poor, [(0, FIRST, AttemptOutcome.BUDGET_TOO_SMALL), (1, FALLBACK, OK)]),
}
"""By place in the chain."""


@pytest.mark.parametrize("outcome", OURS)
async def test_a_row_of_our_own_stages_is_kept_to(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, outcome: AttemptOutcome
) -> None:
    meet, ends = OURS[outcome]
    async with trio_with(monkeypatch, model, meet) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert rows(lesson, Stage.STAGE1) == [(STAGE1[at], kind, end) for at, kind, end in ends]
    assert rows(lesson, Stage.STAGE2) == [(STAGE2[at], kind, end) for at, kind, end in ends]
    # Nothing was sent to a model in the attempts that did not come so far.
    assert len(model.calls) == len(lesson.attempts) - 2


async def test_a_model_past_its_end_is_passed_over_without_a_call_in_both_stages(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    async with trio(monkeypatch, model, CHAINS, now=lambda: FAR) as running:
        lesson, _ = await running.generate()
    assert lesson.outcome is Outcome.COMPLETE
    assert rows(lesson, Stage.STAGE1) == [(STAGE1[2], AttemptKind.FIRST, AttemptOutcome.OK)]
    assert rows(lesson, Stage.STAGE2) == [(STAGE2[2], AttemptKind.FIRST, AttemptOutcome.OK)]
    assert {call.body["model"] for call in model.calls} == {STAGE1[2], STAGE2[2]}


@pytest.mark.parametrize(("key", "stage", "name"), [("stage1", "stage1", STAGE1[0]), ("dialogue", "stage2", STAGE2[0])])
async def test_a_cancelled_attempt_is_the_last(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, key: str, stage: str, name: str
) -> None:
    model.always = {key: NEVER}
    async with trio(monkeypatch, model, CHAINS) as running:
        request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
        call = running.stub.StreamLesson(request, timeout=30)
        await call.read()
        await until(lambda: bool(model.asked(key)))
        call.cancel()
        await until(lambda: not model.in_flight)
        metrics = await running.metrics()
    labels = f'{{kind="first",model="{name}",outcome="cancelled",stage="{stage}"}}'
    (counted,) = [line for line in metrics.splitlines() if line.startswith(f"nidan_model_attempts_total{labels}")]
    assert float(counted.rpartition(" ")[2]) >= 1  # of Stage 2, another section may have been under way, too
    assert len(model.asked(key)) == 1


# --- waits --------------------------------------------------------------------------------------------------------


def limited(**headers: str) -> Answer:
    return Answer(status=429, error={"message": "wait"}, headers={k.replace("_", "-"): v for k, v in headers.items()})


def in_a_moment() -> tuple[Answer, float]:
    """A date has whole seconds: the next but half a second."""
    at = math.ceil(time.time() + 0.5)
    return limited(retry_after=format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True)), float(at)


@pytest.mark.parametrize("form", ["ms", "seconds", "date"])
async def test_what_a_provider_asks_to_wait_is_the_least_that_the_retry_waits(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, form: str
) -> None:
    async with trio(monkeypatch, model, CHAINS) as running:
        answer, until_time = in_a_moment()
        if form != "date":
            answer = limited(retry_after="0.4") if form == "seconds" else limited(retry_after_ms="400", retry_after="9")
        model.script = {"stage1": [answer], "dialogue": [answer]}
        lesson, _ = await running.generate()

    assert lesson.outcome is Outcome.COMPLETE
    for key, stage in (("stage1", Stage.STAGE1), ("dialogue", Stage.STAGE2)):
        assert [kind for _, kind, _ in rows(lesson, stage)] == [AttemptKind.FIRST, AttemptKind.RETRY]
        first, again = model.asked(key)
        assert again.at >= (until_time if form == "date" else first.at + 0.4)
        assert again.at < first.at + 5


async def test_the_wait_is_kept_before_every_retry_and_is_another_each_time(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    busy = Answer(status=503, error={"message": "busy"}, headers={"retry-after-ms": "650"})
    model.script = {key: [limited(retry_after_ms="350"), busy] for key in ("stage1", "dialogue")}
    async with trio(monkeypatch, model, CHAINS) as running:
        await running.generate()
    for key, name in (("stage1", STAGE1[0]), ("dialogue", STAGE2[0])):
        first, second, third = model.asked(key)
        assert {call.body["model"] for call in (first, second, third)} == {name}
        assert second.at - first.at >= 0.35
        assert third.at - second.at >= 0.65


async def test_a_wait_beyond_the_deadline_is_skipped_and_becomes_the_errors_retry_delay(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer
) -> None:
    in_an_hour = limited(retry_after="3600")
    async with trio(monkeypatch, model, CHAINS) as running:
        model.always = {"dialogue": in_an_hour}
        lesson, _ = await running.generate()
        model.calls.clear()
        model.always = {"stage1": in_an_hour}
        error = await running.refused()

    assert [(name, kind) for name, kind, _ in rows(lesson, Stage.STAGE2)] == [
        (STAGE2[0], AttemptKind.FIRST), (STAGE2[1], AttemptKind.FALLBACK), (STAGE2[2], AttemptKind.FALLBACK),
    ]  # fmt: skip
    assert [call.body["model"] for call in model.calls] == list(STAGE1)
    assert model.calls[-1].at - model.calls[0].at < 5
    assert (error.status, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STAGE1_RATE_LIMITED")
    assert (error.retryable, error.retry_after_seconds) == (True, 3600.0)


async def test_without_a_retry_after_the_pause_is_drawn_from_its_whole_length() -> None:
    async def pause() -> float:
        breakers = Breakers(lambda: 0.0, lambda _model, _open: None)
        scheduler = AttemptScheduler(("a",), breakers, RetryAfter(lambda: 0.0), Budget("lesson", None), lambda _: 0.0)
        with scheduler.next(100.0) or pytest.fail("no turn"):
            pass
        scheduler.record_outcome(failed(AttemptOutcome.SERVER_ERROR), ())
        permit = scheduler.next(100.0)
        assert isinstance(permit, AttemptPermit)
        began = asyncio.get_running_loop().time()
        with permit:
            await permit.pause()
        return asyncio.get_running_loop().time() - began

    drawn = sorted(await asyncio.gather(*(pause() for _ in range(40))))
    # Of forty, all in one half is once in 10^12.
    assert drawn[0] < 0.15 < drawn[-1] < 0.3 + 0.2
