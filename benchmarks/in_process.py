"""Serves the trio on free ports inside this process, for benchmarks that inspect ledger rows and tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import structlog

import content_service.__main__ as content_main
import enhancer_service.__main__ as enhancer_main
import gateway.service as gateway_main
from content_service.settings import ContentSettings
from enhancer_service.japanese.reading import Analyser
from enhancer_service.settings import EnhancerSettings
from gateway.attempts.ledger import MemoryLedger, Row
from gateway.settings import GatewaySettings
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.server import Ports, serving

CHAINS = {"stage1": ("gpt-6.1-sol", "gpt-4o", "gpt-6-luna"), "stage2": ("gpt-6-luna", "gpt-4o", "gpt-6.1-sol")}
"""Priced models without an end date, so that results do not depend on the day."""
_LISTENING = "0A"


class KeptLedger(MemoryLedger):
    """Also keeps the rows of finished lessons until someone takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._finished: dict[str, tuple[Row, ...]] = {}

    def forget(self, lesson_id: str) -> None:
        self._finished[lesson_id] = self.rows(lesson_id)
        super().forget(lesson_id)

    def take(self, lesson_id: str) -> tuple[Row, ...]:
        """The rows of a finished lesson; a second call gives none."""
        return self._finished.pop(lesson_id, ())

    @property
    def lessons_held(self) -> int:
        """Lessons in flight, and finished ones whose rows are not taken."""
        return len(self._rows) + len(self._finished)


@dataclass(frozen=True)
class InProcess:
    """The running trio."""

    stub: lesson_service_pb2_grpc.LessonServiceAsyncStub
    gateway: Ports
    stages: tuple[Ports, Ports]
    session: aiohttp.ClientSession

    async def metric(self, name: str, of: Ports | None = None) -> float:
        """The sum over all children of a metric; by default the gateway's."""
        async with self.session.get(f"http://127.0.0.1:{(of or self.gateway).metrics}/metrics") as response:
            text = await response.text()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def plain_process() -> None:
    """Clears this machine's settings and silences the services' logs."""
    for kind in (ContentSettings, EnhancerSettings, GatewaySettings):
        for name in kind.model_fields:
            os.environ.pop(name.upper(), None)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@asynccontextmanager
async def in_process(
    url: str, ledger: MemoryLedger, settings: Mapping[str, object], analyser: Analyser
) -> AsyncIterator[InProcess]:
    """The trio on `settings`, by the names of their fields; provider openai at `url`."""
    services = ("content", "enhancer", "gateway")
    ports = {f"{service}{kind}_port": 0 for service in services for kind in ("", "_health", "_metrics")}
    given: dict[str, Any] = {
        **ports,
        "openai_base_url": url,
        "openai_api_key": "benchmark",
        "cando_ai_stage1_model": CHAINS["stage1"][0],
        "cando_ai_stage1_fallback_models": ",".join(CHAINS["stage1"][1:]),
        "cando_ai_stage2_model": CHAINS["stage2"][0],
        "cando_ai_stage2_fallback_models": ",".join(CHAINS["stage2"][1:]),
        "catalogue_file": "/nonexistent/catalogue.jsonl",
        **settings,
    }
    async with (
        serving(await content_main.build(ContentSettings(**given))) as content,
        serving(await enhancer_main.build(EnhancerSettings(**given), analyser)) as enhancer,
    ):
        given |= {"content_address": f"127.0.0.1:{content.grpc}", "enhancer_address": f"127.0.0.1:{enhancer.grpc}"}
        async with (
            serving(await gateway_main.build(GatewaySettings(**given), ledger)) as gateway,
            grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc}") as channel,
            aiohttp.ClientSession() as session,
        ):
            stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
            yield InProcess(stub, gateway, (content, enhancer), session)


# --- leaks -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """The tasks and connections that this process holds open."""

    tasks: frozenset[asyncio.Task[Any]]
    connections: frozenset[str]
    """TCP connections, by inode; no listeners."""

    @classmethod
    def now(cls) -> Held:
        return cls(frozenset(asyncio.all_tasks()), frozenset(_connections()))

    async def left_over(self, seconds: float = 10.0) -> str:
        """What is still open beyond this after up to `seconds`; empty if nothing leaked."""
        tasks: set[asyncio.Task[Any]] = set()
        connections: set[str] = set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    now = Held.now()
                    tasks = set(now.tasks - self.tasks) - {asyncio.current_task()}
                    connections = set(now.connections - self.connections)
                    if not tasks and not connections:
                        return ""
                    await asyncio.sleep(0.05)
        names = sorted({str(task.get_coro()) for task in tasks})[:5]
        return f"{len(tasks)} tasks ({', '.join(names)}), {len(connections)} connections"


def _connections() -> set[str]:
    held = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            held.add(str(descriptor.readlink()))
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    sockets = {fields[9]: fields[3] for fields in map(str.split, lines)}
    return {inode for inode, state in sockets.items() if f"socket:[{inode}]" in held and state != _LISTENING}


def resident_bytes() -> int:
    """This process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
