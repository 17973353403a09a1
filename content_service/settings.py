"""The content service's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from servicekit.llm.capabilities import Provider, Stage1Provider
from servicekit.llm.settings import ModelServerSettings
from servicekit.settings import Port, Seconds


class ContentSettings(ModelServerSettings):
    """docs/settings.md explains each field."""

    cando_ai_stage1_provider: Stage1Provider = Provider.OPENAI
    ai_stage1_timeout_seconds: Seconds = 180.0
    ai_stage1_first_token_seconds: Seconds = 60.0
    ai_stream_stall_seconds: Seconds = 20.0
    ai_stage1_reasoning_effort: Literal["minimal", "low", "medium", "high"] = "low"
    ai_stage1_max_output_tokens: Annotated[int, Field(ge=256, le=128_000)] = 8000
    content_calls_limit: Annotated[int, Field(ge=1)] = 200
    content_port: Port = 50051
    content_health_port: Port = 50061
    content_metrics_port: Port = 9101
    tls_client_name: Annotated[str, Field(min_length=1)] = "gateway"
    """The name that the caller's certificate must have, when the service uses TLS."""
