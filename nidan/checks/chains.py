"""`nidan models`: the chains of both stages, what each model costs, until when it is served, and what to set instead.

The settings are those that the gateway here would read; nothing is called.
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
from servicekit.llm.prices import TokenUsage, cost_usd

_SOON_DAYS = 60
_MILLION = 1_000_000


@dataclass(frozen=True)
class Listed:
    """A model of a chain. Dollars a million tokens at list price; None: nobody prices it."""

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
    """Prints the chains; 1 when the settings cannot be read or a chain has nothing left today, else 0."""
    settings = settings_of(GATEWAY, environment)
    if isinstance(settings, str):
        print(json.dumps({"error": settings}) if as_json else f"nidan models: {settings}")
        return 1
    listed = [entry for stage in (1, 2) for entry in chain(stage, settings, today)]
    lines = [line for stage in (1, 2) if (line := advice(stage, listed))]
    if as_json:
        print(json.dumps({"models": [asdict(entry) for entry in listed], "set": lines}))
    else:
        _print(listed, lines)
    return 1 if any(_allend_of(stage, listed) for stage in (1, 2)) else 0


def chain(stage: int, settings: Mapping[str, Any], today: date) -> Iterator[Listed]:
    """The models of one stage in order, as the gateway's settings have them."""
    provider = Provider(settings[f"cando_ai_stage{stage}_provider"])
    at = datetime.combine(today, datetime.min.time(), UTC)
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
    """The settings line that replaces what ends within 60 days by what its provider names; empty when nothing does."""
    mine = [entry for entry in listed if entry.stage == stage]
    if not any(_ends_soon(entry) for entry in mine):
        return ""
    names = [entry.successor or "" if _ends_soon(entry) else entry.model for entry in mine]
    first, *rest = dict.fromkeys(name for name in names if name) or [""]
    if not first:
        return ""
    prefix = f"CANDO_AI_STAGE{stage}"
    # An empty variable has its default; the same model again is no fallback.
    return f"{prefix}_MODEL={first} {prefix}_FALLBACK_MODELS={','.join(rest or [first])}"


def _ends_soon(entry: Listed) -> bool:
    return entry.days_left is not None and entry.days_left <= _SOON_DAYS


def _allend_of(stage: int, listed: Sequence[Listed]) -> bool:
    mine = [entry for entry in listed if entry.stage == stage]
    return bool(mine) and all(entry.days_left is not None and entry.days_left <= 0 for entry in mine)


def _print(listed: Sequence[Listed], lines: Sequence[str]) -> None:
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for title in ("Stage", "Model", "$ in", "cached", "out", "Ends", "Successor"):
        table.add_column(title, justify="right" if title in ("$ in", "cached", "out") else "left")
    for entry in listed:
        prices = [_price(usd) for usd in (entry.input_usd, entry.cached_usd, entry.output_usd)]
        place = f"{entry.stage}.{entry.place} {entry.provider}"
        table.add_row(place, clean(entry.model), *prices, _end(entry), entry.successor)
    console = Console(highlight=False)
    console.print(table)
    console.print(
        Text("Dollars a million tokens at list price; - is no known end. A model past its end is skipped.", style="dim")
    )
    if lines:
        console.print("\nWhat ends within 60 days, replaced as its provider names it:\n", style="yellow")
        for line in lines:
            print(f"  {line}")


def _price(usd: float | None) -> str:
    return "unpriced" if usd is None else f"{usd:.2f}"


def _end(entry: Listed) -> Text:
    if entry.ends is None or entry.days_left is None:
        return Text("-", style="dim")
    if entry.days_left <= 0:
        return Text(f"{entry.ends}, ended", style="bold red")
    style = "red" if entry.days_left < 7 else "yellow" if _ends_soon(entry) else ""
    return Text(f"{entry.ends}, {entry.days_left} days", style=style)
