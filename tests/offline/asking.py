"""What the two stages ask, and how their answers are read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

SECTIONS = ("frame", "reading", "dialogue", "grammar", "culture", "practice", "lessonPlan")
BRIEF = {
    "canDoId": "JF:349",
    "topic": "食生活",
    "level": "A1",
    "learnerLanguage": "en",
    "canDoText": "",
    "canDoTextJa": "",
    "activity": "",
}
CHAT = "/v1/chat/completions"


def chat(data: object, **fields: object) -> dict[str, Any]:
    """A request whose last user message holds `data` in its data block."""
    block = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    messages = [
        {"role": "system", "content": "You write lessons."},
        {"role": "user", "content": f"Write it.\n<data>\n{block}\n</data>\nJSON only."},
    ]
    return {"model": "nidan-offline", "messages": messages} | fields


def stage1(sections: Sequence[str] = SECTIONS, **brief: object) -> dict[str, Any]:
    return {"brief": BRIEF | brief, "sections": list(sections), "confirmed": {}, "reask": []}


def stage2(mode: str, items: Iterable[dict[str, object]], **brief: object) -> dict[str, Any]:
    return {"section": "reading", "mode": mode, "brief": BRIEF | brief, "items": list(items), "reask": []}


def item(text: str, number: str = "1", want: bool = True, translate: bool = True) -> dict[str, object]:
    return {"id": number, "text": text, "kind": "sentence", "want": want, "translate": translate}


def content(answer: dict[str, Any]) -> str:
    """The text of an unstreamed answer."""
    text = answer["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def events(stream: bytes) -> list[dict[str, Any]]:
    """The chunks of a streamed answer; it must end with [DONE]."""
    *lines, done, nothing = stream.decode().split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def joined(chunks: list[dict[str, Any]]) -> str:
    """The text that the chunks' deltas make together."""
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
