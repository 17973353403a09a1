"""What the server refuses, and in which words: always OpenAI's error body, never a crash."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pytest
from aiohttp import ClientSession

from offline_model.server import MAX_BODY_BYTES
from tests.offline.asking import CHAT, SECTIONS, chat, item, stage1, stage2


async def refusal(model: ClientSession, body: bytes, status: int, **headers: str) -> dict[str, Any]:
    """The error of the answer, whose shape and status are checked."""
    async with model.post(CHAT, data=io.BytesIO(body), headers=headers) as response:
        assert response.status == status, await response.text()
        return error_of(await response.json())


def error_of(body: dict[str, Any]) -> dict[str, Any]:
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    return error


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe\x00", b"\x00", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"], ids=range(6)
)
async def test_a_body_that_is_not_json_is_a_bad_request(model: ClientSession, body: bytes) -> None:
    assert "not readable JSON" in (await refusal(model, body, 400))["message"]


@pytest.mark.parametrize("body", [[], None, "text", 7])
async def test_a_body_that_is_no_object_is_a_bad_request(model: ClientSession, body: object) -> None:
    await refusal(model, encoded(body), 400)


@pytest.mark.parametrize("missing", ["messages", "model"])
async def test_a_missing_parameter_is_named(model: ClientSession, missing: str) -> None:
    body = chat(stage1())
    del body[missing]
    error = await refusal(model, encoded(body), 400)
    assert (error["param"], error["code"]) == (missing, "missing_required_parameter")


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("messages", [], "messages"),
        ("messages", "hello", "messages"),
        ("messages", [{"content": "no role"}], "messages.0.role"),
        ("messages", [{"role": "user", "content": 7}], "messages.0.content"),
        ("model", 7, "model"),
        ("stream", "yes", "stream"),
        ("max_tokens", 0, "max_tokens"),
        ("max_tokens", True, "max_tokens"),
        ("max_completion_tokens", 1.5, "max_completion_tokens"),
        ("n", 2, "n"),
        ("response_format", {"type": "yaml"}, "response_format.type"),
        ("response_format", {"type": "json_schema"}, "response_format"),
        ("stream_options", {"include_usage": True}, None),
    ],
)
async def test_a_wrong_parameter_is_named(model: ClientSession, field: str, value: object, param: str | None) -> None:
    error = await refusal(model, encoded(chat(stage1()) | {field: value}), 400)
    assert error["param"] == param
    assert field in error["message"]


async def test_an_unknown_model_is_not_found(model: ClientSession) -> None:
    error = await refusal(model, encoded(chat(stage1(), model="gpt-5")), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "nidan-offline" in error["message"]
    async with model.get("/v1/models/gpt-5") as response:
        assert response.status == 404
        assert error_of(await response.json())["code"] == "model_not_found"


async def test_an_unknown_path_and_a_wrong_method_are_different_errors(model: ClientSession) -> None:
    async with model.post("/v1/completions", json={}) as response:
        assert response.status == 404
        assert error_of(await response.json())["code"] == "unknown_url"
    async with model.get(CHAT) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert error_of(await response.json())["code"] == "method_not_supported"


async def test_a_body_too_large_is_refused_also_when_it_arrives_packed(model: ClientSession) -> None:
    large = b" " * (MAX_BODY_BYTES + 1)
    assert (await refusal(model, large, 413))["code"] == "request_too_large"
    packed = gzip.compress(large)
    error = await refusal(model, packed, 413, **{"Content-Encoding": "gzip"})
    assert error["code"] == "request_too_large"


async def test_a_body_that_cannot_be_unpacked_is_a_bad_request(model: ClientSession) -> None:
    await refusal(model, b"not gzip", 400, **{"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    "brief",
    [
        {"canDoId": "JF:350"},
        {"canDoId": ""},
        {"canDoId": "jf:349"},
        {"level": "A2"},
        {"level": "a1 "},
        {"topic": "旅行と交通"},  # another list's 349
        {"canDoId": "nidan:food-a1-2"},  # a neighbour of the same topic and level
    ],
    ids=str,
)
async def test_a_missing_lesson_names_the_lessons_and_the_way_to_others(
    model: ClientSession, brief: dict[str, object]
) -> None:
    error = await refusal(model, encoded(chat(stage1(SECTIONS, **brief), stream=True)), 404)
    assert error["code"] == "lesson_not_in_bank"
    for told in (
        "JF:349",
        "nidan:work-b1-1",
        "食生活",
        "A1",
        "OPENAI_API_KEY",
        "CANDO_AI_STAGE1_PROVIDER=openai / CANDO_AI_STAGE2_PROVIDER=openai",
    ):
        assert told in error["message"]


async def test_both_stages_refuse_a_missing_language(model: ClientSession) -> None:
    for data in (stage1(learnerLanguage="fr"), stage2("model", [item("魚")], learnerLanguage="id-ID")):
        error = await refusal(model, encoded(chat(data)), 404)
        assert error["code"] == "language_not_in_bank"
        assert "OPENAI_API_KEY" in error["message"]


async def test_an_overlong_id_is_shortened_in_the_message(model: ClientSession) -> None:
    error = await refusal(model, encoded(chat(stage1(canDoId="x" * 100_000))), 404)
    assert len(error["message"]) < 800


BLOCK = "<data>\n" + json.dumps(stage1()) + "\n</data>"


@pytest.mark.parametrize(
    "content",
    [
        "Write me a lesson about food.",
        BLOCK + "\n" + BLOCK,
        BLOCK.replace("\n", " "),
        "</data>\n<data>",
        "<data>\n{\n</data>",
        "<data>\n" + "[" * 100_000 + "\n</data>",
        "<data>\n[]\n</data>",
        "<data>\n{}\n</data>",
        BLOCK.replace("frame", "lesson_plan"),
        BLOCK.replace('"sections"', '"section"'),
        BLOCK.replace("canDoId", "can_do_id"),
        "<data>\n" + json.dumps(stage2("guess", [])) + "\n</data>",
        "<data>\n" * 100_000,
        None,
    ],
    ids=range(14),
)
async def test_a_message_without_one_usable_data_block_is_refused_in_clear_words(
    model: ClientSession, content: str | None
) -> None:
    body = chat({}) | {"messages": [{"role": "user", "content": content}]}
    error = await refusal(model, encoded(body), 400)
    assert error["code"] == "no_data_block"
    assert "<data>" in error["message"]


async def test_messages_without_a_user_are_refused_like_prose(model: ClientSession) -> None:
    body = chat({}) | {"messages": [{"role": "system", "content": BLOCK}]}
    assert (await refusal(model, encoded(body), 400))["code"] == "no_data_block"
