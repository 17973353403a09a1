"""`nidan keys` and the file that it keeps: the key is printed once, the file has hashes, a gateway follows it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.access.keys import KeysFileError, Scope, read
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import read_error
from servicekit.settings import SettingsError
from tests.access.callers import Ring, bearer, gateway_with
from tests.nidan.command import nidan, nidan_process
from tests.services.processes import OFFLINE, Process, start, stub
from tests.trio import FREE_PORTS

REQUEST = pb.GenerateLessonRequest()
TOKEN = re.compile(r"nidan_(?P<id>[0-9a-f]{8})_[A-Za-z0-9_-]{43}\n")


def keys(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return nidan("keys", arguments[0], "--file", str(file), *arguments[1:])


def test_a_key_is_printed_once_listed_without_its_secret_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys.toml"
    scopes = ("--scope", "generate", "--scope", "review")
    made = nidan_process("keys", "add", "--file", str(file), "web", *scopes, "--expires-days", "30")
    printed = TOKEN.fullmatch(made.stdout)
    assert (made.returncode, bool(printed)) == (0, True)
    assert printed
    (key,) = read(file)
    assert (key.id, key.name, key.scopes, key.revoked) == (printed["id"], "web", (Scope.GENERATE, Scope.REVIEW), None)
    assert key.expires
    assert abs(key.expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=2)
    assert file.stat().st_mode & 0o777 == 0o600
    assert printed[0].strip() not in file.read_text()

    listed, as_json = keys(file, "list"), keys(file, "list", "--json")
    (line,) = [json.loads(one) for one in as_json.stdout.splitlines()]
    assert (line["id"], line["state"]) == (key.id, "active")
    assert "web" in listed.stdout
    for out in (listed.stdout, as_json.stdout):
        assert printed[0].strip() not in out
        assert key.hash.removeprefix("sha256:") not in out

    revoked = keys(file, "revoke", printed[0].strip())
    assert (revoked.returncode, revoked.stdout) == (0, f"Key {key.id} of web is revoked.\n")
    assert read(file)[0].state(datetime.now(UTC)) == "revoked"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_refused_command_says_why_and_leaves_the_file_alone(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "keys.toml")
    ring.add("one", Scope.GENERATE)
    before = ring.file.read_bytes()
    with ring.file.with_name("keys.toml.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = keys(ring.file, "add", "two", "--scope", "admin", "--json")
    unknown, unset = keys(ring.file, "revoke", "00000000"), nidan("keys", "list")
    assert json.loads(busy.stdout)["reason"] == "KEYS_NOT_USABLE"
    assert "UNKNOWN_KEY" in unknown.stderr
    assert "`nidan keys list` names the ids." in unknown.stderr
    assert "GATEWAY_KEYS_FILE: is not set. Set it, or name the file with --file." in unset.stderr
    assert [done.returncode for done in (busy, unknown, unset)] == [1, 1, 1]
    assert ring.file.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[[keys]]", "[[key]]"), r"key: Extra inputs are not permitted"),
        (("hash", "hsah"), r"keys\.0\.hash: Field required"),
        (("sha256:", "md5:"), r"keys\.0\.hash: String should match"),
        (('"generate"', '"everything"'), r"keys\.0\.scopes\.0: Input should be"),
        (("created = 2026-11-01T12:00:00Z", "created = 2026-11-01T12:00:00"), r"keys\.0\.created: .*timezone"),
        (("\n[[keys]]", "\n[[keys]]\nexpire = 2020-01-01T00:00:00Z"), r"keys\.0\.expire: Extra inputs"),
        (("name = ", "name "), r"is not TOML"),
    ],
)
def test_a_file_with_one_wrong_entry_is_refused_whole(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    ring = Ring(tmp_path / "keys.toml")
    ring.add("one", Scope.GENERATE)
    text = ring.file.read_text()
    assert change[0] in text
    ring.file.write_text(text.replace(*change))
    with pytest.raises(KeysFileError, match=message):
        read(ring.file)


def test_a_second_key_of_the_same_id_is_refused(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "keys.toml")
    ring.add("one", Scope.GENERATE)
    table = ring.file.read_text().partition("\n\n")[2]
    ring.file.write_text(f"{table}\n{table}")
    with pytest.raises(KeysFileError, match="two keys have the same id"):
        read(ring.file)


# --- a gateway that runs ------------------------------------------------------------------------------------------


async def reason(gateway: Process, token: str) -> str:
    """The reason of the refusal, or that of an empty request for an accepted key."""
    async with stub(gateway) as lessons:
        call: Any = lessons.GenerateLesson(REQUEST, metadata=bearer(token), timeout=5)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return read_error(error).reason
    raise AssertionError("an empty request was served")


async def test_a_gateway_follows_the_keys_file_and_keeps_the_last_good_keys(
    tmp_path: Path,
) -> None:
    ring = Ring(tmp_path / "keys.toml")
    one = ring.add("one", Scope.GENERATE)
    gateway = await start("gateway", GATEWAY_KEYS_FILE=str(ring.file))
    try:
        assert await reason(gateway, one) == "INVALID_REQUEST"
        two = ring.add("two", Scope.GENERATE)
        assert await reason(gateway, two) == "INVALID_REQUEST"
        ring.file.write_text("broken")
        assert await reason(gateway, one) == "INVALID_REQUEST"
        assert await reason(gateway, two) == "INVALID_REQUEST"
        ring.file.unlink()
        assert await reason(gateway, one) == "INVALID_REQUEST"
        ring.change("one", revoked=datetime.now(UTC))
        assert [await reason(gateway, token) for token in (one, two, one)] == [
            "KEY_REVOKED",
            "INVALID_REQUEST",
            "KEY_REVOKED",
        ]
        assert await reason(gateway, f"{two}x") == "KEY_UNKNOWN"
    finally:
        assert await gateway.end() == 0
    events = [line["event"] for line in gateway.log if line["event"].startswith("keys_")]
    assert events == ["keys_read", "keys_not_read", "keys_not_read", "keys_read"]
    refused = [line["reason"] for line in gateway.log if line["event"] == "caller_refused"]
    assert refused == ["KEY_REVOKED", "KEY_UNKNOWN"]  # the second KEY_REVOKED came within ten seconds
    written = json.dumps(gateway.log)
    for token in (one, two):
        assert token[len("nidan_00000000_") :] not in written


def test_a_wrong_setting_at_start_gives_one_line_and_status_2(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "keys.toml")
    ring.add("one", Scope.GENERATE)
    ring.file.write_text("broken")
    process = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env=os.environ | FREE_PORTS | OFFLINE | {"GATEWAY_KEYS_FILE": str(ring.file)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("gateway: GATEWAY_KEYS_FILE: ")
    assert process.stderr.count("\n") == 1


async def test_a_certificate_that_cannot_be_read_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"GATEWAY_TLS_CERT_FILE": "/none", "GATEWAY_TLS_KEY_FILE": "/none"}
    with pytest.raises(SettingsError, match=r"^GATEWAY_TLS_CERT_FILE: "):
        async with gateway_with(monkeypatch, env):
            pass
