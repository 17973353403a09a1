"""Which models have ended: a model past its end date is skipped before a call is spent on it.

Dates come from models.toml and from the providers' own model lists, as the stages report them; the earlier date counts.
A date belongs to a provider and a model together: the offline provider has none. The day is always an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from servicekit.llm.capabilities import Provider, capabilities

WARN_DAYS: Final = (60, 30, 7)


@dataclass(frozen=True)
class Ending:
    """A model's end date, and the successor that its provider names (empty: none)."""

    model: str
    on: date
    successor: str

    def describe(self, today: date) -> str:
        """For people: gpt-5 ends on 2026-12-11, in 16 days; its provider names gpt-6.1-sol."""
        days = (self.on - today).days
        when = f"ends on {self.on}, in {days} days" if days > 0 else f"ended on {self.on}"
        return f"{self.model} {when}" + (f"; its provider names {self.successor}" if self.successor else "")


class Retirement:
    """The end dates known in this process."""

    def __init__(self) -> None:
        self._listed: dict[tuple[Provider, str], date] = {}
        self._warned: set[tuple[str, int]] = set()

    def add_listed(self, provider: Provider, listed: Mapping[str, date]) -> None:
        self._listed |= {(provider, model): on for model, on in listed.items()}

    def ending(self, provider: Provider, model: str) -> Ending | None:
        able = capabilities(provider, model)
        dates = [on for on in (able.shutdown, self._listed.get((provider, model))) if on is not None]
        return Ending(model, min(dates), able.successor) if dates else None

    def split_retired(
        self, provider: Provider, models: Sequence[str], today: date
    ) -> tuple[tuple[str, ...], tuple[Ending, ...]]:
        """The models that can be asked today, in order, and those that have ended."""
        endings = {model: self.ending(provider, model) for model in models}
        ended = tuple(ending for ending in endings.values() if ending is not None and ending.on <= today)
        gone = {ending.model for ending in ended}
        return tuple(model for model in models if model not in gone), ended

    def due_warnings(self, provider: Provider, models: Iterable[str], today: date) -> list[tuple[Ending, int]]:
        """Models that end within 60, 30 or 7 days, with that threshold. Each threshold is returned once per model."""
        found = []
        for model in models:
            ending = self.ending(provider, model)
            days = (ending.on - today).days if ending else None
            passed = [limit for limit in WARN_DAYS if days is not None and days <= limit]
            if ending is not None and passed and (model, min(passed)) not in self._warned:
                self._warned.add((model, min(passed)))
                found.append((ending, min(passed)))
        return found

    def common_end(self, provider: Provider, models: Sequence[str]) -> date | None:
        """The day on which every model of the chain ends; None when they differ, or the chain is empty."""
        dates = {ending.on if (ending := self.ending(provider, model)) else None for model in models}
        return dates.pop() if len(dates) == 1 else None
