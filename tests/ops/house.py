"""Services, Prometheus and Alertmanager as processes on loopback, and a webhook that keeps what it is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from nidan.services.ports import free_ports
from tests.ops.shipped import ALERTMANAGER, PROMETHEUS, RULES, TOOLS

LOOPBACK = "127.0.0.1"
START_SECONDS = 120.0


@dataclass
class Program:
    """A process, its output in a file; ended by its own id."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as sink:
            self.running = await asyncio.create_subprocess_exec(*self.command, env=self.env, stdout=sink, stderr=sink)

    async def end(self, number: int = signal.SIGTERM) -> None:
        if self.running is None or self.running.returncode is not None:
            return
        self.running.send_signal(number)
        try:
            await asyncio.wait_for(self.running.wait(), 15)
        except TimeoutError:
            self.running.kill()
            await self.running.wait()

    def last_lines(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


@dataclass
class Service:
    """One of ours: where it serves, and where its metrics are."""

    program: Program
    port: int
    metrics_port: int

    @property
    def target(self) -> str:
        return f"{LOOPBACK}:{self.metrics_port}"

    async def until_serving(self) -> None:
        """Its metrics are served once its gRPC port is bound."""
        await until_answers(f"http://{self.target}/metrics", self.program)

    async def metrics(self) -> str:
        return await text_of(f"http://{self.target}/metrics")


async def text_of(url: str, params: Mapping[str, str] | None = None) -> str:
    async with aiohttp.ClientSession() as session, session.get(url, params=params) as response:
        assert response.status == 200, await response.text()
        return await response.text()


async def json_of(url: str, params: Mapping[str, str] | None = None) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url, params=params) as response:
        return await response.json()


async def until_answers(url: str, program: Program) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            await text_of(url)
        except (aiohttp.ClientError, AssertionError):
            assert program.running is not None
            assert program.running.returncode is None, f"{program.name} ended:\n{program.last_lines()}"
            assert time.monotonic() < deadline, f"{program.name} does not answer:\n{program.last_lines()}"
            await asyncio.sleep(0.1)
        else:
            return


def service(module: str, prefix: str, folder: Path, env: Mapping[str, str], name: str = "") -> Service:
    """A service that is not started yet, on ports that are free now."""
    port, health, metrics = free_ports(3)
    told = {f"{prefix}_PORT": port, f"{prefix}_HEALTH_PORT": health, f"{prefix}_METRICS_PORT": metrics}
    whole = {**os.environ, **env, **{key: str(value) for key, value in told.items()}}
    name = name or module
    program = Program(name, (sys.executable, "-m", module), whole, folder / f"{name}.log")
    return Service(program, port, metrics)


# --- Prometheus and Alertmanager --------------------------------------------------------------------------------------


@dataclass
class Monitoring:
    """Both of them, running."""

    prometheus: str
    alertmanager: str

    async def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of a query. Fails when Prometheus refuses it, or warns."""
        params = {"query": expr, "start": f"{start}", "end": f"{end}", "step": f"{step}"}
        answer = await json_of(f"{self.prometheus}/api/v1/query_range", params)
        assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
        assert not answer.get("warnings"), (expr, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    async def value(self, expr: str) -> float:
        """The one value of a query now; 0 when it gives none."""
        answer = await json_of(f"{self.prometheus}/api/v1/query", {"query": expr})
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    async def firing(self) -> set[str]:
        """Names of the alerts that fire in Prometheus now."""
        answer = await json_of(f"{self.prometheus}/api/v1/alerts")
        return {one["labels"]["alertname"] for one in answer["data"]["alerts"] if one["state"] == "firing"}

    async def unhealthy_rules(self) -> list[str]:
        """Rules whose last evaluation failed."""
        answer = await json_of(f"{self.prometheus}/api/v1/rules")
        rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
        assert rules
        return [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]


def prometheus_config(targets: Mapping[str, list[str]], alertmanager: str) -> str:
    """The shipped configuration and rule files, at another pace and with the targets of this test."""
    config = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
    assert config["rule_files"] == ["rules/nidan.yml"]
    config["rule_files"] = [str(RULES)]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == set(targets)
    for name, told in targets.items():
        jobs[name]["static_configs"] = [{"targets": told}]
    return yaml.safe_dump(config)


def alertmanager_config(receivers: Mapping[str, Path]) -> str:
    """The shipped routes and inhibitions, without their patience, and with the receivers' addresses of this test."""
    config = yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "2s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        receiver["webhook_configs"][0]["url_file"] = str(receivers[receiver["name"]])
    return yaml.safe_dump(config)


@asynccontextmanager
async def monitoring(
    folder: Path, targets: Mapping[str, list[str]], receivers: Mapping[str, Path]
) -> AsyncIterator[Monitoring]:
    """Prometheus and Alertmanager inside the block."""
    assert (TOOLS / "prometheus").exists(), "`make ops-alerts` fetches it, and runs these tests"
    ports = free_ports(2)
    addresses = [f"{LOOPBACK}:{port}" for port in ports]
    files = [folder / "prometheus.yml", folder / "alertmanager.yml"]
    files[0].write_text(prometheus_config(targets, addresses[1]), encoding="utf-8")
    files[1].write_text(alertmanager_config(receivers), encoding="utf-8")
    commands = (
        ("prometheus", f"--config.file={files[0]}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        ("prometheus-alertmanager", f"--config.file={files[1]}", f"--storage.path={folder / 'alertmanager'}"),
    )
    programs = []
    for (name, *flags), address in zip(commands, addresses, strict=True):
        flags.append(f"--web.listen-address={address}")
        if name == "prometheus-alertmanager":
            flags.append("--cluster.listen-address=")  # else it gossips on every address of the machine
        programs.append(Program(name, (str(TOOLS / name), *flags), dict(os.environ), folder / f"{name}.log"))
    try:
        for program, address in zip(programs, addresses, strict=True):
            await program.start()
            await until_answers(f"http://{address}/-/ready", program)
        yield Monitoring(*(f"http://{address}" for address in addresses))
    finally:
        for program in programs:
            await program.end()


# --- who is told ------------------------------------------------------------------------------------------------------


@dataclass
class Webhooks:
    """The receivers: what each was told, in order."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def names(self, receiver: str, status: str) -> set[str]:
        """Names of the alerts that the receiver was told of with that status."""
        return {one["labels"]["alertname"] for who, one in self.told if who == receiver and one["status"] == status}

    def alerts(self, receiver: str) -> list[dict[str, Any]]:
        return [one for who, one in self.told if who == receiver]

    async def take(self, request: web.Request) -> web.Response:
        receiver = request.match_info["receiver"]
        payload = await request.json()
        assert payload["receiver"] == receiver
        self.told += [(receiver, alert) for alert in payload["alerts"]]
        return web.Response()


@asynccontextmanager
async def webhooks(folder: Path) -> AsyncIterator[Webhooks]:
    told = Webhooks(folder)
    app = web.Application()
    app.router.add_post("/{receiver}", told.take)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    address = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    for name in ("pager", "tickets", "watchdog"):
        told.files[name] = folder / f"{name}.url"
        told.files[name].write_text(f"{address}/{name}", encoding="utf-8")
    try:
        yield told
    finally:
        await runner.cleanup()
