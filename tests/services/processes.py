"""Services as processes: started, killed, started again on the port they had, their log read line by line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from nidan.services.processes import leashed
from tests.trio import FREE_PORTS, port_of_its_own

OFFLINE = {"CANDO_AI_STAGE1_PROVIDER": "offline", "CANDO_AI_STAGE2_PROVIDER": "offline", "OFFLINE_MODEL_PORT": "0"}
REQUEST = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
MODULES = ("content_service", "enhancer_service", "gateway")


@dataclass
class Process:
    """A service in a process of its own, and the log lines it has written."""

    module: str
    running: asyncio.subprocess.Process
    port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)

    async def until_started(self) -> None:
        async with asyncio.timeout(20):
            while not self.port:
                assert await self._read_line(), f"{self.module} ended before it had started"

    async def until_logged(self, event: str, **fields: str) -> None:
        """Reads the log until a line has that event and those fields."""
        wanted = {"event": event} | fields
        async with asyncio.timeout(20):
            while not any(wanted.items() <= line.items() for line in self.log):
                assert await self._read_line(), f"{self.module} ended before it logged {wanted}"

    async def _read_line(self) -> bool:
        assert self.running.stdout is not None
        line = await self.running.stdout.readline()
        if not line:
            return False
        self.log.append(json.loads(line))
        self.port = self.log[-1].get("port", self.port)
        return True

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal, reads the log to its end, and gives the exit code."""
        if self.running.returncode is None:
            self.running.send_signal(number)
        async with asyncio.timeout(20):
            while await self._read_line():
                pass
            return await self.running.wait()

    @property
    def ended(self) -> bool:
        return self.running.returncode is not None

    @property
    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.running.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


async def start(module: str, *wrapper: str, **env: str) -> Process:
    # Of a run that is killed nothing may stay behind.
    running = await asyncio.create_subprocess_exec(
        *leashed(*wrapper, sys.executable, "-m", module),
        env=os.environ | FREE_PORTS | OFFLINE | env,
        stdout=asyncio.subprocess.PIPE,
    )
    process = Process(module, running)
    await process.until_started()
    return process


@dataclass
class House:
    """The three services as processes. `environment` leads to their model server."""

    environment: dict[str, str]
    processes: dict[str, Process] = field(default_factory=dict)

    async def start(self, module: str) -> None:
        """Starts it, on the port it had if it ran before."""
        port = self.processes[module].port if module in self.processes else port_of_its_own()
        env = dict(self.environment)
        if module == "gateway":
            env["CONTENT_ADDRESS"] = f"127.0.0.1:{self.processes['content_service'].port}"
            env["ENHANCER_ADDRESS"] = f"127.0.0.1:{self.processes['enhancer_service'].port}"
        name = module.removesuffix("_service").upper()
        self.processes[module] = await start(module, **env, **{f"{name}_PORT": str(port)})

    async def kill(self, module: str) -> None:
        assert await self.processes[module].end(signal.SIGKILL) == -signal.SIGKILL

    async def make_whole(self) -> None:
        """Starts what does not run, and then a new gateway, which has met no dead stage yet."""
        dead = [name for name in MODULES if name not in self.processes or self.processes[name].ended]
        await asyncio.gather(*(self.start(name) for name in dead if name != "gateway"))
        if not dead:
            return
        if "gateway" not in dead:
            await self.processes["gateway"].end()
        await self.start("gateway")

    async def end(self) -> dict[str, int]:
        """Ends what runs by SIGTERM, the last that was started first; gives the exit codes."""
        return {name: await process.end() for name, process in reversed(self.processes.items())}


@asynccontextmanager
async def offline_house() -> AsyncIterator[House]:
    """All three before the offline model, itself a process; whatever still runs at the end is ended."""
    model = await start("offline_model")
    house = House({"OFFLINE_MODEL_URL": f"http://127.0.0.1:{model.port}/v1"}, {"offline_model": model})
    try:
        await house.make_whole()
        yield house
    finally:
        await house.end()


@asynccontextmanager
async def stub(gateway: Process) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield lesson_service_pb2_grpc.LessonServiceStub(channel)
