"""`nidan models`: both chains with prices and end dates, and the settings that replace ending or dear models.

Reads the settings as the gateway would read them here; calls nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nidan.checks.settings import settings_of
from nidan.services.service import GATEWAY
from nidan.terminal.sanitize import clean
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.llm.prices import TokenUsage, cheapest_first, cost_usd

_SOON_DAYS = 60
_MILLION = 1_000_000


@dataclass(frozen=True)
class Listed:
    """A model of a chain. Dollars a million tokens at list price; None: no price is known."""

    stage: int
    place: int
    """1 is asked first."""
    provider: str
    model: str
    input_usd: float | None
    cached_usd: float | None
    output_usd: float | None
    ends: str | None
    """ISO date; None: no end is known."""
    days_left: int | None
    successor: str


def models(today: date, environment: Mapping[str, str], as_json: bool) -> int:
    """Prints the chains. Returns 1 when the settings cannot be read or every model of a chain has ended, else 0."""
    settings = settings_of(GATEWAY, environment)
    if isinstance(settings, str):
        print(json.dumps({"error": settings}) if as_json else f"nidan models: {settings}")
        return 1
    listed = [entry for stage in (1, 2) for entry in chain(stage, settings, today)]
    lines = [line for stage in (1, 2) if (line := advice(stage, listed))]
    cheaper = economical(listed, today)
    if as_json:
        print(json.dumps({"models": [asdict(entry) for entry in listed], "set": lines, "economical": cheaper}))
    else:
        _print(listed, lines, cheaper)
    return 1 if any(_all_ended(stage, listed) for stage in (1, 2)) else 0


def chain(stage: int, settings: Mapping[str, Any], today: date) -> Iterator[Listed]:
    """The models of one stage in order, as the gateway's settings have them."""
    provider = Provider(settings[f"cando_ai_stage{stage}_provider"])
    at = _start_of(today)
    for place, model in enumerate(settings[f"stage{stage}_models"], start=1):
        able = capabilities(provider, model)
        yield Listed(
            stage=stage,
            place=place,
            provider=provider.value,
            model=model,
            input_usd=cost_usd(provider, model, TokenUsage(_MILLION, 0, 0, 0), at),
            cached_usd=cost_usd(provider, model, TokenUsage(_MILLION, _MILLION, 0, 0), at),
            output_usd=cost_usd(provider, model, TokenUsage(0, 0, _MILLION, 0), at),
            ends=able.shutdown.isoformat() if able.shutdown else None,
            days_left=(able.shutdown - today).days if able.shutdown else None,
            successor=able.successor,
        )


def advice(stage: int, listed: Sequence[Listed]) -> str:
    """The settings line that replaces models ending within 60 days by their successors; empty when none ends."""
    mine = [entry for entry in listed if entry.stage == stage]
    if not any(_ends_soon(entry) for entry in mine):
        return ""
    names = [entry.successor or "" if _ends_soon(entry) else entry.model for entry in mine]
    return _settings_line(stage, [name for name in names if name])


def economical(listed: Sequence[Listed], today: date) -> str:
    """The settings line that asks the cheapest model of Stage 2 first; empty when the chain does so already."""
    living = [entry for entry in listed if entry.stage == 2 and not _has_ended(entry)]
    if not living:
        return ""
    names = [entry.model for entry in living]
    chain = cheapest_first(Provider(living[0].provider), names, _start_of(today))
    return _settings_line(2, chain) if chain != tuple(names) else ""


def _settings_line(stage: int, models: Sequence[str]) -> str:
    if not models:
        return ""
    first, *rest = dict.fromkeys(models)
    prefix = f"CANDO_AI_STAGE{stage}"
    # An empty variable means its default, so a chain of one model names that model again.
    return f"{prefix}_MODEL={first} {prefix}_FALLBACK_MODELS={','.join(rest or [first])}"


def _start_of(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def _has_ended(entry: Listed) -> bool:
    return entry.days_left is not None and entry.days_left <= 0


def _ends_soon(entry: Listed) -> bool:
    return entry.days_left is not None and entry.days_left <= _SOON_DAYS


def _all_ended(stage: int, listed: Sequence[Listed]) -> bool:
    mine = [entry for entry in listed if entry.stage == stage]
    return bool(mine) and all(_has_ended(entry) for entry in mine)


def _print(listed: Sequence[Listed], lines: Sequence[str], cheaper: str) -> None:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for title in ("Stage", "Model", "$ in", "cached", "out", "Ends", "Successor"):
        table.add_column(title, justify="right" if title in ("$ in", "cached", "out") else "left")
    for entry in listed:
        prices = [_price(usd) for usd in (entry.input_usd, entry.cached_usd, entry.output_usd)]
        place = f"{entry.stage}.{entry.place} {entry.provider}"
        table.add_row(place, Text(clean(entry.model)), *prices, _end(entry), entry.successor)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        Text("Dollars a million tokens at list price; - is no known end. A model past its end is skipped.", style="dim")
    )
    if lines:
        console.print("\nWhat ends within 60 days, replaced as its provider names it:\n", style="yellow")
        for line in lines:
            print(f"  {line}")
    if cheaper:
        console.print("\nThe economical chain of Stage 2, the cheapest model first (docs/cost.md):\n")
        print(f"  {cheaper}")


def _price(usd: float | None) -> str:
    return "unpriced" if usd is None else f"{usd:.2f}"


def _end(entry: Listed) -> Text:
    if entry.ends is None or entry.days_left is None:
        return Text("-", style="dim")
    if _has_ended(entry):
        return Text(f"{entry.ends}, ended", style="bold red")
    style = "red" if entry.days_left < 7 else "yellow" if _ends_soon(entry) else ""
    return Text(f"{entry.ends}, {entry.days_left} days", style=style)
