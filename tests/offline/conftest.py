"""The offline model as its callers meet it: a server on a port of its own, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from aiohttp import ClientSession, web

from offline_model.bank import Bank, load_bank
from offline_model.server import make_app


@pytest.fixture(scope="session")
def bank() -> Bank:
    return load_bank()


@pytest.fixture
async def model(bank: Bank) -> AsyncIterator[ClientSession]:
    """A client of a server in this process."""
    runner = web.AppRunner(make_app(bank))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Started:
    process: subprocess.Popen[str]
    port: int


@contextlib.contextmanager
def started(**environment: str) -> Iterator[Started]:
    """`python -m offline_model` on a port the system chose; killed at the end if it still runs."""
    command = [sys.executable, "-W", "error", "-m", "offline_model"]
    variables = os.environ | {"OFFLINE_MODEL_PORT": "0"} | environment
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            event = json.loads(process.stdout.readline())
            assert event["event"] == "offline_model_started"
            yield Started(process, event["port"])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def process() -> Iterator[Started]:
    with started() as running:
        yield running
