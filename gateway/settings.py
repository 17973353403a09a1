"""The gateway's settings."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lesson.models import EnhancementMode
from servicekit.llm.capabilities import OFFLINE_MODEL, Provider, Stage1Provider
from servicekit.settings import Port, Seconds, ServiceSettings, whole_or_none

Dollars = Annotated[float, Field(gt=0, le=1000)]
RUN_MARGIN_SECONDS = 3.0
"""A run ends this long before its deadline, with the sections that are ready."""


class GatewaySettings(ServiceSettings):
    """docs/settings.md explains each field."""

    use_twostage_generation: bool = True
    cando_ai_stage1_provider: Stage1Provider = Provider.OPENAI
    cando_ai_stage1_model: Annotated[str, Field(min_length=1)] = "gpt-5"
    cando_ai_stage1_fallback_models: str = "gpt-4o,gpt-6.1-sol"
    cando_ai_stage2_provider: Provider = Provider.OPENAI
    cando_ai_stage2_model: Annotated[str, Field(min_length=1)] = "gpt-4.1"
    cando_ai_stage2_fallback_models: str = "gpt-4o-mini,gpt-6-luna,gpt-6.1-sol"
    ai_stage1_max_output_tokens: Annotated[int, Field(ge=256, le=128_000)] = 8000
    lesson_cost_limit_usd: Dollars = 0.25
    daily_cost_limit_usd: Annotated[float, Field(ge=0)] = 0.0
    lesson_deadline_seconds: Seconds = 300.0
    stage2_reserve_seconds: Seconds = 60.0
    stage2_mode: EnhancementMode = EnhancementMode.REVIEW
    stage_restart_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    on_disconnect: Literal["cancel", "finish"] = "cancel"
    lessons_limit: Annotated[int, Field(ge=1)] = 200
    stage1_calls_limit: Annotated[int, Field(ge=1)] = 200
    stage2_calls_limit: Annotated[int, Field(ge=1)] = 400
    catalogue_file: str = "~/.nidan/catalogue.jsonl"
    content_address: str = "127.0.0.1:50051"
    enhancer_address: str = "127.0.0.1:50052"
    gateway_keys_file: str = ""
    gateway_allow_anonymous: bool = False
    gateway_caller_lessons_per_minute: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    gateway_caller_lessons_at_once: Annotated[int, Field(ge=0, le=100_000)] = 0
    gateway_caller_daily_cost_usd: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    daily_cost_share_per_caller: Annotated[float, Field(gt=0, le=1)] = 0.25
    gateway_tls_cert_file: str = ""
    gateway_tls_key_file: str = ""
    gateway_port: Port = 50050
    gateway_health_port: Port = 50060
    gateway_metrics_port: Port = 9100

    @model_validator(mode="after")
    def _deadline_leaves_room(self) -> Self:
        least = self.stage2_reserve_seconds + RUN_MARGIN_SECONDS
        if self.lesson_deadline_seconds <= least:
            raise ValueError(
                f"LESSON_DEADLINE_SECONDS is {self.lesson_deadline_seconds:g}: it must be above STAGE2_RESERVE_SECONDS "
                f"+ {RUN_MARGIN_SECONDS:g} s, which is {least:g}. "
                "Raise LESSON_DEADLINE_SECONDS or lower STAGE2_RESERVE_SECONDS."
            )
        return self

    @model_validator(mode="after")
    def _needs_keys_beyond_loopback(self) -> Self:
        whole_or_none(self, "gateway_tls_cert_file", "gateway_tls_key_file")
        if not (self.gateway_keys_file or self.gateway_allow_anonymous or self.binds_loopback):
            raise ValueError(
                f"BIND is {self.bind}, so anyone who can reach it can spend your money: set GATEWAY_KEYS_FILE "
                "(`nidan keys add` makes keys), or GATEWAY_ALLOW_ANONYMOUS=true to let everyone in."
            )
        return self

    @property
    def caller_daily_cost_usd(self) -> float:
        """The limit of a caller with a key that sets none: its own setting, or else its share of the day's; 0: none."""
        share = self.daily_cost_limit_usd * self.daily_cost_share_per_caller if self.gateway_keys_file else 0.0
        return self.gateway_caller_daily_cost_usd or share

    @property
    def keys_path(self) -> Path | None:
        """The file of callers' keys; None when callers need no key."""
        return _expanded(self.gateway_keys_file) if self.gateway_keys_file else None

    @property
    def catalogue_path(self) -> Path:
        """The file of imported Can-do entries. ~ means the home directory, if there is one."""
        return _expanded(self.catalogue_file)

    @property
    def stage1_models(self) -> tuple[str, ...]:
        """The chain, first to last."""
        return _chain(self.cando_ai_stage1_provider, self.cando_ai_stage1_model, self.cando_ai_stage1_fallback_models)

    @property
    def stage2_models(self) -> tuple[str, ...]:
        """The chain, first to last; empty when the analyser works alone."""
        return _chain(self.cando_ai_stage2_provider, self.cando_ai_stage2_model, self.cando_ai_stage2_fallback_models)


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib raises without a home directory


def _chain(provider: Provider, model: str, fallbacks: str) -> tuple[str, ...]:
    """The models without duplicates. The offline provider has one model, and `none` has none."""
    if provider is Provider.NONE:
        return ()
    if provider is Provider.OFFLINE:
        return (OFFLINE_MODEL,)
    names = [model, *(name.strip() for name in fallbacks.split(","))]
    return tuple(dict.fromkeys(name for name in names if name))
