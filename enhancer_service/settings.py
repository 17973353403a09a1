"""The enhancer service's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from servicekit.llm.capabilities import Provider
from servicekit.llm.settings import ModelServerSettings
from servicekit.settings import Port, Seconds


class EnhancerSettings(ModelServerSettings):
    """docs/settings.md explains each field."""

    cando_ai_stage2_provider: Provider = Provider.OPENAI
    ai_stage2_timeout_seconds: Seconds = 60.0
    ai_stage2_reasoning_effort: Literal["none", "minimal", "low"] = "low"
    romaji_style: Literal["macron", "double", "kana"] = "macron"
    overrides_file: str = ""
    enhancer_calls_limit: Annotated[int, Field(ge=1)] = 400
    enhancer_port: Port = 50052
    enhancer_health_port: Port = 50062
    enhancer_metrics_port: Port = 9102
    tls_client_name: Annotated[str, Field(min_length=1)] = "gateway"
    """The name that the caller's certificate must have, when the service uses TLS."""
