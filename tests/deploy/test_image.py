"""The Dockerfile and what reaches its build; the health checks of the containers are run for real."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from aiohttp.test_utils import TestServer
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.settings import GatewaySettings
from offline_model.bank import load_bank
from offline_model.server import make_app
from tests.deploy.shipped import COMPOSE, ROOT, Compose, allowed_into_the_build, dockerfile, health_check, packages
from tests.deploy.shipped import pyproject as project

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def rests(instruction: str) -> list[str]:
    return [rest for word, rest in dockerfile() if word == instruction]


# --- the health checks ----------------------------------------------------------------------------------------


def asked(command: list[str], **variables: str) -> int:
    """The exit code of a health check, run by this interpreter as the image runs it by its own."""
    assert command[0] == "python"
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()} | variables
    return subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False).returncode


def health_check_of(port: int) -> list[str]:
    """The image's health check, for another port."""
    return [*health_check()[1][:-1], str(port)]


@pytest.fixture
def served() -> Iterator[tuple[int, health.HealthServicer]]:
    """A health service on a free port, and the servicer to change its mind."""
    servicer = health.HealthServicer()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port, servicer
    server.stop(None).wait()


def test_the_health_check_goes_past_a_proxy(served: tuple[int, health.HealthServicer]) -> None:
    port, servicer = served
    servicer.set("", SERVING)
    assert asked(health_check_of(port), http_proxy="http://127.0.0.1:9") == 0


def test_the_health_check_passes_only_while_the_service_is_serving(served: tuple[int, health.HealthServicer]) -> None:
    port, servicer = served
    servicer.set("", SERVING)
    assert asked(health_check_of(port)) == 0
    servicer.set("", NOT_SERVING)
    assert asked(health_check_of(port)) == 1


def test_the_health_check_fails_where_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        assert asked(health_check_of(taken.getsockname()[1])) == 1


async def test_the_offline_models_health_check_asks_its_healthz() -> None:
    services = Compose.of(COMPOSE.read_text(encoding="utf-8")).services
    kind, *command = services["offline-model"]["healthcheck"]["test"]
    assert kind == "CMD"

    def check(port: int) -> int:
        return asked([*command[:-1], str(port)], http_proxy="http://127.0.0.1:9")

    async with TestServer(make_app(load_bank())) as server:
        assert server.port is not None
        assert await asyncio.to_thread(check, server.port) == 0
        port = server.port
    assert await asyncio.to_thread(check, port) == 1


# --- the Dockerfile -------------------------------------------------------------------------------------------


def test_every_stage_is_built_on_the_one_base_that_an_argument_names() -> None:
    assert [rest.split()[0] for rest in rests("FROM")] == ["${PYTHON_IMAGE}"] * 2
    assert "PYTHON_IMAGE=python:3.13-slim-trixie" in rests("ARG")


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", rests("USER")[-1])


def test_the_process_is_started_without_a_shell() -> None:
    assert [json.loads(rest) for rest in rests("CMD")] == [["python", "-m", "gateway"]]
    assert rests("ENTRYPOINT") == []


def test_the_image_says_the_version_that_the_project_has() -> None:
    assert f"VERSION={project()['project']['version']}" in rests("ARG")


def test_the_image_asks_by_default_the_health_port_of_its_default_process() -> None:
    assert health_check()[1][-1] == str(GatewaySettings.model_fields["gateway_health_port"].default)


def test_nothing_is_downloaded_that_has_no_hash_in_a_lock_file() -> None:
    commands = [command for rest in rests("RUN") for command in rest.split("&&")]
    installs = [command for command in commands if re.search(r"pip\S* .*\binstall\b", command)]
    assert len(installs) == 3
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)
    assert all("--no-build-isolation" in command for command in commands if "pip wheel" in command)
    assert not re.search(r"\b(apt-get|curl|wget|git)\b", " ".join(commands))
    assert rests("ADD") == []


def test_the_build_backend_is_taken_from_the_lock_with_its_hashes() -> None:
    (program,) = re.findall(r"awk '([^']+)' requirements-dev\.lock", " ".join(rests("RUN")))
    awk = shutil.which("awk")
    assert awk
    run = subprocess.run([awk, program, "requirements-dev.lock"], cwd=ROOT, capture_output=True, check=True, text=True)
    taken = run.stdout.splitlines()
    assert taken[0].startswith("setuptools==")
    assert len(taken) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in taken[1:])


# --- what reaches the build, and what the wheel takes of it ---------------------------------------------------


def test_only_what_the_package_is_made_of_reaches_the_build() -> None:
    about = project()["project"]
    named = {"pyproject.toml", "requirements.lock", "requirements-dev.lock", about["readme"], *about["license-files"]}
    assert allowed_into_the_build() == named | set(packages())


def test_every_package_beside_the_tests_is_in_the_wheel() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "tools", "benchmarks"}
    assert found == set(packages())


def test_every_data_file_of_a_package_is_in_the_wheel() -> None:
    patterns = project()["tool"]["setuptools"]["package-data"]["*"]
    taken = {".py", ".pyi", *(pattern.removeprefix("*") for pattern in patterns)}
    left = [
        str(path.relative_to(ROOT))
        for package in packages()
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not {path.suffix, path.name} & taken
    ]
    assert left == []
