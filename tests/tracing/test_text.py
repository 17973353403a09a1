"""Traces hold no text of a learner or a model unless the settings ask for it."""

from __future__ import annotations

import json

import pytest

from lesson.v1 import lesson_pb2
from lesson.v1 import lesson_service_pb2 as pb
from tests.model_server import Answer, ModelServer
from tests.tracing.collector import Collector
from tests.trio import trio

TOPIC, ANSWER, ERROR = "canarytopic", "カナリア", "canaryerror"
LONG = ANSWER * 5000
KEY = "sk-canarykey-1"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
REQUEST = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349", topic=TOPIC, level=lesson_pb2.LEVEL_A1))


async def lesson_with_canaries(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, env: dict[str, str] | None = None
) -> None:
    """A lesson whose prompts, answers, refusals and errors all contain a canary."""
    said = f"{ERROR} {ANSWER}"
    model.script["stage1"] = [
        Answer(status=500, error={"message": said}),
        Answer(status=429, error={"message": said, "code": said}, headers={"Retry-After": "0"}),
        Answer(text=json.dumps({said: ANSWER})),
    ]
    model.script["reading"] = [Answer(text="", refusal=said)]
    model.script["dialogue"] = [Answer(text=f"{ANSWER} is no JSON")]
    model.script["culture"] = [Answer(text=LONG)]
    model.script["practice"] = [Answer(body=json.dumps({"model": said, "choices": []}).encode())]
    model.script["frame"] = [Answer(body=json.dumps({"model": KEY, "choices": []}).encode())]
    model.script["grammar"] = [Answer(finish=said)]
    async with trio(monkeypatch, model, {"OPENAI_API_KEY": KEY} | (env or {})) as running:
        await running.stub.GenerateLesson(REQUEST, timeout=20)
    assert all(TOPIC in json.dumps(call.body, ensure_ascii=False) for call in model.calls)
    assert not any(model.script.values())


async def test_no_text_of_a_prompt_an_answer_or_an_error_is_sent(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    await lesson_with_canaries(monkeypatch, model)
    assert len(taken.named("chat gpt-5")) >= 3
    for canary in (TOPIC, ANSWER, ERROR, KEY):
        assert canary.encode() not in taken.raw


async def test_text_is_sent_only_on_request_and_up_to_its_limit(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, taken: Collector
) -> None:
    await lesson_with_canaries(monkeypatch, model, {CAPTURE: "true"})
    said = {}
    for chat in (span for span in taken.spans if span.name.startswith("chat ")):
        (system,) = json.loads(chat.attributes["gen_ai.system_instructions"])
        (asked,) = json.loads(chat.attributes["gen_ai.input.messages"])
        (answered,) = json.loads(chat.attributes["gen_ai.output.messages"])
        assert (asked["role"], answered["role"]) == ("user", "assistant")
        assert TOPIC in asked["parts"][0]["content"]
        assert system["content"] in {call.body["messages"][0]["content"][:8000] for call in model.calls}
        said[answered["parts"][0]["content"]] = answered["finish_reason"]
    assert said[f"{ANSWER} is no JSON"] == "stop"
    assert LONG[:8000] in said
    assert all(len(text) <= 8000 for text in said)
