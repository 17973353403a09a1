"""Whose turn it is: breakers, budgets and the chain together, under a clock of the tests' own."""

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
from gateway.attempts.scheduler import Turn, Turns, Waits
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
        self.told: list[tuple[str, bool]] = []

    def now(self) -> float:
        return self.seconds

    def tell(self, model: str, is_open: bool) -> None:
        self.told.append((model, is_open))

    def breakers(self) -> Breakers:
        return Breakers(self.now, self.tell)


def fail(breakers: Breakers, model: str, times: int = FAILURES_TO_OPEN, outcome: AttemptOutcome = DOWN) -> None:
    for _ in range(times):
        breakers.begins(model)
        breakers.ended(model, outcome)


# --- breaker ------------------------------------------------------------------------------------------------------


def test_a_model_that_failed_often_enough_in_a_row_is_held_back_until_its_time() -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a", FAILURES_TO_OPEN - 1)
    assert breakers.refused(CHAIN) == frozenset()
    fail(breakers, "a", 1)
    assert breakers.refused(CHAIN) == {"a"}
    assert clock.told == [("a", True)]
    clock.seconds = OPEN_SECONDS
    assert breakers.refused(CHAIN) == frozenset()


def test_half_open_lets_one_call_through_and_its_end_decides() -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a")
    clock.seconds = OPEN_SECONDS
    assert breakers.begins("a")
    assert breakers.refused(CHAIN) == {"a"}  # the probe is under way
    breakers.ended("a", OK)
    assert breakers.refused(CHAIN) == frozenset()
    assert not breakers.begins("a")
    assert clock.told == [("a", True), ("a", False)]


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
    assert breakers.begins("a")


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


# --- turns --------------------------------------------------------------------------------------------------------


def turns(limit: float | None, prices: Mapping[str, float | None], clock: Clock | None = None) -> Turns:
    return Turns(
        CHAIN, (clock or Clock()).breakers(), Waits(lambda: 0.0), Budget("lesson", limit), lambda model: prices[model]
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
    these: Turns, *ends: tuple[AttemptOutcome, float], seconds_left: float = 100.0
) -> list[tuple[str, AttemptKind]]:
    """The turns that are given while attempts end so, each at so much money."""
    made = []
    for outcome, cost in ends:
        turn = these.next(seconds_left)
        if turn is None:
            break
        with turn:
            made.append((turn.step.model, turn.step.kind))
            ended = attempt(turn.step.model, outcome, cost)
            turn.ended(ended)
        these.ended(ended, (f"fault {len(made)}",))
    return made


CHEAP = dict.fromkeys(CHAIN, 0.1)


def test_with_money_and_health_the_chain_is_asked_as_ever() -> None:
    assert play(turns(None, CHEAP), *[(AttemptOutcome.AUTH, 0.0)] * 5) == [
        ("a", AttemptKind.FIRST),
        ("b", AttemptKind.FALLBACK),
        ("c", AttemptKind.FALLBACK),
    ]


def test_a_model_that_costs_too_much_is_passed_over_for_a_cheaper_one() -> None:
    these = turns(0.2, {"a": 0.5, "b": 0.3, "c": 0.1})
    assert play(these, (OK, 0.05)) == [("c", AttemptKind.FALLBACK)]


def test_when_no_model_fits_there_is_no_turn_and_the_scope_is_told() -> None:
    these = turns(0.05, CHEAP)
    assert these.next(100.0) is None
    assert these.refused_by == "lesson"


def test_the_same_model_is_not_asked_again_with_the_money_of_the_next() -> None:
    these = turns(0.25, CHEAP)
    made = play(these, *[(AttemptOutcome.BROKEN_STREAM, 0.1)] * 4)
    assert made == [("a", AttemptKind.FIRST), ("b", AttemptKind.FALLBACK)]


def test_an_unpriced_model_is_asked_and_reserves_nothing() -> None:
    these = turns(0.05, {"a": 0.1, "b": None, "c": 0.1})
    turn = these.next(100.0)
    assert turn is not None
    assert (turn.step.model, turn.reserved_usd) == ("b", None)


def test_a_wait_longer_than_the_time_that_is_left_goes_to_the_next_model_at_once() -> None:
    these = turns(None, CHEAP)
    turn = these.next(20.0)
    assert turn is not None
    these.ended(attempt("a", AttemptOutcome.RATE_LIMITED, retry_after=60.0), ())
    following = these.next(20.0)
    assert following is not None
    assert (following.step.model, following.step.kind) == ("b", AttemptKind.FALLBACK)


async def test_what_one_section_is_told_to_wait_holds_for_the_others_of_its_lesson() -> None:
    clock = Clock()
    waits = Waits(lambda: clock.seconds)
    one, other, third = (Turns(CHAIN, clock.breakers(), waits, Budget("lesson", None), lambda _: 0.1) for _ in range(3))
    one.next(100.0)
    one.ended(attempt("a", AttemptOutcome.RATE_LIMITED, retry_after=60.0), ())

    with other.next(100.0) or pytest.fail("no turn") as turn:
        assert (turn.step.model, turn.step.kind, turn.floor_seconds) == ("a", AttemptKind.FIRST, 60.0)
    with third.next(20.0) or pytest.fail("no turn") as turn:
        assert (turn.step.model, turn.step.kind, turn.floor_seconds) == ("b", AttemptKind.FALLBACK, 0.0)
    clock.seconds += 60.0
    with third.next(20.0) or pytest.fail("no turn") as turn:
        assert (turn.step.model, turn.floor_seconds) == ("b", 0.0)


async def test_a_pause_is_never_shorter_than_the_provider_asked() -> None:
    waits = Waits(asyncio.get_running_loop().time)
    these = Turns(CHAIN, Clock().breakers(), waits, Budget("lesson", None), lambda _: 0.1)
    these.next(100.0)
    these.ended(attempt("a", AttemptOutcome.RATE_LIMITED, retry_after=0.05), ())
    turn = these.next(100.0)
    assert isinstance(turn, Turn)
    began = asyncio.get_running_loop().time()
    await turn.pause()
    assert asyncio.get_running_loop().time() - began >= 0.05


def test_a_turn_that_is_left_without_an_end_gives_everything_back() -> None:
    clock = Clock()
    budget = Budget("lesson", 1.0)
    these = Turns(CHAIN, clock.breakers(), Waits(lambda: 0.0), budget, lambda _: 0.4)
    turn = these.next(100.0)
    assert turn is not None
    with pytest.raises(asyncio.CancelledError), turn:
        raise asyncio.CancelledError
    assert (budget.spent_usd, budget.reserved_usd) == (0.0, 0.0)


def test_a_half_open_model_gets_a_probe() -> None:
    clock = Clock()
    breakers = clock.breakers()
    fail(breakers, "a")
    these = Turns(CHAIN, breakers, Waits(lambda: 0.0), Budget("lesson", None), lambda _: 0.1)
    assert play(these, (OK, 0.1)) == [("b", AttemptKind.FALLBACK)]
    clock.seconds = OPEN_SECONDS
    these = Turns(CHAIN, breakers, Waits(lambda: 0.0), Budget("lesson", None), lambda _: 0.1)
    assert play(these, (OK, 0.1)) == [("a", AttemptKind.PROBE)]
    assert breakers.refused(CHAIN) == frozenset()


# --- retirement ---------------------------------------------------------------------------------------------------

GPT_5_ENDS = date(2026, 12, 11)


@pytest.mark.parametrize(
    ("days", "living"),
    [(-7, ("gpt-5", "gpt-4o")), (-1, ("gpt-5", "gpt-4o")), (0, ("gpt-4o",)), (1, ("gpt-4o",)), (365, ("gpt-4o",))],
)
def test_a_model_is_skipped_from_its_last_day_on(days: int, living: tuple[str, ...]) -> None:
    kept, ended = Retirement().parted(Provider.OPENAI, ("gpt-5", "gpt-4o"), GPT_5_ENDS + timedelta(days=days))
    assert kept == living
    assert [ending.model for ending in ended] == ([] if "gpt-5" in living else ["gpt-5"])


def test_dates_belong_to_provider_and_model_and_the_offline_provider_has_none() -> None:
    retirement, far = Retirement(), date(2036, 1, 1)
    assert retirement.parted(Provider.OFFLINE, (OFFLINE_MODEL,), far) == ((OFFLINE_MODEL,), ())
    assert retirement.parted(Provider.OLLAMA, ("gpt-5",), far) == (("gpt-5",), ())
    retirement.take_in(Provider.OLLAMA, {"gpt-5": date(2027, 1, 1)})
    assert retirement.parted(Provider.OLLAMA, ("gpt-5",), far)[0] == ()
    assert retirement.ending(Provider.OPENAI, "gpt-5") == Ending("gpt-5", GPT_5_ENDS, "gpt-6.1-sol")


def test_the_earlier_of_two_dates_counts() -> None:
    retirement = Retirement()
    retirement.take_in(Provider.OPENAI, {"gpt-5": date(2026, 12, 1), "gpt-4.1": date(2027, 6, 1)})
    ends = [retirement.ending(Provider.OPENAI, model) for model in ("gpt-5", "gpt-4.1")]
    assert [ending.on for ending in ends if ending] == [date(2026, 12, 1), date(2027, 1, 14)]


def test_each_threshold_is_told_once() -> None:
    retirement, told = Retirement(), []
    for days in (90, 60, 59, 30, 10, 7, 6, 0, -5):
        soon = retirement.soon(Provider.OPENAI, ("gpt-5", "gpt-4o"), GPT_5_ENDS - timedelta(days=days))
        told += [(days, ending.model, limit) for ending, limit in soon]
    assert told == [(60, "gpt-5", 60), (30, "gpt-5", 30), (7, "gpt-5", 7)]


def test_a_chain_whose_models_end_on_one_day_has_that_day() -> None:
    retirement = Retirement()
    assert retirement.common_end(Provider.OPENAI, ("gpt-4.1", "gpt-4o-mini")) == date(2027, 1, 14)
    assert retirement.common_end(Provider.OPENAI, ("gpt-4.1", "gpt-6-luna")) is None
    assert retirement.common_end(Provider.OPENAI, ()) is None


def test_an_ending_says_when_and_what_comes_instead() -> None:
    ending = Ending("gpt-5", GPT_5_ENDS, "gpt-6.1-sol")
    assert ending.told(date(2026, 11, 25)) == ("gpt-5 ends on 2026-12-11, in 16 days; its provider names gpt-6.1-sol")
    assert Ending("x", GPT_5_ENDS, "").told(GPT_5_ENDS) == "x ended on 2026-12-11"


# --- costs --------------------------------------------------------------------------------------------------------

DAY = datetime(2026, 11, 25, tzinfo=UTC)
STAGE2 = ("gpt-6-luna", "gpt-4.1", "gpt-4o-mini", "gpt-6.1-sol")


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


def test_the_default_chain_of_stage_2_does_not_end_on_one_day_and_two_of_it_outlive_the_others() -> None:
    chain = GatewaySettings.model_construct().stage2_models
    assert chain == STAGE2
    assert Retirement().common_end(Provider.OPENAI, chain) is None
    living, _ = Retirement().parted(Provider.OPENAI, chain, date(2027, 1, 15))
    assert living == ("gpt-6-luna", "gpt-6.1-sol")


def test_a_limit_below_one_lesson_names_both_figures() -> None:
    with pytest.raises(SettingsError, match=r"LESSON_COST_LIMIT_USD is 0\.09: .* \$0\.0862 .* \$0\.0127"):
        check_limit(0.09, (Provider.OPENAI, "gpt-5", 8000), (Provider.OPENAI, STAGE2), DAY)


def test_models_without_a_price_need_no_room() -> None:
    check_limit(0.01, (Provider.OPENAI, "nobody-knows-it", 8000), (Provider.NONE, ()), DAY)
    assert sections_usd(Provider.OPENAI, ("nobody-knows-it",), DAY) == 0.0
