"""What a provider's model takes and until when, read from models.toml; and where each provider is found."""

from __future__ import annotations

import enum
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Literal


class Provider(enum.StrEnum):
    """Who serves the models. `openai` is any server that speaks its API; `none` is no model at all (Stage 2 only)."""

    OPENAI = "openai"
    OFFLINE = "offline"
    NONE = "none"


OFFLINE_MODEL = "nidan-offline"
"""The one model of the embedded server; its answers are written by hand."""


@dataclass(frozen=True)
class Capabilities:
    """What one model takes."""

    max_tokens: Literal["max_tokens", "max_completion_tokens"]
    structured: Literal["json_schema", "json_object", "none"]
    temperature: bool
    reasoning_effort: bool
    shutdown: date | None = None
    successor: str = ""


def capabilities(provider: Provider, model: str) -> Capabilities:
    """The model's own entry over its provider's default over the common default. Unknown models get the defaults."""
    table = _table()
    of_provider: dict[str, Any] = table.get(provider.value, {})
    return Capabilities(**table["default"] | of_provider.get("default", {}) | of_provider.get(model, {}))


@cache
def _table() -> dict[str, Any]:
    text = resources.files("servicekit.llm").joinpath("models.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
