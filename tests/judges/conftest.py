"""llmock, somebody else's model server that breaks on purpose, as a process of its own environment (.venv-judges)."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.judges.judge import Judge
from tests.trio import port_of_its_own

LLMOCK = Path(__file__).resolve().parents[2] / ".venv-judges" / "bin" / "llmock"
START_SECONDS = 60.0


@pytest.fixture(scope="session")
def llmock() -> Iterator[str]:
    """The address of a running llmock."""
    assert LLMOCK.exists(), "`make test-judges` sets up .venv-judges, and runs these tests"
    address = f"http://127.0.0.1:{(port := port_of_its_own())}"
    command = [str(LLMOCK), "serve", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _until_healthy(address, process)
            yield address
        finally:
            process.terminate()


def _until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):  # noqa: S310 - our own loopback address
                return
        except urllib.error.URLError:
            assert process.poll() is None, "llmock ended before it served"
            assert time.monotonic() < deadline, f"llmock does not serve after {START_SECONDS:g} s"
            time.sleep(0.05)


@pytest.fixture
async def judge(
    llmock: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Judge]:
    """llmock with nothing scripted and nothing seen; its last verdict is printed at the end."""
    judge = Judge(llmock)
    await judge.reset()
    yield judge
    report = await judge.report()
    with capsys.disabled():
        print(f"\n  {request.node.name}: {report}", end="")
