"""The master lesson of JF:349 as the services give it today, without what differs from run to run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.master.schema import MasterLesson
from lesson.models import Lesson
from tests.model_server import model_server
from tests.trio import Trio, trio

GOLDEN = Path(__file__).with_name("jf-349.json")
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "master-lesson.schema.json"


def written(value: Any) -> str:
    """JSON as it is committed: one line a value, so that a diff reads well."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def current_schema() -> dict[str, Any]:
    """The JSON Schema of what the gateway writes."""
    schema = MasterLesson.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "master-lesson-2"} | schema


async def current_master() -> dict[str, Any]:
    """The lesson through three services, offline provider, at a fixed time."""
    async with offline_trio() as running:
        _, master = await running.generate()
    return steady(master)


async def current_lessons(can_do_ids: Iterable[str]) -> dict[str, Lesson]:
    """The lessons of these Can-dos through three services, offline provider."""
    async with offline_trio() as running:
        return {can_do_id: (await running.generate(can_do_id))[0] for can_do_id in can_do_ids}


@asynccontextmanager
async def offline_trio() -> AsyncIterator[Trio]:
    with pytest.MonkeyPatch.context() as patch:
        async with model_server() as model:
            env = {
                "CANDO_AI_STAGE1_PROVIDER": "offline",
                "CANDO_AI_STAGE2_PROVIDER": "offline",
                "OFFLINE_MODEL_URL": model.url,
            }
            async with trio(patch, model, env) as running:
                yield running


def steady(master: dict[str, Any]) -> dict[str, Any]:
    """The same with every id, time and order of arrival that chance decides made the same."""
    metadata = master["metadata"]
    master["lessonId"] = "00000000-0000-4000-8000-000000000000"
    metadata["createdAt"] = 0
    metadata["durations"] = dict.fromkeys(metadata["durations"], 0.0)
    metadata["attempts"].sort(key=lambda attempt: (attempt["stage"], attempt["section"] or ""))
    for number, attempt in enumerate(metadata["attempts"]):
        attempt["id"] = f"attempt-{number}"
    return master
