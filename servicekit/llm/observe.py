"""Tells the metrics of every model call that ended."""

from __future__ import annotations

from servicekit.llm.capabilities import Provider
from servicekit.llm.client import CallOutcome, ModelRequest, Observer, Reply
from servicekit.telemetry import ModelMetrics


def observe_calls(provider: Provider, metrics: ModelMetrics) -> Observer:
    """An observer for a provider's client."""

    def observe(request: ModelRequest, reply: Reply) -> None:
        error = "" if reply.outcome is CallOutcome.OK else reply.outcome.value
        tokens = (reply.usage.input_tokens, reply.usage.output_tokens) if reply.usage else None
        metrics.observe(provider.value, request.model, reply.duration_seconds, error, tokens)

    return observe
