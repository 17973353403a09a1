"""What the built-in lessons cost with a choice of models, from their recorded tokens and the list prices of a day.

`make cost` records the tokens (`tokens.json`). This module only computes with them, so that tests need no tokenizer.
Reasoning cannot be counted here; it is estimated, and never added to what was counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from gateway.settings import GatewaySettings
from lesson.models import EnhancementMode, Level
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.prices import TokenUsage, cheapest_first, cost_usd

RECORD: Final = Path(__file__).with_name("tokens.json")
TARGET_USD: Final = 0.05
STAGE1_THINKING: Final = (500, 1500)
"""Tokens that effort `low` takes, from and to: a guess from reports about such models, not a measurement."""
STAGE2_THINKING: Final = (100, 500)
"""The same for each call of Stage 2."""
# As OpenAI documents it: a prefix that was sent a few minutes before, from 1,024 tokens on, in steps of 128.
_LEAST_CACHED: Final = 1024
_CACHE_STEP: Final = 128


@dataclass(frozen=True)
class Stage1Tokens:
    """A lesson written in one attempt."""

    static: int
    """Of the system prompt, the same for every level."""
    level: int
    """Of the system prompt, the level's."""
    schema: int
    """Of the answer, which travels beside the prompt."""
    data: int
    answer: int
    plan: int
    """Of the answer."""

    @property
    def sent(self) -> int:
        return self.static + self.level + self.schema + self.data


@dataclass(frozen=True)
class Stage2Tokens:
    """All sections of a lesson annotated in one attempt each: the sums."""

    calls: int
    prompts: int
    schemas: int
    items: int
    """With brief, people and register."""
    answers: int

    @property
    def sent(self) -> int:
        return self.prompts + self.schemas + self.items


@dataclass(frozen=True)
class LessonTokens:
    """A built-in lesson."""

    lesson: str
    level: Level
    characters: int
    """Of all that was counted: a test compares them to see whether a prompt or a lesson has changed."""
    stage1: Stage1Tokens
    stage2: Mapping[EnhancementMode, Stage2Tokens]


def record(lessons: Iterable[LessonTokens]) -> None:
    """Writes them for `recorded`, a lesson a line."""
    lines = [json.dumps(asdict(lesson), ensure_ascii=False) for lesson in lessons]
    RECORD.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


def recorded() -> list[LessonTokens]:
    """The lessons as `make cost` last counted them."""
    return [
        LessonTokens(
            lesson=row["lesson"],
            level=Level(row["level"]),
            characters=row["characters"],
            stage1=Stage1Tokens(**row["stage1"]),
            stage2={EnhancementMode(mode): Stage2Tokens(**tokens) for mode, tokens in row["stage2"].items()},
        )
        for row in json.loads(RECORD.read_text("utf-8"))
    ]


@dataclass(frozen=True)
class Choice:
    """The models of both stages, the mode and the day whose prices count."""

    stage1: str
    stage2: str
    mode: EnhancementMode
    at: datetime
    provider: Provider = Provider.OPENAI
    tier: str = ""
    """The service tier, asked of the models that have it."""

    @classmethod
    def default(cls, at: datetime) -> Self:
        """The settings' defaults, whatever the environment says."""
        settings = GatewaySettings.model_construct()
        return cls(settings.stage1_models[0], settings.stage2_models[0], settings.stage2_mode, at)

    @classmethod
    def economical(cls, at: datetime) -> Self:
        """The default with the cheapest model of Stage 2's chain first."""
        default = cls.default(at)
        chain = cheapest_first(default.provider, GatewaySettings.model_construct().stage2_models, at)
        return replace(default, stage2=chain[0])

    def usd(self, model: str, *, sent: float = 0, written: float = 0, cached: float = 0) -> float:
        """Tokens at list price; `cached` is a part of what is sent. Raises ValueError where there is no price."""
        usage = TokenUsage(round(sent), round(cached), round(written), 0)
        price = cost_usd(self.provider, model, usage, self.at, self.tier)
        if price is None:
            raise ValueError(f"no list price for {model}")
        return price

    def stage1_usd(self, tokens: LessonTokens, *, cached: bool = False) -> float:
        """Stage 1. `cached`: its static prefix and the schema were sent shortly before."""
        one = tokens.stage1
        kept = _kept(one.static + one.schema) if cached else 0
        return self.usd(self.stage1, sent=one.sent, written=one.answer, cached=kept)

    def stage2_usd(self, tokens: LessonTokens, *, cached: bool = False) -> float:
        """Stage 2; the prefix of a call is too short to be kept unless the prompts grow."""
        two = tokens.stage2[self.mode]
        kept = two.calls * _kept((two.prompts + two.schemas) // two.calls) if cached else 0
        return self.usd(self.stage2, sent=two.sent, written=two.answers, cached=kept)

    def lesson_usd(self, tokens: LessonTokens, *, cached: bool = False) -> float:
        """Both stages, one attempt of everything, without reasoning."""
        return self.stage1_usd(tokens, cached=cached) + self.stage2_usd(tokens, cached=cached)

    def thinking_usd(self, tokens: LessonTokens) -> tuple[tuple[float, float], tuple[float, float]]:
        """The estimate of what reasoning adds in Stage 1 and in Stage 2, each from and to; 0 if a model does not."""
        calls = tokens.stage2[self.mode].calls
        return self._thinking(self.stage1, STAGE1_THINKING), self._thinking(self.stage2, STAGE2_THINKING, calls)

    def _thinking(self, model: str, tokens: tuple[int, int], calls: int = 1) -> tuple[float, float]:
        if not capabilities(self.provider, model).reasons:
            return 0.0, 0.0
        return self.usd(model, written=calls * tokens[0]), self.usd(model, written=calls * tokens[1])

    def with_tier(self, tier: str) -> Choice:
        return replace(self, tier=tier)

    def with_stage2(self, model: str) -> Choice:
        return replace(self, stage2=model)

    def with_stage1(self, model: str) -> Choice:
        return replace(self, stage1=model)


def mean(values: Iterable[float]) -> float:
    """The mean of at least one value."""
    values = list(values)
    return sum(values) / len(values)


def _kept(prefix: int) -> int:
    return prefix // _CACHE_STEP * _CACHE_STEP if prefix >= _LEAST_CACHED else 0
