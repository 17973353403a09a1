"""The explanation of a failure always names the next step."""

from __future__ import annotations

import json

import grpc
import pytest

from lesson.models import AttemptOutcome
from nidan.explain import gateway_failure
from servicekit.errors import RemoteError


def _error(reason: str, **fields: object) -> RemoteError:
    return RemoteError(grpc.StatusCode.INTERNAL, "It went wrong.", reason=reason, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        ("TWOSTAGE_DISABLED", "USE_TWOSTAGE_GENERATION=true"),
        ("UNKNOWN_CAN_DO", "--topic"),
        ("DEADLINE_EXCEEDED", "--timeout"),
        ("UNAVAILABLE", "nidan up"),
        ("STAGE1_AUTH", "OPENAI_API_KEY"),
        ("STAGE1_RETIRED", "nidan doctor"),
        ("STAGE1_LENGTH", "AI_STAGE1_MAX_OUTPUT_TOKENS"),
    ],
)
def test_each_reason_has_its_own_next_step(reason: str, step: str) -> None:
    text = gateway_failure(_error(reason)).as_text()
    assert text.startswith(f"No lesson ({reason}): It went wrong.\n")
    assert step in text


@pytest.mark.parametrize("outcome", AttemptOutcome)
def test_no_reason_is_left_without_a_next_step(outcome: AttemptOutcome) -> None:
    assert gateway_failure(_error(f"STAGE1_{outcome.name}")).next_step


def test_a_wait_that_the_gateway_names_comes_first() -> None:
    failure = gateway_failure(_error("STAGE1_RATE_LIMITED", retryable=True, retry_after_seconds=12.0))
    assert failure.next_step == "Run the command again in 12 s."


def test_offline_a_topic_without_a_built_in_lesson_says_where_they_are_listed() -> None:
    error = _error("STAGE1_BAD_REQUEST")
    assert "nidan catalogue list --offline" in gateway_failure(error, offline=True).next_step
    assert "nidan catalogue list" not in gateway_failure(error).next_step


def test_a_status_without_a_reason_is_reported_by_its_name() -> None:
    values = json.loads(gateway_failure(RemoteError(grpc.StatusCode.UNAVAILABLE, "reset", retryable=True)).as_json())
    assert (values["reason"], values["retryable"]) == ("UNAVAILABLE", True)
