"""The attempt scheduler with its breakers, budgets and end dates, under a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.attempts.breaker import FAILURES_TO_OPEN, LONGEST_OPEN_SECONDS, OPEN_SECONDS, Breakers
from gateway.attempts.budget import Budget, DayBudget
from gateway.attempts.costs import check_limit, most_usd, sections_usd, stage1_usd
from gateway.attempts.retirement import Ending, Retirement
from gateway.attempts.scheduler import AttemptPermit, AttemptScheduler, RetryAfter
from gateway.settings import GatewaySettings
from lesson.models import Attempt, AttemptKind, AttemptOutcome, Stage, unanswered_attempt
from lesson.token_budget import TokenBudget
from servicekit.llm.capabilities import OFFLINE_MODEL, Provider
from servicekit.settings import SettingsError

DOWN, OK = AttemptOutcome.SERVER_ERROR, AttemptOutcome.OK
CHAIN = ("a", "b", "c")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.changes: list[tuple[str, bool]] = []

    def now(self) -> float:
        return self.seconds

    def on_change(self, model: str, is_open: bool) -> None:
        self.changes.append((model, is_open))

    def breakers(self) -> Breakers:
        return Breakers(self.now, self.on_change)


def fail(breakers: Breakers, model: str, times: int = FAILURES_TO_OPEN, outcome: AttemptOutcome = DOWN) -> None:
    for _ in range(times):
        breakers.begin(model)
        breakers.record_outcome(model, outcome)


# --- breaker ------------------------------------------------------------------------------------------------------


def test_a_model_that_failed_often_enough_in_a_row_is_held_back_until_its_time() -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a", FAILURES_TO_OPEN - 1)
    assert breakers.refused(CHAIN) == frozenset()
    fail(breakers, "a", 1)
    assert breakers.refused(CHAIN) == {"a"}
    assert clock.changes == [("a", True)]
    clock.seconds = OPEN_SECONDS
    assert breakers.refused(CHAIN) == frozenset()


def test_half_open_lets_one_call_through_and_its_end_decides() -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a")
    clock.seconds = OPEN_SECONDS
    assert breakers.begin("a")
    assert breakers.refused(CHAIN) == {"a"}  # the probe is under way
    breakers.record_outcome("a", OK)
    assert breakers.refused(CHAIN) == frozenset()
    assert not breakers.begin("a")
    assert clock.changes == [("a", True), ("a", False)]


def test_a_probe_that_fails_holds_twice_as_long_up_to_a_limit() -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a")
    held = OPEN_SECONDS
    for _ in range(6):
        clock.seconds += held
        assert breakers.refused(CHAIN) == frozenset()
        fail(breakers, "a", 1)
        held = min(LONGEST_OPEN_SECONDS, 2 * held)
        clock.seconds += held - 0.1
        assert breakers.refused(CHAIN) == {"a"}
        clock.seconds -= held - 0.1
    assert held == LONGEST_OPEN_SECONDS


def test_one_good_answer_forgets_the_failures() -> None:
    breakers = Clock().breakers()
    fail(breakers, "a", FAILURES_TO_OPEN - 1)
    fail(breakers, "a", 1, OK)
    fail(breakers, "a", FAILURES_TO_OPEN - 1)
    assert breakers.refused(CHAIN) == frozenset()


@pytest.mark.parametrize("outcome", [AttemptOutcome.CANCELLED, AttemptOutcome.UPSTREAM, AttemptOutcome.BAD_REQUEST])
def test_what_says_nothing_of_the_model_neither_opens_nor_closes(outcome: AttemptOutcome) -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a", 50, outcome)
    assert breakers.refused(CHAIN) == frozenset()
    fail(breakers, "a")
    clock.seconds = OPEN_SECONDS
    fail(breakers, "a", 1, outcome)
    assert breakers.refused(CHAIN) == frozenset()  # still half open: the next call probes
    assert breakers.begin("a")


@pytest.mark.parametrize("outcome", [AttemptOutcome.INVALID_JSON, AttemptOutcome.LENGTH, AttemptOutcome.REFUSED])
def test_an_answer_that_is_no_good_is_no_failure_of_the_way(outcome: AttemptOutcome) -> None:
    breakers = Clock().breakers()
    fail(breakers, "a", 50, outcome)
    assert breakers.refused(CHAIN) == frozenset()


def test_when_all_are_open_the_one_that_may_be_asked_soonest_is_left() -> None:
    clock = Clock()
    breakers = clock.breakers()
    for model in CHAIN:
        fail(breakers, model)
        clock.seconds += 1.0
    assert breakers.refused(CHAIN) == {"b", "c"}
    assert breakers.refused(("c",)) == frozenset()
    assert breakers.refused(()) == frozenset()


# --- budget -------------------------------------------------------------------------------------------------------


def test_what_is_reserved_counts_until_it_is_settled_at_what_it_cost() -> None:
    budget = Budget("lesson", 1.0)
    first, second = budget.reserve(0.6), budget.reserve(0.5)
    assert first is not None
    assert second is None
    assert budget.refusing(0.5) == "lesson"
    first.settle(0.1)
    first.settle(0.9)  # counts for nothing
    assert (budget.spent_usd, budget.reserved_usd) == (0.1, 0.0)
    assert budget.left_usd() == pytest.approx(0.9)


def test_a_budget_above_limits_those_below_and_says_that_it_was_it() -> None:
    day = Budget("day", 1.0)
    one, other = Budget("lesson", 0.8, day), Budget("lesson", 0.8, day)
    assert one.reserve(0.7) is not None
    assert other.refusing(0.7) == "day"
    assert one.refusing(0.2) == "lesson"
    assert other.left_usd() == pytest.approx(0.3)


def test_without_a_limit_everything_fits() -> None:
    budget = Budget("day", None)
    assert budget.reserve(1e9) is not None
    assert budget.left_usd() is None


def test_a_new_day_begins_with_nothing_spent_but_what_is_under_way() -> None:
    at = [datetime(2026, 11, 25, 23, 59, tzinfo=UTC)]
    day = DayBudget(1.0, lambda: at[0])
    held, spent = day.reserve(0.4), day.reserve(0.5)
    assert held is not None
    assert spent is not None
    spent.settle(0.5)
    assert day.refusing(0.2) == "day"
    at[0] += timedelta(minutes=2)
    assert day.left_usd() == pytest.approx(0.6)
    held.settle(0.3)
    assert day.spent_usd == pytest.approx(0.3)


@given(st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 1)), max_size=40))
def test_whatever_is_asked_at_once_the_limit_is_never_passed(calls: list[tuple[float, float]]) -> None:
    """Costs at most what was reserved: the stage cuts the answer there."""

    async def race() -> Budget:
        budget = Budget("lesson", 1.0)

        async def call(most: float, share: float) -> None:
            held = budget.reserve(most)
            await asyncio.sleep(0)
            assert budget.spent_usd + budget.reserved_usd <= 1.0 + 1e-9
            if held is not None:
                held.settle(most * share)

        await asyncio.gather(*(call(*one) for one in calls))
        return budget

    budget = asyncio.run(race())
    assert budget.spent_usd <= 1.0 + 1e-9
    assert budget.reserved_usd == pytest.approx(0.0, abs=1e-9)


# --- permits --------------------------------------------------------------------------------------------------------


def scheduler(limit: float | None, prices: Mapping[str, float | None], clock: Clock | None = None) -> AttemptScheduler:
    return AttemptScheduler(
        CHAIN,
        (clock or Clock()).breakers(),
        RetryAfter(lambda: 0.0),
        Budget("lesson", limit),
        lambda model: prices[model],
    )


def attempt(
    model: str, outcome: AttemptOutcome, cost: float | None = None, retry_after: float | None = None
) -> Attempt:
    made = unanswered_attempt(
        attempt_id="1", stage=Stage.STAGE1, section=None, provider="openai", model=model, outcome=outcome, reason="x",
        retry_after_seconds=retry_after,
    )  # fmt: skip
    return made.model_copy(update={"cost_usd": cost})


def play(
    attempts: AttemptScheduler, *ends: tuple[AttemptOutcome, float], seconds_left: float = 100.0
) -> list[tuple[str, AttemptKind]]:
    """The permits granted while attempts end so, each at that cost."""
    made = []
    for outcome, cost in ends:
        permit = attempts.next(seconds_left)
        if permit is None:
            break
        with permit:
            made.append((permit.attempt.model, permit.attempt.kind))
            ended = attempt(permit.attempt.model, outcome, cost)
            permit.settle(ended)
        attempts.record_outcome(ended, (f"fault {len(made)}",))
    return made


CHEAP = dict.fromkeys(CHAIN, 0.1)


def test_with_money_and_health_the_chain_is_asked_as_ever() -> None:
    assert play(scheduler(None, CHEAP), *[(AttemptOutcome.AUTH, 0.0)] * 5) == [
        ("a", AttemptKind.FIRST),
        ("b", AttemptKind.FALLBACK),
        ("c", AttemptKind.FALLBACK),
    ]


def test_a_model_that_costs_too_much_is_passed_over_for_a_cheaper_one() -> None:
    attempts = scheduler(0.2, {"a": 0.5, "b": 0.3, "c": 0.1})
    assert play(attempts, (OK, 0.05)) == [("c", AttemptKind.FALLBACK)]


def test_without_money_for_any_model_there_is_no_permit_and_the_scope_is_named() -> None:
    attempts = scheduler(0.05, CHEAP)
    assert attempts.next(100.0) is None
    assert attempts.refused_by == "lesson"


def test_the_same_model_is_not_asked_again_with_the_money_of_the_next() -> None:
    attempts = scheduler(0.25, CHEAP)
    made = play(attempts, *[(AttemptOutcome.BROKEN_STREAM, 0.1)] * 4)
    assert made == [("a", AttemptKind.FIRST), ("b", AttemptKind.FALLBACK)]


def test_an_unpriced_model_is_asked_and_reserves_nothing() -> None:
    attempts = scheduler(0.05, {"a": 0.1, "b": None, "c": 0.1})
    permit = attempts.next(100.0)
    assert permit is not None
    assert (permit.attempt.model, permit.reserved_usd) == ("b", None)


def test_a_wait_longer_than_the_time_that_is_left_goes_to_the_next_model_at_once() -> None:
    attempts = scheduler(None, CHEAP)
    permit = attempts.next(20.0)
    assert permit is not None
    attempts.record_outcome(attempt("a", AttemptOutcome.RATE_LIMITED, retry_after=60.0), ())
    following = attempts.next(20.0)
    assert following is not None
    assert (following.attempt.model, following.attempt.kind) == ("b", AttemptKind.FALLBACK)


async def test_a_retry_after_holds_for_all_sections_of_its_lesson() -> None:
    clock = Clock()
    retry_after = RetryAfter(lambda: clock.seconds)
    one, other, third = (
        AttemptScheduler(CHAIN, clock.breakers(), retry_after, Budget("lesson", None), lambda _: 0.1) for _ in range(3)
    )
    one.next(100.0)
    one.record_outcome(attempt("a", AttemptOutcome.RATE_LIMITED, retry_after=60.0), ())

    with other.next(100.0) or pytest.fail("no permit") as permit:
        assert (permit.attempt.model, permit.attempt.kind, permit.retry_after_seconds) == ("a", AttemptKind.FIRST, 60.0)
    with third.next(20.0) or pytest.fail("no permit") as permit:
        assert (permit.attempt.model, permit.attempt.kind, permit.retry_after_seconds) == (
            "b",
            AttemptKind.FALLBACK,
            0.0,
        )
    clock.seconds += 60.0
    with third.next(20.0) or pytest.fail("no permit") as permit:
        assert (permit.attempt.model, permit.attempt.kind, permit.retry_after_seconds) == ("a", AttemptKind.FIRST, 0.0)


async def test_a_pause_is_never_shorter_than_the_provider_asked() -> None:
    retry_after = RetryAfter(asyncio.get_running_loop().time)
    attempts = AttemptScheduler(CHAIN, Clock().breakers(), retry_after, Budget("lesson", None), lambda _: 0.1)
    attempts.next(100.0)
    attempts.record_outcome(attempt("a", AttemptOutcome.RATE_LIMITED, retry_after=0.05), ())
    permit = attempts.next(100.0)
    assert isinstance(permit, AttemptPermit)
    began = asyncio.get_running_loop().time()
    await permit.pause()
    assert asyncio.get_running_loop().time() - began >= 0.05


def test_a_permit_that_ends_unsettled_gives_its_reservation_back() -> None:
    clock = Clock()
    budget = Budget("lesson", 1.0)
    attempts = AttemptScheduler(CHAIN, clock.breakers(), RetryAfter(lambda: 0.0), budget, lambda _: 0.4)
    permit = attempts.next(100.0)
    assert permit is not None
    with pytest.raises(asyncio.CancelledError), permit:
        raise asyncio.CancelledError
    assert (budget.spent_usd, budget.reserved_usd) == (0.0, 0.0)


def test_a_half_open_model_gets_a_probe() -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a")
    attempts = AttemptScheduler(CHAIN, breakers, RetryAfter(lambda: 0.0), Budget("lesson", None), lambda _: 0.1)
    assert play(attempts, (OK, 0.1)) == [("b", AttemptKind.FALLBACK)]
    clock.seconds = OPEN_SECONDS
    attempts = AttemptScheduler(CHAIN, breakers, RetryAfter(lambda: 0.0), Budget("lesson", None), lambda _: 0.1)
    assert play(attempts, (OK, 0.1)) == [("a", AttemptKind.PROBE)]
    assert breakers.refused(CHAIN) == frozenset()


# --- retirement ---------------------------------------------------------------------------------------------------

GPT_5_ENDS = date(2026, 12, 11)
SOL = "gpt-6.1-sol"
"""A model without an announced end."""


@pytest.mark.parametrize(
    ("days", "living"),
    [(-7, ("gpt-5", SOL)), (-1, ("gpt-5", SOL)), (0, (SOL,)), (1, (SOL,)), (365, (SOL,))],
)
def test_a_model_is_skipped_from_its_last_day_on(days: int, living: tuple[str, ...]) -> None:
    kept, ended = Retirement().split_retired(Provider.OPENAI, ("gpt-5", SOL), GPT_5_ENDS + timedelta(days=days))
    assert kept == living
    assert [ending.model for ending in ended] == ([] if "gpt-5" in living else ["gpt-5"])


def test_dates_belong_to_provider_and_model_and_the_offline_provider_has_none() -> None:
    retirement, far = Retirement(), date(2036, 1, 1)
    assert retirement.split_retired(Provider.OFFLINE, (OFFLINE_MODEL,), far) == ((OFFLINE_MODEL,), ())
    assert retirement.split_retired(Provider.OLLAMA, ("gpt-5",), far) == (("gpt-5",), ())
    retirement.add_listed(Provider.OLLAMA, {"gpt-5": date(2027, 1, 1)})
    assert retirement.split_retired(Provider.OLLAMA, ("gpt-5",), far)[0] == ()
    assert retirement.ending(Provider.OPENAI, "gpt-5") == Ending("gpt-5", GPT_5_ENDS, "gpt-6.1-sol")


def test_the_earlier_of_two_dates_counts() -> None:
    retirement = Retirement()
    retirement.add_listed(Provider.OPENAI, {"gpt-5": date(2026, 12, 1), "gpt-4.1": date(2027, 6, 1)})
    ends = [retirement.ending(Provider.OPENAI, model) for model in ("gpt-5", "gpt-4.1")]
    assert [ending.on for ending in ends if ending] == [date(2026, 12, 1), date(2027, 1, 14)]


def test_each_threshold_is_returned_once() -> None:
    retirement, warned = Retirement(), []
    for days in (90, 60, 59, 30, 10, 7, 6, 0, -5):
        soon = retirement.due_warnings(Provider.OPENAI, ("gpt-5", SOL), GPT_5_ENDS - timedelta(days=days))
        warned += [(days, ending.model, limit) for ending, limit in soon]
    assert warned == [(60, "gpt-5", 60), (30, "gpt-5", 30), (7, "gpt-5", 7)]


def test_a_chain_whose_models_end_on_one_day_has_that_day() -> None:
    retirement = Retirement()
    assert retirement.common_end(Provider.OPENAI, ("gpt-4.1", "gpt-4o-mini")) == date(2027, 1, 14)
    assert retirement.common_end(Provider.OPENAI, ("gpt-4.1", "gpt-6-luna")) is None
    assert retirement.common_end(Provider.OPENAI, ()) is None


def test_an_ending_says_when_and_what_comes_instead() -> None:
    ending = Ending("gpt-5", GPT_5_ENDS, "gpt-6.1-sol")
    assert ending.describe(date(2026, 11, 25)) == (
        "gpt-5 ends on 2026-12-11, in 16 days; its provider names gpt-6.1-sol"
    )
    assert Ending("x", GPT_5_ENDS, "").describe(GPT_5_ENDS) == "x ended on 2026-12-11"


# --- costs --------------------------------------------------------------------------------------------------------

DAY = datetime(2026, 11, 25, tzinfo=UTC)
STAGE2 = ("gpt-4.1", "gpt-4o-mini", "gpt-6-luna", "gpt-6.1-sol")


def test_the_default_limit_leaves_room_for_a_lesson_at_list_price() -> None:
    first = stage1_usd(Provider.OPENAI, "gpt-5", 8000, DAY)
    assert first == pytest.approx((5000 * 1.25 + 8000 * 10) / 1e6)
    check_limit(0.25, (Provider.OPENAI, "gpt-5", 8000), (Provider.OPENAI, STAGE2), DAY)
    assert sections_usd(Provider.OPENAI, STAGE2, DAY) < 0.01  # the cheapest, kept from Stage 1


def test_what_a_model_that_reasons_may_think_is_reserved_in_stage_2() -> None:
    room = TokenBudget(3100, 1600)
    thinks = most_usd(Provider.OPENAI, "gpt-6-luna", room, DAY)
    assert thinks == pytest.approx((3100 * 0.1 + (1600 + 2000) * 0.5) / 1e6)
    assert most_usd(Provider.OPENAI, "gpt-4.1", room, DAY) == pytest.approx((3100 * 2 + 1600 * 8) / 1e6)


def test_two_models_of_the_default_stage_2_chain_outlive_the_others() -> None:
    chain = GatewaySettings.model_construct().stage2_models
    assert chain == STAGE2
    assert Retirement().common_end(Provider.OPENAI, chain) is None
    living, _ = Retirement().split_retired(Provider.OPENAI, chain, date(2027, 1, 15))
    assert living == ("gpt-6-luna", "gpt-6.1-sol")


def test_a_limit_below_one_lesson_names_both_figures() -> None:
    with pytest.raises(SettingsError, match=r"LESSON_COST_LIMIT_USD is 0\.09: .* \$0\.0862 .* \$0\.1140"):
        check_limit(0.09, (Provider.OPENAI, "gpt-5", 8000), (Provider.OPENAI, STAGE2), DAY)


def test_models_without_a_price_need_no_room() -> None:
    check_limit(0.01, (Provider.OPENAI, "nobody-knows-it", 8000), (Provider.NONE, ()), DAY)
    assert sections_usd(Provider.OPENAI, ("nobody-knows-it",), DAY) == 0.0
