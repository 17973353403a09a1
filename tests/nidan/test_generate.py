"""`nidan generate`, as a process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from nidan.services.supervisor import Trio
from tests.nidan.command import environment, nidan, services_of
from tests.trio import port_of_its_own


def test_offline_json_is_one_line_of_master_json_and_nothing_else() -> None:
    done = nidan("generate", "JF:349", "--offline", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    master = json.loads(done.stdout)
    assert master["uiVersion"] == 2
    assert master["metadata"]["sample"] is True
    assert master["metadata"]["outcome"] == "COMPLETE"
    assert "Stage 2 ✓ reading enhanced" in done.stderr


def test_a_running_gateway_gives_a_lesson_to_be_read(trio: Trio) -> None:
    done = nidan("generate", "JF:349", "--address", trio.plan.gateway.address)
    assert done.returncode == 0, done.stderr
    for part in ("食生活", "built-in lesson, not reviewed by a teacher", "小林[こばやし]", "食[た]べ物[もの]"):
        assert part in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "Answer key" not in done.stdout
    assert "--teacher shows answers and lesson plan" in done.stdout


def test_each_option_of_the_layout_shows_what_it_says(trio: Trio) -> None:
    options = ("--ruby", "above", "--teacher", "--translation", "--kana", "--romaji")
    done = nidan("generate", "JF:349", *options, "--address", trio.plan.gateway.address)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.strip() == "食べ物は、 魚 が好きです。")
    assert [line.strip() for line in lines[at - 1 : at + 4]] == [
        "た もの  さかな す",
        "食べ物は、 魚 が好きです。",
        "たべものは、さかながすきです。",
        "tabemono wa, sakana ga suki desu.",
        "When it comes to food, I like fish.",
    ]
    for part in ("Lesson plan ──", "Answer key ──", "朝です。"):
        assert part in done.stdout
    bare = nidan("generate", "JF:349", "--ruby", "NONE", "--address", trio.plan.gateway.address)
    assert "食べ物は、魚が好きです。" in bare.stdout


@pytest.mark.parametrize(("columns", "above"), [(60, True), (59, False)])
def test_on_a_terminal_that_is_wide_enough_furigana_stand_above(trio: Trio, columns: int, above: bool) -> None:
    shown = _on_a_terminal(columns, "generate", "JF:349", "--address", trio.plan.gateway.address)
    assert ("食べ物は、 魚 が好きです。" in shown) is above
    assert ("食[た]べ物[もの]は、" in shown) is not above


def _on_a_terminal(columns: int, *arguments: str) -> str:
    """What a terminal of that width is sent, without its escape codes."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "nidan", *arguments]
    names = ("COLUMNS", "LINES")
    given = {name: value for name, value in environment(TERM="xterm").items() if name not in names}
    with subprocess.Popen(command, env=given, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(ours, 65_536):
                told += data
    os.close(ours)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.decode())


@pytest.mark.parametrize("option", [["--ruby", "none"], ["--teacher"], ["--translation"], ["--kana"], ["--romaji"]])
def test_options_of_the_layout_are_no_options_of_the_json(option: list[str]) -> None:
    done = nidan("generate", "JF:349", "--offline", "--json", *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert option[0] in done.stderr
    assert "--json gives all of it as data" in " ".join(done.stderr.replace("│", " ").split())


def test_an_address_from_the_environment_and_all_options_reach_the_gateway(trio: Trio) -> None:
    arguments = ("JF:349", "--topic", "好きな食べ物", "--level", "a1", "--timeout", "60", "--model", "nidan-offline")
    done = nidan("generate", *arguments, "--json", NIDAN_ADDRESS=trio.plan.gateway.address)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["metadata"]["topic"] == "好きな食べ物"


def test_an_unknown_id_is_one_json_object_with_its_reason(trio: Trio) -> None:
    done = nidan("generate", "NO:1", "--address", trio.plan.gateway.address, "--json")
    assert done.returncode == 1
    failure = json.loads(done.stdout)
    assert failure["outcome"] == "FAILED"
    assert failure["reason"] == "UNKNOWN_CAN_DO"
    assert failure["retryable"] is False
    assert "JF:349" in failure["message"]
    assert set(failure) == {"outcome", "reason", "stage", "retryable", "message"}


def test_every_wrong_field_of_a_request_is_named_by_its_option(trio: Trio) -> None:
    arguments = ["generate", "JF:349", "--topic", "x" * 300, "--language", "??", "--address", trio.plan.gateway.address]
    done = nidan(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "--topic: has 300 characters" in done.stderr
    assert "--language: must be a BCP-47 tag" in done.stderr
    failure = json.loads(nidan(*arguments, "--json").stdout)
    assert failure["reason"] == "INVALID_REQUEST"
    assert set(failure["fields"]) == {"--topic", "--language"}


def test_a_topic_without_a_built_in_lesson_says_which_there_are(trio: Trio) -> None:
    done = nidan("generate", "--topic", "宇宙", "--level", "A1", "--address", trio.plan.gateway.address)
    assert done.returncode == 1
    assert "STAGE1_" in done.stderr
    assert "JF:349" in done.stderr


def test_without_gateway_and_key_both_ways_on_are_named() -> None:
    nowhere = {"GATEWAY_PORT": str(port_of_its_own())}
    done = nidan("generate", "JF:349", **nowhere)
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert "--offline" in done.stderr
    assert json.loads(nidan("generate", "JF:349", "--json", **nowhere).stdout)["reason"] == "NO_GATEWAY"


def test_a_gateway_that_was_named_and_does_not_answer_is_an_error() -> None:
    done = nidan("generate", "JF:349", "--json", "--address", "127.0.0.1:1", OPENAI_API_KEY="never-used")
    assert done.returncode == 1
    assert json.loads(done.stdout)["reason"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--topic", "食生活"],
        ["JF:349", "--level", "Z9"],
        ["JF:349", "--timeout", "0"],
        ["JF:349", "--ruby", "below"],
        ["JF:349", "--address", "nowhere"],
        ["JF:349", "--text", "\udcff"],
        ["JF:349", "--address", "127.0.0.1:50050", "--offline"],
    ],
)
def test_wrong_usage_ends_with_status_2_and_prints_nothing_on_stdout(arguments: list[str]) -> None:
    done = nidan("generate", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Error" in done.stderr


def test_out_replaces_a_file_whole_and_keeps_its_mode(trio: Trio, tmp_path: Path) -> None:
    target = tmp_path / "lesson.json"
    target.write_text("old")
    target.chmod(0o640)
    done = nidan("generate", "JF:349", "--json", "--out", str(target), "--address", trio.plan.gateway.address)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(target.read_text())["canDoId"] == "JF:349"
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["lesson.json"]


def test_a_place_that_cannot_be_written_is_told_before_any_lesson_is_made(tmp_path: Path) -> None:
    done = nidan("generate", "JF:349", "--offline", "--out", str(tmp_path / "no" / "such" / "folder"))
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "Stage 1" not in done.stderr


def test_a_full_disk_is_a_clear_error(trio: Trio) -> None:
    done = nidan("generate", "JF:349", "--out", "/dev/full", "--address", trio.plan.gateway.address)
    assert done.returncode == 1
    assert "cannot write /dev/full: No space left on device" in done.stderr
    assert Path("/dev/full").is_char_device()


def test_a_reader_that_goes_away_is_no_crash(trio: Trio) -> None:
    command = [sys.executable, "-m", "nidan", "generate", "JF:349", "--json", "--address", trio.plan.gateway.address]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_in_mid_lesson_cancels_it_and_ends_all_that_was_started() -> None:
    with _generating(OFFLINE_MODEL_CHUNK_DELAY_MS="200") as process:  # a lesson that takes minutes
        assert process.stderr is not None
        while "writing with" not in process.stderr.readline():
            assert process.poll() is None
        services = services_of(process.pid)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert len(services) == 4
    assert (process.returncode, out) == (130, "")
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]


def test_sigterm_while_the_services_start_ends_them_too() -> None:
    with _generating() as process:
        services = _four_services_of(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 143
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]


# The interpreter tells its tracer of every call: so the signal comes right behind the fork of the third service.
_SIGNAL_BEHIND_THE_FORK = """
import os, signal, sys
from pathlib import Path
from nidan.services.plan import Providers, private_plan
from nidan.services.signals import Terminated, raise_on_signals
from nidan.services.supervisor import Trio, running
from tests.nidan.command import services_of

forks = []

def traced(_frame, event, called):
    if event == "c_return" and called.__name__ == "fork_exec":
        forks.append(called)
        if len(forks) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

raise_on_signals()
plan = private_plan(os.environ, Providers.chosen({}, offline=True))
try:
    sys.setprofile(traced)
    with running(Trio(plan, Path(sys.argv[1]), print)):
        print("served")
except Terminated as ended:
    sys.setprofile(None)
    print(len(forks), ended.code, services_of(os.getpid()))
"""


def test_a_signal_right_after_a_fork_leaves_no_service_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SIGNAL_BEHIND_THE_FORK, str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("3 143 []\n", "")


def test_services_do_not_outlive_a_command_that_was_killed(tmp_path: Path) -> None:
    with _generating(TMPDIR=str(tmp_path)) as process:
        services = _four_services_of(process)
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in services):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _generating(**variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nidan", "generate", "JF:349", "--offline"]
    return subprocess.Popen(
        command, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _four_services_of(process: subprocess.Popen[str]) -> list[int]:
    deadline = time.monotonic() + 10
    while len(services := services_of(process.pid)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return services


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
