"""The server as a process: how it starts, what it refuses to start with, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offline_model.settings import Settings, SettingsError
from tests.offline.asking import CHAT, chat, events, joined, stage1
from tests.offline.conftest import Started, started


def connect(server: Started) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_with_0_though_an_idle_connection_is_open(number: signal.Signals) -> None:
    with started() as server:
        idle = connect(server)
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        asked = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(timeout=5) == 0
        assert time.monotonic() - asked < 2
        idle.close()


def test_an_answer_under_way_is_finished_before_the_process_stops() -> None:
    with started(OFFLINE_MODEL_CHUNK_DELAY_MS="20") as server:
        connection = connect(server)
        connection.request("POST", CHAT, json.dumps(chat(stage1(["frame"]), stream=True, max_tokens=40)))
        response = connection.getresponse()
        begin = response.read(200)
        server.process.send_signal(signal.SIGTERM)
        chunks = events(begin + response.read())
        assert len(joined(chunks)) > 100
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"
        assert server.process.wait(timeout=5) == 0
        connection.close()


def test_a_caller_that_leaves_disturbs_no_other() -> None:
    with started(OFFLINE_MODEL_CHUNK_DELAY_MS="5") as server:
        leaver = connect(server)
        leaver.request("POST", CHAT, json.dumps(chat(stage1(), stream=True)))
        response = leaver.getresponse()
        response.read(100)
        response.close()
        leaver.close()
        stayer = connect(server)
        stayer.request("GET", "/healthz")
        assert stayer.getresponse().status == 200
        stayer.close()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=5) == 0


def test_it_stays_small(process: Started) -> None:
    connection = connect(process)
    for _ in range(20):
        connection.request("POST", CHAT, json.dumps(chat(stage1(), stream=True)))
        assert connection.getresponse().read()
    connection.close()
    status = Path(f"/proc/{process.process.pid}/status").read_text(encoding="utf-8")
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert kilobytes < 150 * 1024


def ended(**environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "offline_model"]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=10, check=False
    )


def test_a_wrong_setting_stops_it_before_the_port_opens_and_is_named() -> None:
    result = ended(OFFLINE_MODEL_PORT="http")
    assert (result.returncode, result.stdout) == (2, "")
    assert "OFFLINE_MODEL_PORT" in result.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = ended(OFFLINE_MODEL_PORT=port)
    assert (result.returncode, result.stdout) == (1, "")
    assert port in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_have_defaults_and_are_read_from_the_environment() -> None:
    assert Settings.from_environment({"OFFLINE_MODEL_PORT": ""}) == Settings(50080, "127.0.0.1", 0.0)
    environment = {"OFFLINE_MODEL_PORT": "0", "BIND": "0.0.0.0", "OFFLINE_MODEL_CHUNK_DELAY_MS": "15"}
    assert Settings.from_environment(environment) == Settings(0, "0.0.0.0", 0.015)


@pytest.mark.parametrize("value", ["-1", "65536", "1.5", "٣", "9" * 5000, "x"], ids=range(6))
def test_a_number_out_of_its_range_is_refused_by_name(value: str) -> None:
    for name in ("OFFLINE_MODEL_PORT", "OFFLINE_MODEL_CHUNK_DELAY_MS"):
        with pytest.raises(SettingsError, match=name):
            Settings.from_environment({name: value})
