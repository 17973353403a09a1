"""What a lesson costs by default, from the tokens that `make cost` recorded and the list prices of a given day."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from benchmarks.cost import DOCUMENT, calls, characters, written
from benchmarks.lesson_cost import TARGET_USD, Choice, LessonTokens, mean, recorded
from content_service.settings import ContentSettings
from enhancer_service.japanese.annotator import JapaneseAnnotator
from enhancer_service.settings import EnhancerSettings
from gateway.settings import GatewaySettings
from lesson.models import EnhancementMode
from offline_model.bank import load_bank
from servicekit.llm.capabilities import Provider, capabilities
from tests.trio import analyser

DAY = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture(scope="module")
def lessons() -> list[LessonTokens]:
    return recorded()


def by_hand(lessons: list[LessonTokens], sent: float, written: float) -> tuple[float, float]:
    """Dollars of Stage 1 with gpt-5, at 1.25 and 10 a million, and of Stage 2 in mode review at the given prices."""
    one = mean(tokens.stage1.sent * 1.25 + tokens.stage1.answer * 10 for tokens in lessons)
    two = [tokens.stage2[EnhancementMode.REVIEW] for tokens in lessons]
    return one / 1e6, mean(tokens.sent * sent + tokens.answers * written for tokens in two) / 1e6


def test_the_default_settings_cost_what_their_models_take(lessons: list[LessonTokens]) -> None:
    usd = mean(Choice.default(DAY).lesson_usd(tokens) for tokens in lessons)
    assert usd == pytest.approx(sum(by_hand(lessons, 2.0, 8.0)))  # gpt-4.1
    assert 0.065 < usd < 0.075


def test_with_flex_the_default_settings_average_below_the_target(lessons: list[LessonTokens]) -> None:
    usd = mean(Choice.default(DAY).with_tier("flex").lesson_usd(tokens) for tokens in lessons)
    one, two = by_hand(lessons, 2.0, 8.0)
    assert usd == pytest.approx(one / 2 + two)  # gpt-4.1 has no flex
    assert usd < TARGET_USD == 0.05


def test_the_economical_chain_averages_below_the_target(lessons: list[LessonTokens]) -> None:
    choice = Choice.economical(DAY)
    usd = mean(choice.lesson_usd(tokens) for tokens in lessons)
    assert choice.stage2 == "gpt-6-luna"
    assert usd == pytest.approx(sum(by_hand(lessons, 0.10, 0.50)))
    assert usd < TARGET_USD


def test_a_prefix_that_was_sent_before_costs_less_and_stage_2_has_none_long_enough(
    lessons: list[LessonTokens],
) -> None:
    choice = Choice.default(DAY)
    for tokens in lessons:
        assert choice.stage1_usd(tokens, cached=True) < choice.stage1_usd(tokens)
        assert choice.stage2_usd(tokens, cached=True) == choice.stage2_usd(tokens)


def test_what_reasoning_adds_is_told_apart_and_is_not_in_a_lessons_cost(lessons: list[LessonTokens]) -> None:
    choice = Choice.economical(DAY)
    for tokens in lessons:
        (low1, high1), (low2, high2) = choice.thinking_usd(tokens)
        assert 0 < low1 < high1
        assert 0 < low2 < high2 < low1
        assert Choice.default(DAY).thinking_usd(tokens) == ((low1, high1), (0.0, 0.0))  # gpt-4.1 does not reason
    # The estimate is that of effort `low`, and of models that reason.
    efforts = [
        ContentSettings.model_construct().ai_stage1_reasoning_effort,
        EnhancerSettings.model_construct().ai_stage2_reasoning_effort,
    ]
    assert efforts == ["low", "low"]
    assert all(capabilities(choice.provider, model).reasons for model in (choice.stage1, choice.stage2))


def test_a_model_without_a_price_is_an_error_and_not_free(lessons: list[LessonTokens]) -> None:
    with pytest.raises(ValueError, match="no list price for nobody-knows-it"):
        Choice.default(DAY).with_stage2("nobody-knows-it").lesson_usd(lessons[0])


def test_the_recorded_tokens_are_of_todays_prompts_and_lessons(lessons: list[LessonTokens]) -> None:
    bank = load_bank()
    asked = list(calls(bank, JapaneseAnnotator.load(analyser=analyser())))
    assert {tokens.lesson: tokens.level for tokens in lessons} == {one.can_do_id: one.level for one in bank.lessons}
    counted = {tokens.lesson: tokens.characters for tokens in lessons}
    for lesson in bank.lessons:
        mine = [call for call in asked if call.lesson == lesson.can_do_id]
        now = characters(written(lesson), mine)
        # A word here or there does not move a figure of the document; `make cost` records anew.
        assert now == pytest.approx(counted[lesson.can_do_id], rel=0.01), f"{lesson.can_do_id}: run `make cost`"


def test_the_documents_sum_is_that_of_the_record(lessons: list[LessonTokens]) -> None:
    usd = mean(map(Choice.default(DAY).lesson_usd, lessons))
    text = DOCUMENT.read_text("utf-8")
    assert f"costs **${usd:.4f}** with the default settings" in text
    flex = mean(map(Choice.default(DAY).with_tier("flex").lesson_usd, lessons))
    assert f"**${flex:.4f}** with `AI_SERVICE_TIER=flex`" in text
    assert f"**${mean(map(Choice.economical(DAY).lesson_usd, lessons)):.4f}** with the economical chain" in text
    assert f"| **a lesson** | | | | **{usd:.4f}** |" in text


def test_the_default_is_read_from_the_settings_classes_and_not_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANDO_AI_STAGE2_MODEL", "gpt-4o")
    choice = Choice.default(DAY)
    fields = GatewaySettings.model_fields
    assert (choice.stage1, choice.stage2) == (
        fields["cando_ai_stage1_model"].default,
        fields["cando_ai_stage2_model"].default,
    )
    assert fields["cando_ai_stage2_provider"].default is choice.provider is Provider.OPENAI
