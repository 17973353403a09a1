"""docker-compose.yml, really brought up: Compose on Podman's socket, the trio and the offline model in containers.

The file is run as it is shipped, with .env.example, and an override that puts every container on the host's network,
with ports of its own on loopback: no network is made on this machine. So bridge network, names by DNS and published
ports are not tested here; everything else is.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from lesson.v1 import lesson_pb2, lesson_service_pb2_grpc
from lesson.v1 import lesson_service_pb2 as pb
from tests.deploy.shipped import COMPOSE, ENV_EXAMPLE, MODULES, ROOT, Compose, seconds
from tests.ops.engine import built, inspected, podman, run

pytestmark = pytest.mark.ops

VARIABLES = {
    "OFFLINE_MODEL_CHUNK_DELAY_MS": "3",  # a lesson takes several seconds: there is a middle to stop it in
    "STAGE_RESTART_SECONDS": "60",  # on a busy machine an enhancer needs more than the default 5 to be back
}
"""Laid over .env.example."""
PORTS = {
    "gateway": ("GATEWAY_PORT", "GATEWAY_HEALTH_PORT", "GATEWAY_METRICS_PORT"),
    "content": ("CONTENT_PORT", "CONTENT_HEALTH_PORT", "CONTENT_METRICS_PORT"),
    "enhancer": ("ENHANCER_PORT", "ENHANCER_HEALTH_PORT", "ENHANCER_METRICS_PORT"),
    "offline-model": ("OFFLINE_MODEL_PORT",),
}
SHIPPED = Compose.of(COMPOSE.read_text(encoding="utf-8"))
UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def free_ports() -> dict[str, int]:
    """Every port variable of the services, with a port that is free now."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in (name for names in PORTS.values() for name in names):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", 0))
            found[name] = taken.getsockname()[1]
        return found


def override(ports: dict[str, int]) -> str:
    """The compose file that is laid over the shipped one: the host's network, loopback, ports of its own, no build.

    `!reset` is ignored within an anchor, so it is written out for each service. Podman's socket takes no default limits
    from its settings, so they are told here.
    """
    addresses: dict[str, dict[str, str]] = {
        "gateway": {
            "CONTENT_ADDRESS": f"content:{ports['CONTENT_PORT']}",
            "ENHANCER_ADDRESS": f"enhancer:{ports['ENHANCER_PORT']}",
        },
        "offline-model": {},
    }
    url = {"OFFLINE_MODEL_URL": f"http://offline-model:{ports['OFFLINE_MODEL_PORT']}/v1"}
    lines = ["services:"]
    for service, names in PORTS.items():
        environment = {"BIND": "127.0.0.1", **{name: str(ports[name]) for name in names}}
        environment |= addresses.get(service, url)
        asked = next((name for name in names if "HEALTH" in name), names[0])
        check = [*SHIPPED.services[service]["healthcheck"]["test"][:-1], str(ports[asked])]
        lines += [
            f"  {service}:",
            "    build: !reset null",
            "    image: localhost/nidan:ops",
            "    network_mode: host",
            "    networks: !reset []",
            "    ports: !reset []",
            f"    extra_hosts: {json.dumps([f'{peer}:127.0.0.1' for peer in PORTS])}",
            "    ulimits: {nofile: {soft: 1024, hard: 4096}, nproc: {soft: 4096, hard: 8192}}",
            f"    environment: {json.dumps(environment)}",
            f"    healthcheck: {{test: {json.dumps(check)}}}",
        ]
    # Compose makes a network and volumes also for services that it is not asked to start.
    lines += [f"  {service}: !reset null" for service in SHIPPED.others]
    return "\n".join([*lines, "volumes: !reset {}"]) + "\n"


@dataclass
class Stack:
    """The containers of one project, and how to talk about them."""

    project: str
    ports: dict[str, int]
    command: tuple[str, ...]
    environment: dict[str, str]
    up_seconds: float = 0.0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['GATEWAY_PORT']}"

    def compose(self, *arguments: str, timeout: float = 400) -> str:
        return run(*self.command, *arguments, env=self.environment, cwd=ROOT, timeout=timeout).stdout

    def container(self, service: str) -> dict[str, Any]:
        return inspected("container", f"{self.project}-{service}-1")

    def up(self) -> None:
        began = time.monotonic()
        self.compose("up", "-d", "--no-build", "--wait", "--wait-timeout", "180", *PORTS)
        self.up_seconds = self.up_seconds or time.monotonic() - began

    def memory(self, service: str) -> int:
        """Bytes in use, as the engine counts them."""
        told = podman("stats", "--no-stream", "--format", "{{.MemUsage}}", f"{self.project}-{service}-1").stdout
        number, unit = re.match(r"([\d.]+)(\w+) /", told).groups()  # type: ignore[union-attr]
        return int(float(number) * UNITS[unit])

    def ended(self, service: str) -> tuple[str, int]:
        state = self.container(service)["State"]
        return state["Status"], state["ExitCode"]


@contextlib.contextmanager
def served(socket_path: Path, log: Path) -> Iterator[None]:
    """Podman's Docker-compatible socket; and its health checks, which nobody asks where there is no systemd."""
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.5):
            for container in podman("ps", "-q", check=False).stdout.split():
                podman("healthcheck", "run", container, check=False)

    with log.open("w", encoding="utf-8") as output:
        command = ("podman", "system", "service", "--time=0", f"unix://{socket_path}")
        service = subprocess.Popen(command, cwd=socket_path.parent, stdout=output, stderr=output)
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(100):
                if socket_path.exists() or service.poll() is not None:
                    break
                time.sleep(0.1)
            assert socket_path.exists(), f"Podman serves no socket: {log.read_text(encoding='utf-8')}"
            yield
        finally:
            done.set()
            asking.join()
            service.terminate()
            service.wait()


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything up and healthy; taken down after the last test, with its logs when one failed."""
    built()
    folder = tmp_path_factory.mktemp("compose")
    ports = free_ports()
    (folder / "override.yml").write_text(override(ports), encoding="utf-8")
    slow = "".join(f"{name}={value}\n" for name, value in VARIABLES.items())
    (folder / "slow.env").write_text(slow, encoding="utf-8")
    project = f"nidan-ops-{os.getpid()}"
    compose = run("tools/compose.sh", "path", cwd=ROOT).stdout.splitlines()
    # A socket's path may have no more than 108 characters.
    with tempfile.TemporaryDirectory(prefix="nidan-ops-") as short, served(Path(short) / "p", folder / "podman.log"):
        files = ("-f", str(COMPOSE), "-f", str(folder / "override.yml"))
        variables = ("--env-file", str(ENV_EXAMPLE), "--env-file", str(folder / "slow.env"))
        stack = Stack(
            project,
            ports,
            (*compose, "--project-directory", str(ROOT), "-p", project, *files, *variables),
            {"PATH": os.environ["PATH"], "HOME": str(folder), "DOCKER_HOST": f"unix://{short}/p"},
        )
        try:
            stack.up()
            yield stack
        finally:
            if request.session.testsfailed or not stack.up_seconds:
                print(stack.compose("logs", "--no-color", "--tail", "40"))
            stack.compose("down", "-t", "5", "--volumes")


# --- callers --------------------------------------------------------------------------------------------------


def lesson(stack: Stack, can_do_id: str = "JF:349") -> Any:
    """A whole lesson, from the gateway's container."""
    with grpc.insecure_channel(stack.address) as channel:
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        return stub.GenerateLesson(
            pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id=can_do_id)), timeout=120
        ).lesson


class Watched:
    """A lesson that streams to a caller in a thread; `begun` is set with its first section."""

    def __init__(self, stack: Stack) -> None:
        self.begun = threading.Event()
        self.events: list[str] = []
        self.lesson: Any = None
        self.error: grpc.RpcError | None = None
        self.ended_at = 0.0
        self._stack = stack
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        try:
            with grpc.insecure_channel(self._stack.address) as channel:
                stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
                request = pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="JF:349"))
                for event in stub.StreamLesson(request, timeout=240):
                    self._read(event)
        except grpc.RpcError as error:
            self.error = error
        finally:
            self.ended_at = time.monotonic()
            self.begun.set()

    def _read(self, event: Any) -> None:
        kind = event.WhichOneof("event")
        self.events.append(kind)
        if kind == "section_ready":
            self.begun.set()
        if kind == "completed":
            self.lesson = event.completed.lesson

    def whole(self) -> Any:
        """The lesson, once it is there; fails with the caller's error when it was lost."""
        self._thread.join(timeout=250)
        assert self.error is None, self.error
        assert self.lesson is not None, self.events
        assert self.lesson.outcome == lesson_pb2.OUTCOME_COMPLETE
        return self.lesson


def in_mid_lesson(stack: Stack) -> Watched:
    stack.up()  # what a test before this one left stopped is not this one's failure
    watched = Watched(stack)
    assert watched.begun.wait(60)
    assert watched.ended_at == 0, f"the lesson ended before it could be stopped: {watched.error or watched.events}"
    return watched


def stopped(stack: Stack, *services: str) -> float:
    """Seconds that `docker compose stop` took."""
    began = time.monotonic()
    stack.compose("stop", *services)
    return time.monotonic() - began


# --- what holds, in the order of a deployment's life ----------------------------------------------------------


def test_every_container_starts_healthy_as_hardened_and_as_limited_as_the_file_says(stack: Stack) -> None:
    for service, module in MODULES.items():
        told = stack.container(service)
        limit = SHIPPED.services[service]["deploy"]["resources"]["limits"]["memory"]
        assert told["State"]["Health"]["Status"] == "healthy"
        assert told["Config"]["Cmd"] == ["python", "-m", module]
        assert told["Config"]["User"] == "10001:10001"
        assert told["HostConfig"]["ReadonlyRootfs"] is True
        assert told["HostConfig"]["Memory"] == int(limit.removesuffix("M")) * 1024**2
        assert told["Config"]["StopTimeout"] == seconds(SHIPPED.services[service]["stop_grace_period"])
        status = podman("exec", f"{stack.project}-{service}-1", "cat", "/proc/1/status").stdout
        told_by_the_kernel = re.findall(r"^(?:CapBnd|NoNewPrivs|Uid):\s+(\S+)", status, flags=re.MULTILINE)
        assert told_by_the_kernel == ["10001", "0" * 16, "1"]
    print(f"\nup and healthy in {stack.up_seconds:.1f} s")


def test_a_lesson_crosses_the_containers(stack: Stack) -> None:
    """Asked for as the README says: by the command line, of the gateway that runs."""
    environment = {"PATH": os.environ["PATH"], "HOME": stack.environment["HOME"], "NIDAN_ADDRESS": stack.address}
    command = (sys.executable, "-m", "nidan", "generate", "JF:349", "--json")
    told = json.loads(run(*command, env=environment, cwd=ROOT).stdout)
    assert told["metadata"]["outcome"] == "COMPLETE"
    logs = {service: podman("logs", f"{stack.project}-{service}-1").stdout for service in MODULES}
    assert "twostage_generation_completed" in logs["gateway"]
    assert all("server_started" in logs[service] for service in ("gateway", "content", "enhancer"))


def test_lessons_leave_every_service_well_under_its_limit_and_none_is_killed(stack: Stack) -> None:
    with concurrent.futures.ThreadPoolExecutor(8) as callers:
        ids = ["JF:349", "nidan:travel-a2-1", "nidan:work-b1-1", "nidan:food-b1-1"] * 4
        outcomes = [told.outcome for told in callers.map(lambda name: lesson(stack, name), ids)]
    assert outcomes == [lesson_pb2.OUTCOME_COMPLETE] * len(ids)
    for service in MODULES:
        used, state = stack.memory(service), stack.container(service)
        limit = state["HostConfig"]["Memory"]
        print(f"\n{service}: {used / 1e6:.0f} MB of {limit / 1e6:.0f} MB after {len(ids)} lessons, eight at once")
        assert used < 0.6 * limit
        assert (state["State"]["OOMKilled"], state["RestartCount"]) == (False, 0)


def test_what_takes_more_than_the_limit_is_killed_and_the_service_lives(stack: Stack) -> None:
    code = "taken = [b'x' * 1_000_000 for _ in range(700)]; print(len(taken))"
    done = podman("exec", f"{stack.project}-gateway-1", "python", "-c", code, check=False)
    assert done.returncode == 137, done
    assert lesson(stack).outcome == lesson_pb2.OUTCOME_COMPLETE
    assert stack.container("gateway")["RestartCount"] == 0


@pytest.mark.parametrize("service", ["content", "enhancer"])
def test_a_stage_restarted_in_mid_lesson_ends_its_calls_first(stack: Stack, service: str) -> None:
    watched = in_mid_lesson(stack)
    began = time.monotonic()
    grace = seconds(SHIPPED.services[service]["stop_grace_period"])
    # Told, because Podman's socket takes a restart without it for one that may kill at once.
    stack.compose("restart", "--no-deps", "--timeout", f"{grace:.0f}", service)
    took = time.monotonic() - began
    assert watched.whole()
    stack.up()  # waits for its health
    told = podman("logs", f"{stack.project}-{service}-1").stdout
    events = re.findall(r'"event": "(server_(?:started|stopping|stopped))"', told)
    assert events == ["server_started", "server_stopping", "server_stopped", "server_started"]
    assert took < grace
    print(f"\n{service} restarted in {took:.1f} s")


def test_a_stop_of_everything_in_mid_lesson_loses_nothing(stack: Stack) -> None:
    """The gateway is stopped first, ends the lesson with the stages that still run, and then it is their turn."""
    watched = in_mid_lesson(stack)
    began = time.monotonic()
    took = stopped(stack)
    assert watched.whole()
    assert {service: stack.ended(service) for service in MODULES} == dict.fromkeys(MODULES, ("exited", 0))
    assert 0.5 < watched.ended_at - began < took, "the lesson ended after the signal and before the last container"
    assert took < seconds(SHIPPED.services["gateway"]["stop_grace_period"])
    print(
        f"\nthe lesson was whole {watched.ended_at - began:.1f} s after the signal, all had stopped after {took:.1f} s"
    )


def test_who_comes_after_the_stop_is_refused_at_once(stack: Stack) -> None:
    with pytest.raises(grpc.RpcError) as told:
        lesson(stack)
    assert told.value.code() is grpc.StatusCode.UNAVAILABLE
