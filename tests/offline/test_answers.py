"""What the server answers to both stages, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from lesson.items import extract_items
from lesson.models import Content, SectionName
from offline_model import brackets, tokens
from offline_model.bank import Bank
from tests.offline.asking import CHAT, SECTIONS, chat, content, events, item, joined, stage1, stage2


async def ask(model: ClientSession, data: object, **fields: object) -> dict[str, Any]:
    async with model.post(CHAT, json=chat(data, **fields)) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        answer = await response.json()
        assert isinstance(answer, dict)
        return answer


async def stream(model: ClientSession, data: object, **fields: object) -> list[dict[str, Any]]:
    async with model.post(CHAT, json=chat(data, stream=True, **fields)) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        return events(await response.read())


async def test_stage_1_gets_exactly_the_wanted_sections_in_canonical_order(model: ClientSession, bank: Bank) -> None:
    answer = content(await ask(model, stage1(["practice", "frame"])))
    assert list(json.loads(answer)) == ["frame", "practice"]
    assert json.loads(answer) == bank.stage1("JF:349", ["frame", "practice"])


@pytest.mark.parametrize("can_do_id", ["JF:349", "JFまるごと:349"])
async def test_the_whole_lesson_comes_under_both_ids(model: ClientSession, can_do_id: str) -> None:
    answer = content(await ask(model, stage1(canDoId=can_do_id)))
    assert tuple(json.loads(answer)) == SECTIONS
    assert Content.model_validate_json(answer).written == tuple(SectionName)


@pytest.mark.parametrize("brief", [{"level": None}, {"level": ""}, {"learnerLanguage": "en-GB"}])
async def test_a_brief_that_does_not_contradict_the_lesson_gets_it(
    model: ClientSession, brief: dict[str, object]
) -> None:
    assert json.loads(content(await ask(model, stage1(SECTIONS, **brief)))).keys() == set(SECTIONS)


async def test_a_stream_says_the_same_as_a_whole_answer_a_few_characters_at_a_time(model: ClientSession) -> None:
    whole = await ask(model, stage1())
    chunks = await stream(model, stage1())
    assert joined(chunks) == content(whole)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(len(chunk["choices"][0]["delta"].get("content", "")) <= 8 for chunk in chunks)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "stop"]
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("chat.completion.chunk", "nidan-offline")}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_a_usage_chunk_without_choices_comes_last_when_asked_for(model: ClientSession) -> None:
    whole = await ask(model, stage1(["reading"]))
    *chunks, last = await stream(model, stage1(["reading"]), stream_options={"include_usage": True})
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)


async def test_usage_counts_by_the_estimate_of_tokens(model: ClientSession) -> None:
    answer = await ask(model, stage1(["reading"]))
    prompt = "\n".join(message["content"] for message in chat(stage1(["reading"]))["messages"])
    usage = answer["usage"]
    assert usage["prompt_tokens"] == tokens.count(prompt)
    assert usage["completion_tokens"] == tokens.count(content(answer)) > 200
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_japanese_character_is_a_token_and_four_latin_ones_are_one() -> None:
    assert [tokens.count(text) for text in ("", "a", "abcd", "abcde", "魚が好き", "魚abcd")] == [0, 1, 1, 2, 4, 2]
    assert [tokens.cut("魚abcd肉", limit) for limit in (0, 1, 2, 3, 9)] == ["", "魚", "魚abcd", "魚abcd肉", "魚abcd肉"]


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_an_answer_longer_than_the_limit_is_cut_and_says_so(model: ClientSession, limit: str) -> None:
    whole = content(await ask(model, stage1(["reading"])))
    answer = await ask(model, stage1(["reading"]), **{limit: 50})
    assert whole.startswith(content(answer))
    assert answer["choices"][0]["finish_reason"] == "length"
    assert 48 <= answer["usage"]["completion_tokens"] <= 50
    chunks = await stream(model, stage1(["reading"]), **{limit: 50})
    assert joined(chunks) == content(answer)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_an_answer_that_fits_the_limit_exactly_is_whole(model: ClientSession) -> None:
    whole = await ask(model, stage1(["reading"]))
    answer = await ask(model, stage1(["reading"]), max_tokens=whole["usage"]["completion_tokens"])
    assert content(answer) == content(whole)
    assert answer["choices"][0]["finish_reason"] == "stop"


def json_schema(*properties: str) -> dict[str, object]:
    schema = {"type": "object", "properties": {name: {} for name in properties}, "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "lesson", "strict": True, "schema": schema}}


@pytest.mark.parametrize(
    ("response_format", "keys"),
    [
        (json_schema("dialogue", "frame", "unknown"), ["dialogue", "frame"]),
        (json_schema("grammar"), []),
        ({"type": "json_schema", "json_schema": {"name": "any"}}, ["frame", "reading", "dialogue"]),
        ({"type": "json_object"}, ["frame", "reading", "dialogue"]),
        ({"type": "text"}, ["frame", "reading", "dialogue"]),
        (None, ["frame", "reading", "dialogue"]),
    ],
)
async def test_a_schema_chooses_and_orders_the_wanted_sections(
    model: ClientSession, response_format: dict[str, object] | None, keys: list[str]
) -> None:
    asked = stage1(["dialogue", "frame", "reading"])
    answer = await ask(model, asked, response_format=response_format)
    assert list(json.loads(content(answer))) == keys


@pytest.mark.parametrize(
    ("mode", "entry"),
    [
        ("model", {"id": "1", "furigana": "魚[さかな]が好[す]きです。", "translation": "I like fish."}),
        ("analyser", {"id": "1", "translation": "I like fish."}),
    ],
)
async def test_stage_2_gets_in_each_mode_what_that_mode_asks_for(
    model: ClientSession, mode: str, entry: dict[str, object]
) -> None:
    asked = stage2(mode, [item("魚が好きです。")])
    assert json.loads(content(await ask(model, asked))) == {"items": [entry], "unsure": []}
    assert json.loads(content(await ask(model, asked, response_format=json_schema("items")))) == {"items": [entry]}
    assert json.loads(joined(await stream(model, asked))) == {"items": [entry], "unsure": []}


@pytest.mark.parametrize(
    ("shown", "corrections"),
    [
        ("魚[さかな]が好[す]きです。", []),
        ("魚[うお]が好[す]きです。", [{"id": "1", "word": "魚", "reading": "さかな"}]),
    ],
)
async def test_a_review_returns_translations_and_readings_that_differ_from_the_bank(
    model: ClientSession, shown: str, corrections: list[dict[str, str]]
) -> None:
    answered = json.loads(content(await ask(model, stage2("review", [item(shown)]))))
    assert answered == {
        "items": [{"id": "1", "translation": "I like fish."}],
        "corrections": corrections,
        "unsure": [],
    }


async def test_only_wanted_items_whose_text_is_in_the_bank_are_answered(model: ClientSession) -> None:
    items = [
        item("魚が好きです。", "1", want=False),
        item("魚がきらいです。", "2"),
        item("小林", "3"),
        item("でも、カレーは大好きです。", "4", translate=False),
    ]
    answer = json.loads(content(await ask(model, stage2("model", items))))
    assert answer == {
        "items": [
            {"id": "3", "furigana": "小林[こばやし]", "translation": None},
            {"id": "4", "furigana": "でも、カレーは大好[だいす]きです。", "translation": None},
        ],
        "unsure": [],
    }


async def test_the_white_space_around_an_item_stays_around_its_brackets(model: ClientSession) -> None:
    answer = json.loads(content(await ask(model, stage2("model", [item(" 魚が好きです。\n")]))))
    assert answer["items"][0]["furigana"] == " 魚[さかな]が好[す]きです。\n"


async def test_every_item_of_the_lesson_is_answered_whole(model: ClientSession) -> None:
    lesson = Content.model_validate_json(content(await ask(model, stage1())))
    for name in lesson.written:
        section = lesson.section(name)
        items = extract_items(name, section) if section else ()
        asked = [item(one.text, one.id, translate=one.needs_translation) for one in items]
        answered = json.loads(content(await ask(model, stage2("model", asked))))["items"]
        assert [entry["id"] for entry in answered] == [one.id for one in items]
        for one, entry in zip(items, answered, strict=True):
            assert brackets.plain(entry["furigana"]) == one.text
            assert bool(entry["translation"]) == one.needs_translation


async def test_the_last_user_message_counts_and_its_content_may_come_in_parts(model: ClientSession) -> None:
    first, second = chat(stage1(["frame"])), chat(stage1(["culture"]))
    parts = [{"type": "text", "text": second["messages"][1]["content"]}]
    messages = [*first["messages"], {"role": "assistant", "content": None}, {"role": "user", "content": parts}]
    async with model.post(CHAT, json=first | {"messages": messages}) as response:
        assert list(json.loads(content(await response.json()))) == ["culture"]


async def test_unknown_fields_and_any_authorization_are_accepted(model: ClientSession) -> None:
    body = chat(stage1(["frame"]), temperature=0.2, seed=7, user="x", store=False, reasoning_effort="low", n=1)
    for headers in ({"Authorization": "Bearer sk-anything"}, {"Authorization": "Basic !"}, {}):
        async with model.post(CHAT, json=body, headers=headers) as response:
            assert response.status == 200


async def test_models_and_health_say_what_is_there(model: ClientSession) -> None:
    async with model.get("/v1/models") as response:
        listed = await response.json()
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]] == ["nidan-offline"]
    async with model.get("/v1/models/nidan-offline") as response:
        assert await response.json() == listed["data"][0]
    async with model.get("/healthz") as response:
        assert (response.status, await response.json()) == (200, {"status": "ok", "lessons": 12})
