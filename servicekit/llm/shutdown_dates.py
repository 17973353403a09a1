"""The end dates of models as their provider's own list tells them (`shutdown_date` of GET /v1/models).

Asked for in the background, at first use and twice a day; a provider that does not answer, or says nothing of ends, is
no reason for anything: models.toml has the dates that are known.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from servicekit.llm.capabilities import Provider
from servicekit.llm.client import ModelClient
from servicekit.telemetry import logger

EVERY_SECONDS = 12 * 3600.0
_ANSWER_SECONDS = 10.0


class ShutdownDates:
    """What one client's provider lists. `clock` gives monotonic seconds."""

    def __init__(self, client: ModelClient | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client if client and client.provider is not Provider.OFFLINE else None
        self._clock = clock
        self._asked_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._known: dict[str, date] = {}

    def known(self) -> Mapping[str, date]:
        """What is known now, by model; asks anew when it is time, without waiting for it."""
        now = self._clock()
        due = self._asked_at is None or now - self._asked_at >= EVERY_SECONDS
        if self._client is not None and due and (self._task is None or self._task.done()):
            self._asked_at = now
            self._task = asyncio.create_task(self._ask(self._client))
        return dict(self._known)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, client: ModelClient) -> None:
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
