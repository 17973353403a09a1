"""The shutdown dates of models, from their provider's own list (`shutdown_date` of GET /v1/models).

The list is fetched in the background, at first use and then twice a day. A provider that does not answer, or gives no
dates, changes nothing: models.toml holds the announced dates.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from servicekit.llm.capabilities import Provider
from servicekit.telemetry import logger

if TYPE_CHECKING:
    from servicekit.llm.client import ModelClient

EVERY_SECONDS = 12 * 3600.0
_ANSWER_SECONDS = 10.0


class ShutdownDates:
    """The dates that one client's provider lists. `clock` gives monotonic seconds."""

    def __init__(self, client: ModelClient | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client if client and client.provider is not Provider.OFFLINE else None
        self._clock = clock
        self._fetched_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._known: dict[str, date] = {}

    def known(self) -> Mapping[str, date]:
        """The dates known now, by model. Starts a new fetch when one is due, without waiting for it."""
        now = self._clock()
        due = self._fetched_at is None or now - self._fetched_at >= EVERY_SECONDS
        if self._client is not None and due and (self._task is None or self._task.done()):
            self._fetched_at = now
            self._task = asyncio.create_task(self._fetch(self._client))
        return dict(self._known)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _fetch(self, client: ModelClient) -> None:
        try:
            listed = await client.models(_ANSWER_SECONDS)
        except ConnectionError as error:
            logger().debug("models_not_listed", provider=client.provider.value, error=str(error))
            return
        self._known |= {name: on for name, raw in listed.items() if (on := day_of(raw)) is not None}


def day_of(raw: Any) -> date | None:
    """The day of an ISO date, an ISO time or Unix seconds; None for anything else."""
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        try:
            return datetime.fromtimestamp(raw, UTC).date()
        except (OverflowError, ValueError, OSError):
            return None
    try:
        return datetime.fromisoformat(raw).date() if isinstance(raw, str) else None
    except ValueError:
        return None
