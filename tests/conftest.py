"""Every test starts from an empty environment: no key, no setting of this machine reaches the code."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest

from tests.leaks import Opened
from tests.model_server import ModelServer, model_server

_OURS = ("CANDO_", "AI_", "OPENAI_", "OFFLINE_", "LESSON_", "STAGE", "CONTENT_", "ENHANCER_", "GATEWAY_", "NIDAN_",
         "TLS_", "OTEL_")  # fmt: skip

# What a shell without job control starts in the background ignores Ctrl-C, and so would every process started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_OURS) or name in ("USE_TWOSTAGE_GENERATION", "ROMAJI_STYLE", "BIND", "LOG_LEVEL"):
            monkeypatch.delenv(name)
    # Else the list that somebody imported on this machine would answer for the shipped catalogue.
    monkeypatch.setenv("CATALOGUE_FILE", "/nonexistent/catalogue.jsonl")


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    """A real model server that answers well unless a test says otherwise.

    After the test no task and no connection may be left, of the services that asked this server or of the server.
    """
    opened = Opened()
    async with model_server() as server:
        yield server
    await opened.given_back()
