"""`nidan batch`, as a process, at real gateways."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lesson.limits import SPEC_CHARACTERS
from nidan.batch.report import Report
from nidan.batch.result import Outcome, Result
from nidan.batch.rows import MOST_CHARACTERS, Row, RowsError, read_rows
from nidan.batch.summary import exit_code, money
from nidan.services.supervisor import Trio
from nidan.terminal.output import OutputError
from tests.model_server import GOOD, Answer, ModelServer
from tests.nidan.command import environment, nidan, services_of
from tests.trio import Trio as OwnTrio
from tests.trio import trio as own_trio
from tests.trio import until

T = TypeVar("T")
MIXED = "id,model,level\nJF:349,,\nNO:1,,\nJF:349,gpt-99,\nnidan:food-a2-1,,a2\n"


def _file(folder: Path, text: str) -> Path:
    file = folder / "list.csv"
    file.write_text(text, encoding="utf-8")
    return file


def _report(out: Path) -> dict[int, dict[str, str]]:
    """The report's lines by row; each row has one."""
    with (out / "report.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len({row["row"] for row in rows}) == len(rows)
    return {int(row["row"]): row for row in rows}


def _master(file: Path | str) -> Any:
    return json.loads(Path(file).read_text(encoding="utf-8"))


def _names(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


# --- the file ---------------------------------------------------------------------------------------------------


def test_columns_come_in_any_order_and_rows_count_as_in_a_spreadsheet(
    tmp_path: Path,
) -> None:
    expected = [
        Row(2, can_do_id="JF:349", level="A1"),
        Row(4, topic="旅行", level="A2", text="Can ask, and understand."),
    ]
    for mark in ",\t;":
        lines = ["level,Can-Do ID,text,topic", "a1,JF:349", ",,,", 'A2,,"Can ask, \nand understand.",旅行']
        quoted = [re.sub(r',(?=(?:[^"]*"[^"]*")*[^"]*$)', mark, line) for line in lines]
        assert read_rows(_file(tmp_path, "\ufeff" + "\r\n".join(quoted))) == expected


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "id,topic,level\nJF:349,,Z9\n,旅行,\nJF:349,,\n",
            ["row 2: level 'Z9': one of A1", "row 3: give an id (JF:349), or topic and level"],
        ),
        ("id,lvl\nJF:349,A1\n", ["unknown column 'lvl'; known are id, topic, level"]),
        ("id,ID\nJF:349,JF:349\n", ["can_do_id appears twice"]),
        ("topic\n旅行\n", ["a lesson needs the column id, or topic and level"]),
        ("id\nJF:349,A1\n", ["row 2: 'A1' has no column name"]),
        ("id,language\nJF:349,??\n", ["row 2: language '??': a BCP-47 tag"]),
        (f"id\n{'x' * 101}\n", ["row 2: id has 101 characters; at most 100"]),
        ("id\nJF:\x07349\n", ["row 2: id holds U+0007, a control character"]),
        ("id\n", ["then comes a row for each lesson"]),
        ("", ["then comes a row for each lesson"]),
        ('id\n"JF:349\n', ["is a quote never closed?"]),
    ],
)
def test_every_wrong_row_is_named_before_anything_starts(tmp_path: Path, text: str, problems: list[str]) -> None:
    file = _file(tmp_path, text)
    done = nidan("batch", str(file), "--offline", "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (2, "")
    for problem in problems:
        assert problem in done.stderr
    assert "Starting" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_in_another_encoding_or_none_at_all_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes("id,topic\nJF:349,旅行\n".encode("shift_jis"))
    with pytest.raises(RowsError) as wrong:
        read_rows(file)
    assert "not UTF-8: byte 0x97 in line 2" in str(wrong.value)
    assert "iconv -f SHIFT_JIS" in wrong.value.problems[0]
    done = nidan("batch", str(tmp_path / "none.csv"), "--offline")
    assert done.returncode == 2
    assert "none.csv: No such file" in done.stderr


def test_the_limits_of_a_cell_are_the_gateways_own() -> None:
    names = {"can_do_id": "can_do_id", "topic": "topic", "text": "can_do_text", "language": "learner_language"}
    names |= {"model": "model"}
    assert {names[name]: most for name, most in MOST_CHARACTERS.items()} == SPEC_CHARACTERS


def test_file_names_are_fit_for_any_file_system() -> None:
    assert Row(2, can_do_id="JF:349").file_name == "002-JF_349.json"
    assert Row(1000, can_do_id="../../etc/passwd").file_name == "1000-.._.._etc_passwd.json"
    assert Row(3, topic="旅行と交通", level="A2").file_name == "003-旅行と交通_A2.json"
    assert len(Row(3, topic="旅" * 200, level="A2").file_name.encode()) < 200


@pytest.mark.parametrize(
    "arguments",
    [
        ["--concurrency", "0"],
        ["--concurrency", "17"],
        ["--limit-usd", "0"],
        ["--limit-usd", "nan"],
        ["--address", "nowhere"],
        ["--address", "127.0.0.1:1", "--offline"],
    ],
)
def test_wrong_options_end_with_status_2(tmp_path: Path, arguments: list[str]) -> None:
    done = nidan("batch", str(_file(tmp_path, "id\nJF:349\n")), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error" in done.stderr


# --- a whole run ------------------------------------------------------------------------------------------------


def test_a_mixed_file_gives_what_can_be_made_and_the_same_command_makes_the_rest(trio: Trio, tmp_path: Path) -> None:
    file, out = _file(tmp_path, MIXED), tmp_path / "out"
    command = ("batch", str(file), "--out", str(out), "--address", trio.plan.gateway.address)
    done = nidan(*command)
    assert done.returncode == 1, done.stderr
    assert _names(out) == {"002-JF_349.json", "005-nidan_food-a2-1.json", "report.csv"}
    master = _master(out / "005-nidan_food-a2-1.json")
    assert (master["canDoId"], master["metadata"]["outcome"]) == ("nidan:food-a2-1", "COMPLETE")
    rows = _report(out)
    assert [rows[number]["outcome"] for number in (2, 3, 4, 5)] == ["COMPLETE", "FAILED", "FAILED", "COMPLETE"]
    assert rows[3]["reason"].startswith("UNKNOWN_CAN_DO: ")
    assert rows[4]["reason"].startswith("INVALID_REQUEST: model: not in the configured chain")
    assert rows[2]["file"] == "002-JF_349.json"
    assert "4 lessons: 2 complete, 2 failed · $0.0000" in done.stderr
    assert f"To make the others: nidan batch {file} --out {out}" in done.stderr
    assert "nidan catalogue search WORDS" in done.stderr
    assert re.search(r"2 +JF:349 +complete +\d+\.\d s +\$0\.0000 +002-JF_349\.json\n", done.stdout)

    file.write_text(MIXED.replace("NO:1", "JF:349").replace("gpt-99", ""), encoding="utf-8")
    before = (out / "002-JF_349.json").stat()
    second = nidan(*command)
    assert second.returncode == 0, second.stderr
    assert "2 of 4 are there already" in second.stderr
    made = {"002-JF_349.json", "003-JF_349.json", "004-JF_349.json", "005-nidan_food-a2-1.json"}
    assert _names(out) == {*made, "report.csv"}
    assert re.search(r"2 +JF:349 +complete +before +002-JF_349\.json\n", second.stdout)
    after = (out / "002-JF_349.json").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    again = _report(out)
    assert again[2] == rows[2]
    assert {row["outcome"] for row in again.values()} == {"COMPLETE"}


def test_again_makes_and_replaces_what_is_there(trio: Trio, tmp_path: Path) -> None:
    file, out = _file(tmp_path, "id\nJF:349\n"), tmp_path / "out"
    command = ("batch", str(file), "--out", str(out), "--address", trio.plan.gateway.address)
    assert nidan(*command).returncode == 0
    before = _master(out / "002-JF_349.json")["lessonId"]
    assert nidan(*command, "--again").returncode == 0
    assert _master(out / "002-JF_349.json")["lessonId"] != before


def test_json_is_a_line_for_each_row_and_nothing_else(trio: Trio, tmp_path: Path) -> None:
    file, out = _file(tmp_path, MIXED), tmp_path / "out"
    done = nidan("batch", str(file), "--out", str(out), "--json", "--address", trio.plan.gateway.address)
    told = {row["row"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert sorted(told) == [2, 3, 4, 5]
    assert told[2]["outcome"] == "COMPLETE"
    assert told[2]["file"] == str(out / "002-JF_349.json")
    assert told[2]["costUsd"] == 0.0
    assert told[3]["file"] is None
    assert set(told[2]) == {"row", "id", "outcome", "alreadyThere", "seconds", "costUsd", "file", "reason"}


@pytest.mark.slow
def test_a_batch_without_a_gateway_starts_one_trio_and_ends_it(tmp_path: Path) -> None:
    file = _file(tmp_path, "id\nJF:349\nnidan:food-a2-1\nnidan:travel-a1-1\n")
    done = nidan("batch", str(file), "--offline", "--out", str(tmp_path / "out"), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Starting offline_model") == 1
    assert "3/3" in done.stderr
    assert not list(tmp_path.glob("nidan-logs-*"))
    assert "\x1b" not in done.stdout + done.stderr


def test_without_gateway_and_key_nothing_is_begun_and_both_ways_on_are_named(tmp_path: Path) -> None:
    file = _file(tmp_path, "id\nJF:349\n")
    done = nidan("batch", str(file), "--out", str(tmp_path / "out"), "--address", "127.0.0.1:1")
    assert done.returncode == 1
    assert "no gateway is serving at 127.0.0.1:1" in done.stderr
    told = nidan("batch", str(file), "--out", str(tmp_path / "out"), "--address", "127.0.0.1:1", "--json")
    assert json.loads(told.stdout)["reason"] == "UNAVAILABLE"


# --- files in the way, disks, two at once -----------------------------------------------------------------------


def test_a_file_that_is_no_lesson_or_another_one_is_never_taken_for_the_rows(trio: Trio, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("batch", str(_file(tmp_path, "id,level\nJF:349,\n")), "--out", str(out))
    address = ("--address", trio.plan.gateway.address)
    assert nidan(*command, *address).returncode == 0
    _file(tmp_path, "id,level\nJF:349,B1\n")
    done = nidan(*command, *address)
    assert done.returncode == 2
    assert "002-JF_349.json is there, and is a lesson of level A1, not B1" in done.stderr
    assert "--again" in done.stderr
    (out / "002-JF_349.json").write_text("{}")
    done = nidan(*command, *address)
    assert done.returncode == 2
    assert "is no lesson" in done.stderr
    assert (out / "002-JF_349.json").read_text() == "{}"


def test_a_report_that_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.csv").write_text("month,profit\n")
    with pytest.raises(OutputError, match="no report of a batch"):
        Report(tmp_path)
    assert (tmp_path / "report.csv").read_text() == "month,profit\n"


@pytest.mark.parametrize("name", ["report.csv", Row(2, can_do_id="JF:349").file_name])
def test_a_link_in_the_directory_is_refused_before_any_lesson(trio: Trio, tmp_path: Path, name: str) -> None:
    file, out = _file(tmp_path, "id\nJF:349\n"), tmp_path / "out"
    out.mkdir()
    target = tmp_path / "precious"
    target.write_text("kept", encoding="utf-8")
    (out / name).symlink_to(target)
    done = nidan("batch", str(file), "--out", str(out), "--address", trio.plan.gateway.address)
    assert done.returncode in (1, 2)
    assert f"{name}" in done.stderr
    assert "is a link" in done.stderr
    assert target.read_text(encoding="utf-8") == "kept"
    assert _names(out) == {name}


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "＝1", "\r=1"])
def test_no_cell_of_the_report_is_a_formula(tmp_path: Path, cell: str) -> None:
    row = Row(2, can_do_id=cell)
    for _ in range(2):  # what an earlier run wrote is found again
        report = Report(tmp_path)
        result = Result(row, Outcome.FAILED, reason=cell)
        report.add(result)
        report.close([result])
        with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as written:
            (line,) = csv.DictReader(written)
        assert line["id"] == line["reason"] == f"'{cell}"


@pytest.mark.parametrize("file", ["/dev/zero", "/dev/urandom"])
def test_a_file_without_an_end_is_refused(file: str) -> None:
    with pytest.raises(RowsError, match="has more than"):
        read_rows(Path(file))


def test_a_disk_without_room_for_a_lesson_ends_the_batch_at_the_first(trio: Trio, tmp_path: Path) -> None:
    file, out = _file(tmp_path, "id\nJF:349\nJF:349\nJF:349\n"), tmp_path / "out"
    script = 'ulimit -f 1024 && exec "$@"'  # a file may have 1 MiB
    command = ["bash", "-c", script, "-", sys.executable, "-m", "nidan", "batch", str(file), "--out", str(out)]
    command += ["--address", trio.plan.gateway.address, "--concurrency", "1"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "002-JF_349.json: File too large" in done.stderr
    assert _names(out) == {"report.csv"}
    rows = _report(out)
    assert [rows[number]["outcome"] for number in (2, 3, 4)] == ["FAILED", "NOT_STARTED", "NOT_STARTED"]


def test_a_directory_that_cannot_be_written_is_told_before_anything_starts(tmp_path: Path) -> None:
    file = _file(tmp_path, "id\nJF:349\n")
    (tmp_path / "file").write_text("")
    done = nidan("batch", str(file), "--offline", "--out", str(tmp_path / "file" / "out"))
    assert done.returncode == 1
    assert "cannot write to" in done.stderr
    assert "Starting" not in done.stderr


# --- with models that cost, fail and wait -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _batch(trio: OwnTrio, folder: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`nidan batch` on the folder's list at this gateway."""
    command = [sys.executable, "-W", "error", "-m", "nidan", "batch", str(folder / "list.csv")]
    command += ["--out", str(folder / "out"), "--address", f"127.0.0.1:{trio.gateway.grpc}", *options]
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _done(trio: OwnTrio, folder: Path, *options: str) -> tuple[int, str, str]:
    """Status, stdout and stderr at its end."""
    async with _batch(trio, folder, *options) as process, asyncio.timeout(60):
        out, messages = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), messages.decode()


async def test_the_limit_ends_a_batch_once_so_much_is_known_to_be_spent(
    monkeypatch: Any, model: ModelServer, tmp_path: Path
) -> None:
    _file(tmp_path, "id\n" + "JF:349\n" * 4)
    async with own_trio(monkeypatch, model) as trio:
        status, _, messages = await _done(trio, tmp_path, "--concurrency", "1", "--limit-usd", "0.001")
        rows = _report(tmp_path / "out")
        assert status == 1
        assert [rows[number]["outcome"] for number in (2, 3, 4, 5)] == ["COMPLETE", *["NOT_STARTED"] * 3]
        assert float(rows[2]["cost_usd"]) > 0.001
        assert rows[3]["reason"] == "the limit of $0.001 is reached"
        told = re.search(r"1 complete, 3 not started · \$(\d\.\d{4}) ", messages)
        assert told is not None
        assert float(told[1]) == pytest.approx(float(rows[2]["cost_usd"]), abs=0.0001)
        assert "No further lesson was started: the limit of $0.001 is reached." in messages
        assert len(model.asked("stage1")) == 1
        status, _, _ = await _done(trio, tmp_path, "--limit-usd", "100")
        assert status == 0
        assert len(model.asked("stage1")) == 4


async def test_a_partial_lesson_is_kept_and_the_status_says_so(
    monkeypatch: Any, model: ModelServer, tmp_path: Path
) -> None:
    _file(tmp_path, "id\nJF:349\nJF:349\n")
    model.script["culture"] = [Answer(text="no JSON")] * 5
    env = {"CANDO_AI_STAGE2_FALLBACK_MODELS": ""}
    async with own_trio(monkeypatch, model, env) as trio:
        status, out, _ = await _done(trio, tmp_path, "--concurrency", "1", "--json")
        rows = {row["row"]: row for row in map(json.loads, out.splitlines())}
        assert status == 3
        assert [rows[number]["outcome"] for number in (2, 3)] == ["PARTIAL", "COMPLETE"]
        assert rows[2]["reason"].startswith("culture is ")
        assert _master(rows[2]["file"])["metadata"]["outcome"] == "PARTIAL"
        status, out, _ = await _done(trio, tmp_path, "--json")
        assert status == 3
        assert [json.loads(line)["alreadyThere"] for line in out.splitlines()] == [True, True]
        assert json.loads(out.splitlines()[0])["reason"].startswith("culture is ")


async def test_a_gateway_that_is_full_is_asked_again_when_it_says_so(
    monkeypatch: Any, model: ModelServer, tmp_path: Path
) -> None:
    _file(tmp_path, "id\nJF:349\nJF:349\n")
    model.script["stage1"] = [Answer(delay_seconds=1.0)]
    async with own_trio(monkeypatch, model, {"LESSONS_LIMIT": "1"}) as trio:
        status, _, messages = await _done(trio, tmp_path)
        assert status == 0, messages
        assert re.search(r"row [23] waits 5 s: This gateway is at its limit of concurrent lessons", messages)
        assert {row["outcome"] for row in _report(tmp_path / "out").values()} == {"COMPLETE"}


async def test_ctrl_c_keeps_what_is_finished_and_the_same_command_makes_only_the_rest(
    monkeypatch: Any, model: ModelServer, tmp_path: Path
) -> None:
    _file(tmp_path, "id\nJF:349\nnidan:food-a2-1\nJF:349\n")
    out = tmp_path / "out"
    model.script["stage1"] = [GOOD, Answer(delay_seconds=300)]
    async with own_trio(monkeypatch, model) as trio:
        async with _batch(trio, tmp_path, "--concurrency", "1") as process, asyncio.timeout(60):
            await until(lambda: len(model.asked("stage1")) == 2, 30)
            lesson = (out / "002-JF_349.json").read_bytes()
            assert "002-JF_349.json" in (out / "report.csv").read_text(encoding="utf-8-sig")  # before the end
            process.send_signal(signal.SIGINT)
            _, messages = await process.communicate()
        assert process.returncode == 130
        assert b"Interrupted: lessons under way are cancelled." in messages
        assert f"To make the others: nidan batch {tmp_path / 'list.csv'}".encode() in messages
        await until(lambda: not model.in_flight)
        assert _names(out) == {"002-JF_349.json", "report.csv"}
        rows = _report(out)
        assert [rows[number]["outcome"] for number in (2, 3, 4)] == ["COMPLETE", "CANCELLED", "NOT_STARTED"]
        assert rows[3]["cost_usd"] == ""
        asked = len(model.asked("stage1"))
        status, _, _ = await _done(trio, tmp_path)
        assert status == 0
        assert len(model.asked("stage1")) == asked + 2
        assert (out / "002-JF_349.json").read_bytes() == lesson
        assert {row["outcome"] for row in _report(out).values()} == {"COMPLETE"}


async def test_what_a_killed_batch_wrote_is_taken_up_and_its_drafts_go(
    monkeypatch: Any, model: ModelServer, tmp_path: Path
) -> None:
    _file(tmp_path, "id\nJF:349\nJF:349\n")
    out = tmp_path / "out"
    model.script["stage1"] = [GOOD, Answer(delay_seconds=300)]
    async with own_trio(monkeypatch, model) as trio:
        async with _batch(trio, tmp_path, "--concurrency", "1") as process, asyncio.timeout(60):
            await until(lambda: len(model.asked("stage1")) == 2, 30)
            second = await _done(trio, tmp_path)
            assert second[0] == 1
            assert "another nidan batch is writing to" in second[2]
            process.kill()
            await process.wait()
        assert len([name for name in _names(out) if name.startswith(".003-")]) == 1
        with (out / "report.csv").open("ab") as report:
            report.write(b"3,JF:349,FAI")  # in mid-line
        status, _, messages = await _done(trio, tmp_path)
        assert status == 0, messages
        assert _names(out) == {"002-JF_349.json", "003-JF_349.json", "report.csv"}
        assert [row["outcome"] for row in _report(out).values()] == ["COMPLETE", "COMPLETE"]


async def test_a_gateway_that_goes_away_ends_the_batch_instead_of_failing_every_row(
    monkeypatch: Any, model: ModelServer, tmp_path: Path
) -> None:
    _file(tmp_path, "id\n" + "JF:349\n" * 5)
    model.script["stage1"] = [Answer(delay_seconds=300)]
    async with own_trio(monkeypatch, model) as trio, _relay(trio.gateway.grpc) as relay:
        command = [sys.executable, "-m", "nidan", "batch", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out")]
        command += ["--address", f"127.0.0.1:{relay.port}", "--concurrency", "1"]
        process = await asyncio.create_subprocess_exec(
            *command, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            await until(lambda: bool(model.asked("stage1")), 30)
            await relay.gone()
            _, messages = await process.communicate()
        assert process.returncode == 1
        assert f"no gateway is serving at 127.0.0.1:{relay.port}" in messages.decode()
    rows = _report(tmp_path / "out")
    assert [rows[number]["outcome"] for number in range(2, 7)] == ["FAILED", *["NOT_STARTED"] * 4]
    assert rows[3]["reason"] == "given up"
    assert "Given up (UNAVAILABLE): " in messages.decode()


class _Relay:
    """A port that leads to another one, until it is gone."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relayed, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def gone(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _relayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open += [writer, there_writer]
        await asyncio.gather(_pumped(reader, there_writer), _pumped(there_reader, writer))


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def _relay(target: int) -> AsyncIterator[_Relay]:
    relay = _Relay(target)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.gone()


async def test_a_disk_that_fills_up_loses_no_lesson_that_is_under_way(
    monkeypatch: Any, model: ModelServer, tmp_path: Path
) -> None:
    _file(tmp_path, "id\n" + "JF:349\n" * 4)
    model.script["stage1"] = [Answer(delay_seconds=2.0), Answer(delay_seconds=4.0)]
    async with own_trio(monkeypatch, model) as trio:
        async with _batch(trio, tmp_path, "--concurrency", "2") as process, asyncio.timeout(60):
            await until(lambda: len(model.asked("stage1")) == 2, 30)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**20, 2**20))  # no room for a third
            await process.communicate()
        assert process.returncode == 1
    rows = _report(tmp_path / "out")
    assert [rows[number]["outcome"] for number in (2, 3, 4, 5)] == ["COMPLETE", "COMPLETE", "FAILED", "NOT_STARTED"]
    assert "File too large" in rows[4]["reason"]
    assert _master(tmp_path / "out" / "003-JF_349.json")["canDoId"] == "JF:349"


@pytest.mark.slow
def test_ctrl_c_ends_the_services_that_were_started_for_the_batch(tmp_path: Path) -> None:
    file = _file(tmp_path, "id\nJF:349\nJF:349\n")
    command = [sys.executable, "-m", "nidan", "batch", str(file), "--offline", "--out", str(tmp_path / "out")]
    given = environment(OFFLINE_MODEL_CHUNK_DELAY_MS="200")
    with subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        services = _four_services_of(process)
        _wait_for_drafts(tmp_path / "out", 2, process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # whoever is impatient presses it twice
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert not [pid for pid in services if Path(f"/proc/{pid}").exists()]
    assert _names(tmp_path / "out") == {"report.csv"}


def _four_services_of(process: subprocess.Popen[str]) -> list[int]:
    return _when(lambda: [pids for pids in [services_of(process.pid)] if len(pids) == 4])[0]


def _wait_for_drafts(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until so many lessons are under way."""
    _when(lambda: out.exists() and len(list(out.glob(".0*"))) == count and process.poll() is None)


def _when(condition: Callable[[], T]) -> T:
    """What it gives once that is something."""
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


# --- the account of it ------------------------------------------------------------------------------------------


def test_the_status_is_the_worst_of_the_rows() -> None:
    def of(*outcomes: Outcome) -> int:
        return exit_code(Result(Row(number, "JF:349"), outcome) for number, outcome in enumerate(outcomes, 2))

    assert of(Outcome.COMPLETE, Outcome.COMPLETE) == 0
    assert of(Outcome.COMPLETE, Outcome.PARTIAL) == 3
    assert of(Outcome.PARTIAL, Outcome.FAILED) == 1
    assert of(Outcome.COMPLETE, Outcome.NOT_STARTED) == 1


def test_money_that_is_not_known_is_said_and_never_zero() -> None:
    whole = Result(Row(2, "JF:349"), Outcome.COMPLETE, cost_usd=0.03, known_cost_usd=0.03)
    part = Result(Row(3, "JF:349"), Outcome.COMPLETE, cost_usd=None, known_cost_usd=0.01)
    there = Result(Row(4, "JF:349"), Outcome.COMPLETE, already_there=True)
    assert money([whole, there]) == "$0.0300"
    assert money([whole, part, there]) == "$0.0400 and what 1 cost is not known"
    assert whole.as_cells()[4] == "0.030000"
    assert part.as_cells()[4] == ""
