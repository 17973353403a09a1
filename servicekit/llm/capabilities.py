"""Providers and models as models.toml describes them: addresses, parameters, limits, prices, end dates."""

from __future__ import annotations

import enum
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from typing import Any, Literal


class Provider(enum.StrEnum):
    """Who serves the models. `openai` also stands for servers that speak its API; `none` means no model (Stage 2)."""

    OPENAI = "openai"
    GEMINI = "gemini"
    OLLAMA = "ollama"
    LLAMACPP = "llamacpp"
    VLLM = "vllm"
    OFFLINE = "offline"
    NONE = "none"


Stage1Provider = Literal[
    Provider.OPENAI, Provider.GEMINI, Provider.OLLAMA, Provider.LLAMACPP, Provider.VLLM, Provider.OFFLINE
]
"""Stage 1 needs a model."""
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Reasoning efforts, from the least to the most."""
OFFLINE_MODEL = "nidan-offline"
"""The one model of the embedded server; its answers are written by hand."""


@dataclass(frozen=True)
class Preset:
    """A provider's address, and whether it needs a key."""

    base_url: str
    key: Literal["yes", "maybe", "no"]
    prices: str | None = None
    """Its id in the genai-prices data set."""


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens; `cached` applies to input that the provider had cached."""

    input: float
    cached: float
    output: float


@dataclass(frozen=True)
class Capabilities:
    """What one model takes. An unknown limit of tokens is None."""

    max_tokens: Literal["max_tokens", "max_completion_tokens"]
    structured: Literal["json_schema", "json_object", "none"]
    temperature: bool
    reasoning_efforts: tuple[str, ...] = ()
    """The efforts that may be sent; empty: the model does not reason, or takes no effort."""
    output_tokens: int | None = None
    price: Price | None = None
    """Replaces the data set's price; None: the data set's price holds."""
    shutdown: date | None = None
    successor: str = ""
    tiers: Mapping[str, float] = field(default_factory=dict)
    """Service tiers besides the standard one, each with the factor of its price."""

    @property
    def reasons(self) -> bool:
        """Whether the model takes an effort, so that it may think before it writes."""
        return bool(self.reasoning_efforts)

    def effort(self, wanted: str) -> str:
        """The effort nearest to `wanted` that the model takes, the higher one of two; empty when it takes none.

        Raises ValueError when `wanted` is not one of EFFORTS.
        """
        rank = EFFORTS.index(wanted)
        nearest = sorted(
            self.reasoning_efforts, key=lambda effort: (abs(EFFORTS.index(effort) - rank), -EFFORTS.index(effort))
        )
        return nearest[0] if nearest else ""


def preset(provider: Provider) -> Preset:
    """The provider's preset. Raises KeyError for `none`."""
    return Preset(**_table()["providers"][provider.value])


def key_variable(provider: Provider) -> str:
    """The setting that holds the provider's key."""
    return f"{provider.value.upper()}_API_KEY"


def base_url_variable(provider: Provider) -> str:
    """The setting that replaces the preset's address."""
    return f"{provider.value.upper()}_BASE_URL"


@cache
def capabilities(provider: Provider, model: str) -> Capabilities:
    """The model's entry, over its provider's default, over the common default. Unknown models get the defaults."""
    table = _table()
    of_provider: dict[str, Any] = table.get(provider.value, {})
    entry: dict[str, Any] = table["default"] | of_provider.get("default", {}) | of_provider.get(model, {})
    price = Price(**entry["price"]) if "price" in entry else None
    return Capabilities(**entry | {"price": price, "reasoning_efforts": tuple(entry["reasoning_efforts"])})


@cache
def _table() -> dict[str, Any]:
    text = resources.files("servicekit.llm").joinpath("models.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
