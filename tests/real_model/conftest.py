"""llama.cpp's own server with a small language model, as a process of its own environment (.venv-real-model)."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parents[1] / ".venv-real-model" / "bin" / "python"
START_SECONDS = 120.0


@dataclass(frozen=True)
class Llama:
    """A running server with one slot: it answers one call at a time."""

    address: str

    @property
    def url(self) -> str:
        """What OPENAI_BASE_URL is to be."""
        return f"{self.address}/v1"

    async def slot(self) -> dict[str, Any]:
        """What it does now, as llama.cpp tells it."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.address}/slots") as response:
            (slot,) = await response.json()
            return dict(slot)


@pytest.fixture(scope="session")
def llama() -> Iterator[Llama]:
    assert PYTHON.exists(), "`make test-real-model` sets up .venv-real-model, and runs these tests"
    command = [str(PYTHON), str(HERE / "serve.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            address = process.stdout.readline().decode().strip()
            assert address, "the model server ended before it served"
            _until_loaded(address)
            yield Llama(address)
        finally:
            process.terminate()


def _until_loaded(address: str) -> None:
    """Until then it answers 503."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=START_SECONDS):  # noqa: S310 - loopback
                return
        except urllib.error.HTTPError:
            assert time.monotonic() < deadline, f"the model is not loaded after {START_SECONDS:g} s"
            time.sleep(0.1)
