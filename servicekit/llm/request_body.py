"""Builds the body of a chat request from models.toml, and limits its output to what the call may cost."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from servicekit.llm.calls import ModelRequest
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.prices import TokenUsage, cost_usd

LEAST_OUTPUT_TOKENS = 256
"""The client makes no call whose cost limit pays for fewer."""


def chat_body(provider: Provider, request: ModelRequest, at: datetime, tier: str = "") -> dict[str, Any]:
    """The request's JSON. `at` is the day whose list price counts; `tier` is sent to models that have it."""
    able = capabilities(provider, request.model)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": [
            {"role": "system", "content": request.system},
            {"role": "user", "content": request.user},
        ],
        able.max_tokens: output_tokens(provider, request, at),
    }
    if able.temperature and request.temperature is not None:
        body["temperature"] = request.temperature
    if able.reasons and request.reasoning_effort:
        body["reasoning_effort"] = able.effort(request.reasoning_effort)
    if tier in able.tiers:
        body["service_tier"] = tier
    if request.schema and able.structured == "json_schema":
        shape = {"name": request.schema.name, "schema": request.schema.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    elif request.schema and able.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def output_tokens(provider: Provider, request: ModelRequest, at: datetime) -> int:
    """The answer's limit: the least of what is asked for, what the model can write, and what the cost limit pays."""
    limits = [request.max_output_tokens, capabilities(provider, request.model).output_tokens]
    limits.append(affordable_tokens(provider, request, at))
    return min(limit for limit in limits if limit is not None)


def affordable_tokens(provider: Provider, request: ModelRequest, at: datetime) -> int | None:
    """Output tokens that the cost limit pays for after the prompt; None without a limit, a price or a paid answer."""
    if request.max_cost_usd is None:
        return None
    asked = request.prompt_tokens
    prompt = cost_usd(provider, request.model, TokenUsage(asked, 0, 0, 0), at)
    thousand = cost_usd(provider, request.model, TokenUsage(asked, 0, 1000, 0), at)
    if prompt is None or thousand is None or thousand == prompt:
        return None
    return max(0, int((request.max_cost_usd - prompt) / (thousand - prompt) * 1000))


def is_affordable(provider: Provider, request: ModelRequest, at: datetime) -> bool:
    """Whether the cost limit leaves enough for an answer."""
    tokens = affordable_tokens(provider, request, at)
    return tokens is None or tokens >= min(LEAST_OUTPUT_TOKENS, request.max_output_tokens)
