"""Thousands of calls at once, with TLS and keys: each gets an answer that says what became of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.access.keys import Scope
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.errors import read_error
from tests.access.callers import Ring, bearer
from tests.access.certificates import Authority, Identity
from tests.budget import examples
from tests.model_server import ModelServer
from tests.trio import trio

CALLS = examples(1600, 6000)
"""More than gRPC queues by default."""
LESSONS = 3


@pytest.mark.deep
async def test_of_thousands_of_calls_at_once_each_gets_an_answer_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: ModelServer
) -> None:
    authority = Authority()
    own = Identity(tmp_path / "own", "gateway", authority)
    ring = Ring(tmp_path / "keys.toml")
    callers = {
        "good": bearer(ring.add("good", Scope.GENERATE, lessons_per_minute=LESSONS)),
        "narrow": bearer(ring.add("narrow", Scope.REVIEW)),
        "wrong": bearer(Ring(tmp_path / "other.toml").add("wrong", Scope.GENERATE)),
        "none": (),
    }
    env = {
        "GATEWAY_KEYS_FILE": str(ring.file),
        "GATEWAY_TLS_CERT_FILE": str(own.folder / "tls.crt"),
        "GATEWAY_TLS_KEY_FILE": str(own.folder / "tls.key"),
    }
    request = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
    answers: Counter[tuple[str, str, str]] = Counter()

    async def call(stub: Any, caller: str) -> None:
        try:
            await stub.GenerateLesson(request, metadata=callers[caller], timeout=90)
            answers[caller, "OK", ""] += 1
        except grpc.aio.AioRpcError as error:
            answers[caller, error.code().name, read_error(error).reason] += 1

    async with (
        trio(monkeypatch, model, env) as running,
        grpc.aio.secure_channel(
            f"127.0.0.1:{running.gateway.grpc}", grpc.ssl_channel_credentials(authority.pem)
        ) as channel,
    ):
        stub = lesson_service_pb2_grpc.LessonServiceStub(channel)
        each = CALLS // len(callers)
        await asyncio.gather(*(call(stub, caller) for caller in callers for _ in range(each)))

    lessons = answers["good", "OK", ""]
    assert LESSONS <= lessons <= LESSONS + 4  # the burst itself takes seconds, and a minute has three
    assert answers == {
        ("good", "OK", ""): lessons,
        ("good", "RESOURCE_EXHAUSTED", "CALLER_RATE"): each - lessons,
        ("narrow", "PERMISSION_DENIED", "SCOPE_MISSING"): each,
        ("wrong", "UNAUTHENTICATED", "KEY_UNKNOWN"): each,
        ("none", "UNAUTHENTICATED", "KEY_MISSING"): each,
    }
