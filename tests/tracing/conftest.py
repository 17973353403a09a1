"""The collector that the tests' services export to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.tracing.collector import Collector, collector


@pytest.fixture
async def taken(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that receives the spans of every service that the test starts."""
    async with collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        yield running
