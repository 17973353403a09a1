"""Both stages before a real language model: what it answers is never asserted, only what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lesson.models import Attempt, AttemptOutcome, ReadingProvenance
from tests.real_model.conftest import Llama
from tests.real_model.stages import Stages, stages
from tests.trio import check_text

pytestmark = pytest.mark.real_model

CALL_SECONDS = 170.0
STAGE_1_TOKENS = 256
LONG_TOKENS = 2000
TYPED = {AttemptOutcome.OK, AttemptOutcome.INVALID_SCHEMA, AttemptOutcome.LENGTH}
"""With its grammar held to our schema: good, good JSON with a fault in it, or cut before its end."""

SECTIONS = (
    ("コーヒーをください。", "いくらですか。"),
    ("水を飲みます。", "本を読みます。", "毎日パンを食べます。"),
    ("東京は大きいです。",),
    ("これはペンです。", "私は学生です。"),
    ("朝は、いつもご飯と卵を食べます。",),
)
TOO_LONG = tuple(f"{number}時に友だちと近くの店で魚を食べます。" for number in range(1, 161))
"""About twice what the server has room for."""

Tell = Callable[[str, Attempt], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Prints what was seen."""

    def told(what: str, attempt: Attempt) -> None:
        used = attempt.usage
        tokens = f"{used.input_tokens} tokens in, {used.output_tokens} out" if used else "no usage told"
        line = f"{what}: {attempt.outcome}; {tokens}; {attempt.duration_seconds:.1f} s; {attempt.reason}"
        with capsys.disabled():
            print(f"\n  {line}", end="")

    return told


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch, llama: Llama) -> AsyncIterator[Stages]:
    tokens = {"AI_STAGE1_MAX_OUTPUT_TOKENS": str(STAGE_1_TOKENS)}
    async with stages(monkeypatch, llama.url, CALL_SECONDS, **tokens) as running:
        yield running


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_stage_2_takes_what_is_whole_and_fits_and_says_what_is_wrong_with_the_rest(
    served: Stages, tell: Tell, language: str
) -> None:
    seen = []
    for texts in SECTIONS:
        result = await served.annotate(texts, language)
        assert result.attempt
        tell(f"Stage 2, {len(texts)} items into {language}", result.attempt)
        seen.append(result.attempt.outcome)
        assert result.attempt.usage
        assert result.attempt.usage.output_tokens > 0
        assert [item.text.kanji for item in result.items] == list(texts)
        translated = [item.text.translation for item in result.items if item.text.translation]
        for item in result.items:
            check_text(item.text)
            assert item.text.reading_provenance is ReadingProvenance.ANALYSER
        if result.attempt.outcome is AttemptOutcome.OK:
            assert len(translated) == len(texts)
        elif result.attempt.outcome is AttemptOutcome.LENGTH:
            assert not translated
        else:
            assert any(item.issues for item in result.items)

    assert set(seen) <= TYPED
    # Into Japanese any words do, so that a whole answer is a good one; into English this model says Japanese again.
    assert language == "en" or AttemptOutcome.OK in seen


async def test_an_answer_of_stage_1_that_is_cut_is_told_as_cut_and_gives_nothing(served: Stages, tell: Tell) -> None:
    result, released = await served.write()
    tell("Stage 1, the whole lesson", result.attempt)

    assert result.attempt.outcome is AttemptOutcome.LENGTH
    assert result.attempt.usage
    assert result.attempt.usage.output_tokens == STAGE_1_TOKENS
    assert result.content.written == tuple(name for name in result.content.written if name in released)
    assert result.content.reading is None


async def test_a_prompt_that_does_not_fit_leaves_the_analysers_readings(served: Stages, tell: Tell) -> None:
    result = await served.annotate(TOO_LONG)
    assert result.attempt
    tell(f"Stage 2, {len(TOO_LONG)} items", result.attempt)

    assert result.attempt.outcome is AttemptOutcome.BAD_REQUEST
    assert result.attempt.reason.startswith("HTTP 400: ")
    assert result.attempt.usage is None
    assert [item.text.kanji for item in result.items] == list(TOO_LONG)
    for item in result.items:
        assert item.text.romaji
        assert item.text.translation is None
        check_text(item.text)


async def test_a_caller_who_leaves_frees_the_slot_for_the_next(
    monkeypatch: pytest.MonkeyPatch, llama: Llama, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = {"AI_STAGE1_MAX_OUTPUT_TOKENS": str(LONG_TOKENS)}
    async with stages(monkeypatch, llama.url, CALL_SECONDS, **tokens) as served:
        writing = asyncio.create_task(served.write())
        begun = await slot_that(llama, lambda slot: slot["is_processing"] and slot["next_token"][0]["n_decoded"] > 5)
        writing.cancel()
        assert isinstance((await asyncio.gather(writing, return_exceptions=True))[0], asyncio.CancelledError)
        ended = await slot_that(llama, lambda slot: not slot["is_processing"])
        result = await served.annotate(SECTIONS[0], "ja")

    written = ended["n_prompt_tokens"] - begun["n_prompt_tokens"] + begun["next_token"][0]["n_decoded"]
    with capsys.disabled():
        print(f"\n  cancelled: {written} of {LONG_TOKENS} tokens had been written when the slot was free", end="")
    assert written < LONG_TOKENS / 2
    assert result.attempt
    tell("Stage 2, after it", result.attempt)
    assert result.attempt.outcome in TYPED


async def slot_that(llama: Llama, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(CALL_SECONDS):
        while not holds(slot := await llama.slot()):  # noqa: ASYNC110 - the other side is a process
            await asyncio.sleep(0.05)
    return slot
