"""The earlier system's plan, as its published benchmark describes it: 13 unstreamed calls, one after another.

It asks for the whole of Stage 1, then the reading (title and text), then each of eight turns, then the grammar in three
calls of two examples. The description is ours and so are the requests, so that one server answers both plans in one
format; none of their code is here. benchmarks/README.md lists the differences from what they ran.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from benchmarks.paced_model import STAGE1
from lesson.items import sentences
from servicekit.llm.data_block import data_block

SECTIONS = ("lessonPlan", "reading", "dialogue", "grammar", "practice", "culture")
"""What its Stage 1 wrote; it had no frame."""
EXAMPLES_A_POINT = 2
_CALL_SECONDS = 300.0
"""A dead server ends the benchmark after this time."""


@dataclass(frozen=True)
class PartRun:
    """The measurements of one part of the plan."""

    seconds: float
    calls: int
    tokens: int
    """The sum of the server's usage reports."""


class PlanError(Exception):
    """The plan failed; names the call."""


async def run(base_url: str, can_do_id: str) -> dict[str, PartRun]:
    """Runs the plan once; the parts in their order. Raises PlanError for an answer that lacks something."""
    # trust_env: a proxy that the environment names is for the world, not for this machine.
    http = DefaultAsyncHttpxClient(trust_env=False)
    async with AsyncOpenAI(base_url=base_url, api_key="bench", max_retries=0, http_client=http) as client:
        plan = _Plan(client, {"canDoId": can_do_id, "learnerLanguage": "en"})
        await plan.warm_up()
        lesson = await plan.stage1()
        for section, calls in stage2_calls(lesson).items():
            await plan.stage2(section, calls)
        return plan.parts


def stage2_calls(lesson: dict[str, Any]) -> dict[str, list[list[str]]]:
    """For each section the calls, and for each call the Japanese texts it asks about."""
    reading = [lesson["reading"]["title"], *sentences(lesson["reading"]["text"])]
    examples = [example for point in lesson["grammar"] for example in point["examples"]]
    return {
        "reading": [reading],
        "dialogue": [[turn["text"]] for turn in lesson["dialogue"]["turns"]],
        "grammar": [examples[at : at + EXAMPLES_A_POINT] for at in range(0, len(examples), EXAMPLES_A_POINT)],
    }


class _Plan:
    def __init__(self, client: AsyncOpenAI, brief: dict[str, str]) -> None:
        self._client = client
        self._brief = brief
        self.parts: dict[str, PartRun] = {}

    async def warm_up(self) -> None:
        """One small call that is not counted: a fresh SDK builds its types for 0.1 s."""
        await self._ask("gpt-4.1", {"brief": self._brief, "mode": "model", "items": []})

    async def stage1(self) -> dict[str, Any]:
        started = time.monotonic()
        lesson, tokens = await self._ask("gpt-5", {"brief": self._brief, "sections": list(SECTIONS)})
        self.parts[STAGE1] = PartRun(time.monotonic() - started, 1, tokens)
        return lesson

    async def stage2(self, section: str, calls: Sequence[Sequence[str]]) -> None:
        started, together = time.monotonic(), 0
        for texts in calls:
            items = [{"id": str(number), "text": text} for number, text in enumerate(texts, start=1)]
            data = {"brief": self._brief, "section": section, "mode": "model", "items": items}
            answer, tokens = await self._ask("gpt-4.1", data)
            if len(answer["items"]) != len(items):
                raise PlanError(f"{section}: {len(answer['items'])} of {len(items)} texts were answered")
            together += tokens
        self.parts[section] = PartRun(time.monotonic() - started, len(calls), together)

    async def _ask(self, model: str, data: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """One whole answer, parsed, and its tokens. Raises openai.OpenAIError or PlanError."""
        completion = await self._client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": f"Answer in JSON.\n{data_block(data)}"}],
            timeout=_CALL_SECONDS,
        )
        choice = completion.choices[0]
        if choice.finish_reason != "stop" or not choice.message.content or completion.usage is None:
            raise PlanError(f"an answer of {model} is not whole (finish_reason {choice.finish_reason!r})")
        answer: dict[str, Any] = json.loads(choice.message.content)
        return answer, completion.usage.completion_tokens
