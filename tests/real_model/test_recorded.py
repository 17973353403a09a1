"""Fifty answers that two small language models gave, sent to our stages by the model server: a typed outcome for each.

README.md says where they come from. They answer other questions than ours, so each goes through a second time in the
shape that we ask for, with the model's words in it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from lesson.calls import EnhanceResult
from lesson.models import AttemptOutcome, Content, EnhancementMode, ReadingProvenance, SectionName
from servicekit.llm.extraction import ExtractError, extract
from tests.model_server import Answer, ModelServer
from tests.real_model.stages import Stages, stages
from tests.trio import check_text

RECORDS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "recorded_outputs.jsonl").read_text(encoding="utf-8").splitlines()
]
ERRORS = [record for record in RECORDS if record.get("status") == 400]
ANSWERS = [record for record in RECORDS if record not in ERRORS]
STREAMS = [record for record in RECORDS if "sse_raw" in record]
TEXT = "朝ご飯を食べます。"
READING = "朝[あさ]ご飯[はん]を食[た]べます。"


def each(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One by one before the same services, which take longer to start than an answer; what fails is named."""
    for record in records:
        print(record["id"])
        yield record


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch, model: ModelServer) -> AsyncIterator[Stages]:
    async with stages(monkeypatch, model.url, seconds=20) as served:
        yield served


def finish_of(record: dict[str, Any]) -> str:
    """The two streams say it in an event."""
    return str(record.get("finish_reason") or "length")


def words_of(record: dict[str, Any]) -> dict[str, Any]:
    """What the model wrote, by the names that it gave it; else all of it as its text."""
    try:
        value = json.loads(record["content"])
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"text": record["content"], "translation": record["content"]}


def check_items(result: EnhanceResult) -> None:
    """No text is changed, no reading is invented, and there is a translation only of what was believed."""
    (item,) = result.items
    assert item.text.kanji == TEXT
    check_text(item.text)
    assert brackets(result) == READING


def brackets(result: EnhanceResult) -> str:
    (item,) = result.items
    return "".join(f"{part.text}[{part.ruby}]" if part.ruby else part.text for part in item.text.furigana)


def test_the_recorded_answers_are_all_there() -> None:
    assert (len(RECORDS), len(ERRORS), len(STREAMS)) == (50, 4, 2)
    assert sum(finish_of(record) == "length" for record in ANSWERS) == 18


@pytest.mark.parametrize("record", ANSWERS, ids=[record["id"] for record in ANSWERS])
def test_extraction_takes_nothing_of_a_cut_answer_and_no_key_that_was_not_asked_for(record: dict[str, Any]) -> None:
    words = words_of(record) if record.get("parses_as_json") else {}
    for keys in (["items"], ["reading", "dialogue"], ["title", "text"], ["furigana", "translation"]):
        there = {key: words[key] for key in words if key in keys}
        reason = "no_json" if not there else "empty_section" if "" in there.values() else ""
        reason = "length" if finish_of(record) == "length" else reason
        if reason:
            with pytest.raises(ExtractError) as refused:
                extract(record["content"], keys, finish_of(record))
            assert refused.value.reason == reason
        else:
            assert extract(record["content"], keys, finish_of(record)).value == there


async def test_an_answer_to_another_question_gives_no_section_and_no_translation(
    asked: Stages, model: ModelServer
) -> None:
    for record in each(ANSWERS):
        await check_answer_to_another_question(asked, model, record)


async def check_answer_to_another_question(asked: Stages, model: ModelServer, record: dict[str, Any]) -> None:
    used = {"prompt_tokens": 1000, "completion_tokens": 300}
    as_it_came = Answer(text=record["content"], finish=finish_of(record), usage=used)
    stream = Answer(body=record["sse_raw"].encode()) if "sse_raw" in record else as_it_came
    model.always |= {"stage1": stream, "reading": as_it_came}
    written, released = await asked.write()
    annotated = await asked.annotate([TEXT])

    has_a_section = any(name.json_key in words_of(record) for name in SectionName)
    no_json = AttemptOutcome.LENGTH if finish_of(record) == "length" else AttemptOutcome.INVALID_JSON
    assert annotated.attempt
    assert annotated.attempt.outcome is no_json
    assert written.attempt.outcome is (AttemptOutcome.INVALID_SCHEMA if has_a_section else no_json)
    assert written.attempt.reason
    assert annotated.attempt.reason
    assert annotated.attempt.usage
    # The bytes of a recorded stream count the prompt of another question: too short for ours, so it is not believed.
    assert bool(written.attempt.usage) == ("sse_raw" not in record)
    assert written.content == Content()
    assert written.faults
    assert not released
    assert annotated.items[0].text.translation is None
    assert annotated.items[0].text.reading_provenance is ReadingProvenance.ANALYSER
    check_items(annotated)


async def test_a_models_words_in_our_shape_are_taken_as_they_are_or_not_at_all(
    asked: Stages, model: ModelServer
) -> None:
    for record in each(ANSWERS):
        await check_words_in_our_shape(asked, model, record)


async def check_words_in_our_shape(asked: Stages, model: ModelServer, record: dict[str, Any]) -> None:
    words, finish = words_of(record), finish_of(record)
    words |= words["reading"] if isinstance(words.get("reading"), dict) else {}
    text, translation = words.get("text", ""), words.get("translation")

    def rewrite(lesson: dict[str, Any]) -> None:
        lesson["reading"] |= {"title": words.get("title"), "text": text, "comprehension": []}

    item = {"id": "1", "furigana": str(words.get("furigana", "")), "translation": translation}
    answer = Answer(text=json.dumps({"items": [item], "unsure": []}), finish=finish)
    model.always |= {"stage1": Answer(edit=rewrite, finish=finish), "reading": answer}
    written, _ = await asked.write()
    annotated = await asked.annotate([TEXT], mode=EnhancementMode.MODEL)

    reading = written.content.reading
    assert reading is None or reading.text == text
    cut = {AttemptOutcome.LENGTH}
    faulty = any(fault.section is SectionName.READING for fault in written.faults)
    whole = {AttemptOutcome.INVALID_SCHEMA if faulty else AttemptOutcome.OK}
    assert written.attempt.outcome in (cut if finish == "length" else whole)
    assert finish == "length" or (reading is None) == faulty == (not text.strip())
    assert annotated.attempt
    assert annotated.attempt.outcome in (
        cut if finish == "length" else {AttemptOutcome.OK, AttemptOutcome.INVALID_SCHEMA}
    )
    said = annotated.items[0].text.translation
    assert said is None or (finish == "stop" and said == str(translation).strip())
    check_items(annotated)


async def test_a_refusal_of_llama_cpp_is_a_bad_request_in_its_own_words(asked: Stages, model: ModelServer) -> None:
    for record in each(ERRORS):
        await check_refusal(asked, model, record)


async def check_refusal(asked: Stages, model: ModelServer, record: dict[str, Any]) -> None:
    error = json.loads(record["error_body"])["error"]
    model.always |= {"stage1": Answer(status=400, error=error), "reading": Answer(status=400, error=error)}
    written, released = await asked.write()
    annotated = await asked.annotate([TEXT])

    assert isinstance(error["code"], int)
    assert annotated.attempt
    for attempt in (written.attempt, annotated.attempt):
        assert attempt.outcome is AttemptOutcome.BAD_REQUEST
        assert attempt.reason.startswith("HTTP 400: ")
        assert error["message"][:40] in attempt.reason
    assert written.content == Content()
    assert not released
    check_items(annotated)
