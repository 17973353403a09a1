"""Tells metrics and log of every model call that ended."""

from __future__ import annotations

from servicekit.llm.capabilities import Provider
from servicekit.llm.client import CallOutcome, ModelRequest, Observer, Reply
from servicekit.telemetry import ModelMetrics, logger


def observe_calls(provider: Provider, metrics: ModelMetrics) -> Observer:
    """An observer for a provider's client."""

    def observe(request: ModelRequest, reply: Reply) -> None:
        error = "" if reply.outcome is CallOutcome.OK else reply.outcome.value
        tokens = (reply.usage.input_tokens, reply.usage.output_tokens) if reply.usage else None
        metrics.observe(provider.value, request.model, reply.duration_seconds, error, tokens)
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
        )

    return observe
