"""The retry policy and the ledger: pure rules, tested over random outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.attempts.ledger import MemoryLedger, Row
from gateway.attempts.policy import (
    MAX_ATTEMPTS,
    OUTCOME_RULES,
    NextAttempt,
    PastAttempt,
    Remedy,
    models_ahead,
    next_attempt,
    remedy_for,
)
from lesson.models import Attempt, AttemptKind, AttemptOutcome, Stage, Usage

CHAIN = ("a", "b", "c")


def history_of(
    models: tuple[str, ...], outcomes: list[tuple[AttemptOutcome, tuple[str, ...]]], refused: tuple[str, ...] = ()
) -> list[PastAttempt]:
    """The attempts that the policy plans while they end so."""
    history: list[PastAttempt] = []
    for outcome, faults in outcomes:
        attempt = next_attempt(history, models, refused)
        if attempt is None:
            break
        history.append(PastAttempt(attempt.model, attempt.kind, outcome, frozenset(faults)))
    return history


def run(
    models: tuple[str, ...], outcomes: list[tuple[AttemptOutcome, tuple[str, ...]]]
) -> list[tuple[str, AttemptKind]]:
    return [(past.model, past.kind) for past in history_of(models, outcomes)]


STEPS = st.lists(
    st.tuples(st.sampled_from(list(AttemptOutcome)), st.lists(st.sampled_from("xyz"), max_size=2).map(tuple)),
    max_size=12,
)


@given(st.integers(1, 5), STEPS)
def test_every_model_gets_its_turn_and_there_are_never_more_than_five(
    length: int, outcomes: list[tuple[AttemptOutcome, tuple[str, ...]]]
) -> None:
    chain = CHAIN[:length] + tuple("de"[: max(0, length - 3)])
    made = run(chain, outcomes)
    assert len(made) <= MAX_ATTEMPTS
    assert [model for model, _ in made] == sorted(model for model, _ in made)
    if len(outcomes) >= MAX_ATTEMPTS:
        assert {model for model, _ in made} == set(chain)
    assert not made or made[0] == ("a", AttemptKind.FIRST)


def test_the_same_fault_twice_on_a_model_is_its_last() -> None:
    fault = (AttemptOutcome.INVALID_SCHEMA, ("dialogue.turns: empty",))
    assert run(CHAIN, [fault] * 5) == [
        ("a", AttemptKind.FIRST),
        ("a", AttemptKind.REASK),
        ("b", AttemptKind.FALLBACK),
        ("b", AttemptKind.REASK),
        ("c", AttemptKind.FALLBACK),
    ]


def test_a_new_fault_gets_a_reask_while_each_untried_model_keeps_an_attempt() -> None:
    faults: list[tuple[AttemptOutcome, tuple[str, ...]]] = [
        (AttemptOutcome.INVALID_SCHEMA, (str(number),)) for number in range(5)
    ]
    assert [model for model, _ in run(CHAIN, faults)] == ["a", "a", "a", "b", "c"]


def test_a_refusal_or_a_key_is_never_asked_twice() -> None:
    for outcome in (AttemptOutcome.REFUSED, AttemptOutcome.AUTH, AttemptOutcome.QUOTA, AttemptOutcome.UNKNOWN_MODEL):
        assert remedy_for(outcome) is Remedy.NEXT_MODEL
        assert run(CHAIN, [(outcome, ())] * 5) == [
            ("a", AttemptKind.FIRST),
            ("b", AttemptKind.FALLBACK),
            ("c", AttemptKind.FALLBACK),
        ]


def test_a_service_that_is_being_started_again_is_waited_for() -> None:
    made = run(("a",), [(AttemptOutcome.UPSTREAM, ("gone",))] * 9)
    assert [kind for _, kind in made] == [AttemptKind.FIRST, *[AttemptKind.RETRY] * 4]


def test_a_retry_waits_longer_each_time() -> None:
    upstream, limited = AttemptOutcome.UPSTREAM, AttemptOutcome.RATE_LIMITED
    history = history_of(("a",), [(upstream, ()), (upstream, ()), (upstream, ()), (limited, ())])
    following = [next_attempt(history[:length], ("a",)) for length in range(1, 5)]
    assert [attempt.pause_seconds for attempt in following if attempt] == [0.3, 0.6, 1.2, 2.4]


def test_a_chain_of_none_has_no_attempt() -> None:
    assert next_attempt((), ()) is None
    assert models_ahead((), ()) == ()


@given(st.integers(1, 5), STEPS, st.sets(st.sampled_from(CHAIN)))
def test_equal_histories_give_equal_answers_and_any_prefix_replays(
    length: int, outcomes: list[tuple[AttemptOutcome, tuple[str, ...]]], refused: set[str]
) -> None:
    chain = "abcde"[:length]
    history = history_of(tuple(chain), outcomes, tuple(refused))
    for made, past in enumerate(history):
        # Rebuilt as from a store: equal records, not identical ones.
        stored = [PastAttempt(row.model, row.kind, row.outcome, frozenset(row.issue_keys)) for row in history[:made]]
        attempt = next_attempt(stored, tuple(chain), refused)
        assert attempt == next_attempt(history[:made], tuple(chain), refused)
        assert attempt is not None
        assert (attempt.model, attempt.kind) == (past.model, past.kind)
        assert models_ahead(stored, tuple(chain))[0] == (stored[-1].model if stored else "a")


@given(STEPS, st.sets(st.sampled_from(CHAIN)))
def test_a_refused_model_is_never_planned(
    outcomes: list[tuple[AttemptOutcome, tuple[str, ...]]], refused: set[str]
) -> None:
    assert not {past.model for past in history_of(CHAIN, outcomes, tuple(refused))} & refused


@given(st.lists(st.builds(PastAttempt, st.sampled_from("abxy"), st.sampled_from(AttemptKind),
                          st.sampled_from(AttemptOutcome), st.frozensets(st.sampled_from("xyz")))))  # fmt: skip
def test_any_history_even_of_another_chain_has_an_answer_of_this_one(history: list[PastAttempt]) -> None:
    attempt = next_attempt(history, CHAIN)
    assert attempt is None or attempt.model in CHAIN
    assert set(models_ahead(history, CHAIN)) <= set(CHAIN)


def test_every_outcome_has_a_rule_and_the_first_attempt_is_the_first_models() -> None:
    assert set(OUTCOME_RULES) == set(AttemptOutcome)
    assert next_attempt((), CHAIN) == NextAttempt("a", AttemptKind.FIRST)
    assert next_attempt((), CHAIN, {"a"}) == NextAttempt("b", AttemptKind.FALLBACK)


def row(number: int = 1, reserved: float | None = 0.25) -> Row:
    return Row(f"row-{number}", "lesson", Stage.STAGE1, None, "gpt-5", AttemptKind.RETRY, reserved)


def attempt(**changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "id": "row-1", "stage": Stage.STAGE1, "section": None, "provider": "openai", "model": "gpt-5",
        "kind": AttemptKind.FIRST, "outcome": AttemptOutcome.OK, "reason": "", "retry_after_seconds": None,
        "usage": Usage(input_tokens=1, cached_input_tokens=0, output_tokens=1, reasoning_tokens=0), "cost_usd": 0.01,
        "first_token_seconds": None, "duration_seconds": 1.0,
    }  # fmt: skip
    return Attempt(**values | changes)


def test_a_row_is_settled_once_and_keeps_why_it_was_opened() -> None:
    ledger = MemoryLedger()
    ledger.open(row())
    assert [entry.id for entry in ledger.open_rows] == ["row-1"]
    counted = ledger.settle("row-1", attempt())
    assert (counted.kind, counted.cost_usd) == (AttemptKind.RETRY, 0.01)
    assert list(ledger.open_rows) == []
    with pytest.raises(ValueError, match="already settled"):
        ledger.settle("row-1", attempt())
    with pytest.raises(ValueError, match="exists"):
        ledger.open(row())
    ledger.forget("lesson")
    assert ledger.rows("lesson") == ()
    ledger.open(row())


@pytest.mark.parametrize("outcome", [AttemptOutcome.CANCELLED, AttemptOutcome.UPSTREAM, AttemptOutcome.TIMEOUT])
def test_a_call_of_unknown_usage_is_counted_at_what_was_reserved(outcome: AttemptOutcome) -> None:
    ledger = MemoryLedger()
    ledger.open(row())
    counted = ledger.settle("row-1", attempt(usage=None, cost_usd=None, outcome=outcome))
    assert (counted.cost_usd, counted.usage) == (0.25, None)


@pytest.mark.parametrize("outcome", [AttemptOutcome.RATE_LIMITED, AttemptOutcome.AUTH, AttemptOutcome.CONNECTION])
def test_what_a_provider_refused_before_working_costs_nothing(outcome: AttemptOutcome) -> None:
    ledger = MemoryLedger()
    ledger.open(row())
    assert ledger.settle("row-1", attempt(usage=None, cost_usd=None, outcome=outcome)).cost_usd == 0.0


def test_a_model_without_a_price_stays_without_one() -> None:
    ledger = MemoryLedger()
    ledger.open(row(reserved=None))
    counted = ledger.settle("row-1", attempt(usage=None, cost_usd=None, outcome=AttemptOutcome.TIMEOUT))
    assert counted.cost_usd is None
