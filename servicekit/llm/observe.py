"""Reports every model call that has ended to metrics, log and trace."""

from __future__ import annotations

import json
import re

from servicekit import tracing
from servicekit.llm.calls import CallOutcome, ModelRequest, Observer, Reply
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.telemetry import ModelMetrics, logger

_NAMES = {Provider.GEMINI: "gcp.gemini"}
"""OpenTelemetry's name for a provider, where it differs from the setting's."""
_STANDARD_TIERS = {"auto", "default"}
_FINISH_REASONS = {"stop", "length", "content_filter", "tool_calls", "function_call", "refusal"}
_NAME = re.compile(r"[\w.:/@-]{1,100}", re.ASCII)
# A server may put any text where a name belongs; only a name goes into log and trace.


def observe_calls(provider: Provider, metrics: ModelMetrics) -> Observer:
    """An observer for a provider's client."""
    adapted: set[str] = set()

    def observe(request: ModelRequest, reply: Reply) -> None:
        if request.model not in adapted and (sent := _adapted_effort(provider, request)):
            adapted.add(request.model)
            logger().warning(
                "reasoning_effort_adapted", model=request.model, wanted=request.reasoning_effort, sent=sent
            )
        error = "" if reply.outcome is CallOutcome.OK else reply.outcome.value
        tokens = (reply.usage.input_tokens, reply.usage.output_tokens) if reply.usage else None
        metrics.observe(provider.value, request.model, reply.duration_seconds, error, tokens)
        _trace(provider, request, reply)
        logger().info(
            "model_call_ended",
            attempt_id=request.attempt_id,
            provider=provider.value,
            model=request.model,
            outcome=reply.outcome.value,
            reason=reply.reason,
            duration=round(reply.duration_seconds, 3),
            input_tokens=tokens and tokens[0],
            output_tokens=tokens and tokens[1],
            **_tiers(reply),
        )

    return observe


def _adapted_effort(provider: Provider, request: ModelRequest) -> str:
    """The effort that was sent because the model does not take the wanted one; empty when it does."""
    wanted = request.reasoning_effort or ""
    sent = capabilities(provider, request.model).effort(wanted) if wanted else ""
    return sent if sent != wanted else ""


def _tiers(reply: Reply) -> dict[str, str]:
    """The service tier of a call that was not at the standard one, and one that had no capacity."""
    tiers = {"service_tier": reply.service_tier, "unavailable_tier": reply.unavailable_tier}
    return {name: tier for name, tier in tiers.items() if _NAME.fullmatch(tier) and tier not in _STANDARD_TIERS}


def _trace(provider: Provider, request: ModelRequest, reply: Reply) -> None:
    """Makes the span of a call that has ended. A cancelled call is not an error."""
    if not tracing.sampled():
        return
    attributes: dict[str, str | int | float | tuple[str, ...] | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _NAMES.get(provider, provider.value),
        "gen_ai.request.model": request.model,
        "gen_ai.request.max_tokens": request.max_output_tokens,
        "gen_ai.output.type": "json" if request.schema else "text",
        "gen_ai.response.model": reply.model if _NAME.fullmatch(reply.model) else None,
        "gen_ai.response.finish_reasons": (_finish_reason(reply),) if reply.finish_reason else (),
        "gen_ai.response.time_to_first_chunk": reply.first_token_seconds,
        "nidan.attempt.id": request.attempt_id,
        "nidan.outcome": reply.outcome.value,
        "nidan.cost_usd": reply.cost_usd,
        **{f"nidan.{name}": tier for name, tier in _tiers(reply).items()},
    }
    if reply.usage:
        attributes |= {
            "gen_ai.usage.input_tokens": reply.usage.input_tokens,
            "gen_ai.usage.cache_read.input_tokens": reply.usage.cached_input_tokens,
            "gen_ai.usage.output_tokens": reply.usage.output_tokens,
            "gen_ai.usage.reasoning.output_tokens": reply.usage.reasoning_tokens,
        }
    if tracing.captures_text():
        attributes |= _texts(request, reply)
    fine = reply.outcome in (CallOutcome.OK, CallOutcome.CANCELLED)
    error = "" if fine else reply.outcome.value
    tracing.add_ended_call(f"chat {request.model}", reply.duration_seconds, attributes, error)


def _texts(request: ModelRequest, reply: Reply) -> dict[str, str]:
    """Prompt and answer in the conventions' JSON, each text cut at `tracing.MOST_CHARACTERS`."""
    answer = {"role": "assistant", "parts": _parts(reply.text), "finish_reason": _finish_reason(reply)}
    return {
        "gen_ai.system_instructions": _json(_parts(request.system)),
        "gen_ai.input.messages": _json([{"role": "user", "parts": _parts(request.user)}]),
        "gen_ai.output.messages": _json([answer]),
    }


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "content": _sound(text[: tracing.MOST_CHARACTERS])}]


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason if reply.finish_reason in _FINISH_REASONS else "error"


def _sound(text: str) -> str:
    """The text without lone surrogates, for which the exporter would drop the whole batch."""
    return text.encode("utf-8", "replace").decode()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
