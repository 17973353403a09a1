"""`nidan up`, as a process, on ports of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from content_service.settings import ContentSettings
from enhancer_service.settings import EnhancerSettings
from gateway.settings import GatewaySettings
from nidan.client import is_serving
from nidan.errors import MissingKeyError, StartError
from nidan.services.plan import Plan, Providers, private_plan, public_plan
from nidan.services.ports import free_ports
from nidan.services.service import CONTENT, ENHANCER, GATEWAY, OFFLINE_MODEL
from nidan.services.supervisor import Trio, running
from offline_model.settings import DEFAULT_PORT
from tests.nidan.command import environment, nidan, services_of


def _ports() -> dict[str, str]:
    names = [name for service in (GATEWAY, CONTENT, ENHANCER, OFFLINE_MODEL) for name in service.ports]
    return {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}


@contextlib.contextmanager
def _up(logs: Path, ports: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`nidan up --offline`, serving."""
    command = [sys.executable, "-W", "error", "-m", "nidan", "up", "--offline", "--log-dir", str(logs)]
    with subprocess.Popen(
        command, env=environment(**ports), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            told = ""
            while "Ctrl-C stops them" not in told:
                line = process.stdout.readline()
                assert line, process.stderr and process.stderr.read()
                told += line
            assert f"--address 127.0.0.1:{ports['GATEWAY_PORT']}" in told
            assert not [port for port in ports.values() if f"127.0.0.1:{port}" not in told]  # nothing is cut at 80
            yield process
        finally:
            process.kill()


def _pid_of(parent: int, module: str) -> int:
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in services_of(parent)}
    return next(pid for pid, words in lines.items() if module in words)


def test_up_serves_on_the_ports_it_tells_and_sigterm_leaves_no_process_behind(tmp_path: Path) -> None:
    ports = _ports()
    with _up(tmp_path, ports) as process:
        services = services_of(process.pid)
        assert len(services) == 4
        for service in (GATEWAY, CONTENT, ENHANCER):
            assert is_serving(f"127.0.0.1:{ports[f'{service.prefix}_PORT']}", service.grpc_name)
            assert is_serving(f"127.0.0.1:{ports[f'{service.prefix}_HEALTH_PORT']}", service.grpc_name)
            metrics = http.client.HTTPConnection("127.0.0.1", int(ports[f"{service.prefix}_METRICS_PORT"]), timeout=5)
            metrics.request("GET", "/metrics")
            assert metrics.getresponse().status == http.client.OK
            metrics.close()
        second = nidan("up", "--offline", "--log-dir", str(tmp_path), **ports)
        assert second.returncode == 1
        assert "is taken" in second.stderr
        process.terminate()
        _, messages = process.communicate(timeout=20)
    assert process.returncode == 0, messages
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]
    assert {path.name for path in tmp_path.iterdir()} >= {"gateway.log", "offline_model.log"}


@pytest.mark.slow
def test_up_says_which_service_died_with_its_last_lines_and_stops_the_others(tmp_path: Path) -> None:
    with _up(tmp_path, _ports()) as process:
        services = services_of(process.pid)
        os.kill(_pid_of(process.pid, "enhancer_service"), signal.SIGKILL)
        _, messages = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "enhancer_service was killed by SIGKILL while it served" in messages
    assert '"event": "server_started"' in messages
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]


def _only(service: str, **variables: str) -> Plan:
    """The plan of a trio without the other services."""
    whole = private_plan(environment(**variables), Providers("offline", "offline"))
    return Plan(tuple(one for one in whole.services if one.name == service), whole.environment)


def test_a_service_that_dies_is_named_with_its_last_lines(tmp_path: Path) -> None:
    with running(Trio(_only("offline_model"), tmp_path, print)) as trio:
        trio.check()
        trio._running[0].process.kill()
        trio._running[0].process.wait()
        with pytest.raises(StartError, match="offline_model was killed by SIGKILL while it served") as died:
            trio.check()
    assert '"event": "offline_model_started"' in str(died.value)


def test_a_service_that_refuses_its_settings_is_told_with_its_own_words(tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match="gateway ended with status 2 before it served") as refused,
        running(Trio(_only("gateway", LESSON_DEADLINE_SECONDS="5"), tmp_path, print)),
    ):
        pass
    assert "LESSON_DEADLINE_SECONDS" in str(refused.value)


@pytest.mark.slow
def test_up_ends_when_a_service_refuses_its_settings(tmp_path: Path) -> None:
    done = nidan("up", "--offline", "--log-dir", str(tmp_path), **_ports(), LESSON_DEADLINE_SECONDS="5")
    assert done.returncode == 1
    assert "gateway ended with status 2 before it served" in done.stderr
    assert "LESSON_DEADLINE_SECONDS" in done.stderr


def test_up_without_a_key_names_both_ways_on() -> None:
    done = nidan("up")
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert "--offline" in done.stderr


def test_a_service_that_does_not_stop_is_killed_and_that_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    with running(Trio(_only("offline_model"), tmp_path, said.append, grace_seconds=0.5)) as trio:
        frozen = trio._running[0].process
        frozen.send_signal(signal.SIGSTOP)
        started = time.monotonic()
    assert said == ["offline_model did not stop within 0.5 s: killed"]
    assert frozen.returncode == -signal.SIGKILL
    assert time.monotonic() - started < 5


def test_the_default_ports_are_the_services_own() -> None:
    settings = (
        (GATEWAY, GatewaySettings.model_fields),
        (CONTENT, ContentSettings.model_fields),
        (ENHANCER, EnhancerSettings.model_fields),
    )
    for service, fields in settings:
        assert {name: fields[name.lower()].default for name in service.ports} == service.ports
    assert OFFLINE_MODEL.port == DEFAULT_PORT


def test_offline_services_are_not_given_the_key_and_never_leave_this_machine() -> None:
    given = environment(OPENAI_API_KEY="sk-secret", BIND="0.0.0.0", CANDO_AI_STAGE1_PROVIDER="openai")
    plan = private_plan(given, Providers.chosen(given, offline=True))
    assert "OPENAI_API_KEY" not in plan.environment
    assert plan.environment["BIND"] == "127.0.0.1"
    assert plan.environment["CANDO_AI_STAGE1_PROVIDER"] == "offline"
    assert "127.0.0.1" in plan.environment["NO_PROXY"]
    assert len({service.port for service in plan.services}) == 4


def test_the_offline_model_runs_only_where_a_stage_asks_for_it() -> None:
    given = {"OPENAI_API_KEY": "sk-secret", "CANDO_AI_STAGE2_PROVIDER": "none"}
    plan = private_plan(given, Providers.chosen(given, offline=False))
    assert [service.name for service in plan.services] == ["content_service", "enhancer_service", "gateway"]
    assert plan.environment["OPENAI_API_KEY"] == "sk-secret"
    with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
        Providers.chosen({"CANDO_AI_STAGE1_PROVIDER": "offline"}, offline=False)


def test_a_port_variable_that_holds_no_port_is_named() -> None:
    with pytest.raises(StartError, match="CONTENT_HEALTH_PORT must be a port"):
        public_plan({"CONTENT_HEALTH_PORT": "http"}, Providers("offline", "offline"))
