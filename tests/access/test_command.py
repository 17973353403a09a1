"""The command line at a gateway with keys and TLS, and its errors when the key or the authority is missing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.access.keys import Scope
from nidan.checks.machine import access_finding
from nidan.credentials import Access, AccessError
from nidan.services.plan import Providers, enhancer_plan, private_plan
from tests.access.callers import Ring
from tests.access.certificates import Authority, Identity
from tests.model_server import ModelServer
from tests.nidan.command import nidan, nidan_process
from tests.trio import trio

REMOTE = "lessons.example:443"


@dataclass
class Guarded:
    """A gateway with both, for one test."""

    address: str
    ca_file: str
    ring: Ring


@pytest.fixture
async def guarded(monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path) -> AsyncIterator[Guarded]:
    own = Identity(tmp_path / "own", "gateway", Authority())
    ring = Ring(tmp_path / "keys.toml")
    env = {
        "GATEWAY_KEYS_FILE": str(ring.file),
        "GATEWAY_TLS_CERT_FILE": str(own.folder / "tls.crt"),
        "GATEWAY_TLS_KEY_FILE": str(own.folder / "tls.key"),
    }
    ring.add("reviewer", Scope.REVIEW)
    async with trio(monkeypatch, model, env) as running:
        yield Guarded(f"127.0.0.1:{running.gateway.grpc}", str(own.folder / "ca.crt"), ring)


async def test_without_the_key_or_the_authority_the_command_says_what_to_do(guarded: Guarded, tmp_path: Path) -> None:
    token = guarded.ring.add("writer", Scope.GENERATE)
    key_file = tmp_path / "my.key"
    key_file.write_text(f"{token}\n")
    ask = ("generate", "JF:349", "--json", "--address", guarded.address)
    over_tls = (*ask, "--ca-file", guarded.ca_file)
    by_file, keyless, narrow, plain, untrusting = await asyncio.gather(
        asyncio.to_thread(nidan_process, *over_tls, "--key-file", str(key_file)),
        asyncio.to_thread(nidan_process, *over_tls[:2], *over_tls[3:]),
        asyncio.to_thread(nidan_process, *over_tls, NIDAN_API_KEY=guarded.ring.tokens["reviewer"]),
        asyncio.to_thread(nidan_process, *ask, NIDAN_API_KEY=token),
        asyncio.to_thread(nidan_process, *ask, "--tls", NIDAN_API_KEY=token),
    )
    assert by_file.returncode == 0, by_file.stderr
    assert json.loads(by_file.stdout)["metadata"]["outcome"] == "COMPLETE"
    assert keyless.returncode == 1
    assert "KEY_MISSING" in keyless.stderr
    assert "Set NIDAN_API_KEY to your key, or name its file with --key-file." in keyless.stderr
    assert json.loads(narrow.stdout)["reason"] == "SCOPE_MISSING"
    for refused in (plain, untrusting):
        assert (refused.returncode, json.loads(refused.stdout)["reason"]) == (1, "UNAVAILABLE")
    for run in (by_file, keyless, narrow, plain, untrusting):
        assert token not in run.stdout + run.stderr


async def test_a_batch_goes_with_key_and_authority_of_the_environment(guarded: Guarded, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("id\nJF:349\n")
    run = await asyncio.to_thread(
        nidan_process,
        *("batch", str(rows), "--out", str(tmp_path / "out"), "--address", guarded.address),
        NIDAN_API_KEY=guarded.ring.add("writer", Scope.GENERATE),
        NIDAN_CA_FILE=guarded.ca_file,
    )
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "out").glob("*.json"))) == 1


def test_a_key_is_never_sent_in_plaintext_but_to_this_machine() -> None:
    access = Access.from_environment({"NIDAN_API_KEY": "nidan_x"})
    for address in ("127.0.0.1:1", "localhost:1", "[::1]:1"):
        access.check(address)
    with pytest.raises(AccessError, match="in plaintext: add --tls"):
        access.check(REMOTE)
    Access.from_environment({"NIDAN_API_KEY": "nidan_x", "NIDAN_TLS": "true"}).check(REMOTE)
    assert "nidan_x" not in repr(access)
    run = nidan("generate", "JF:349", "--address", REMOTE, NIDAN_API_KEY="nidan_x")
    assert run.returncode == 2
    assert "plaintext" in run.stderr


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"NIDAN_API_KEY": "two words"}, "NIDAN_API_KEY"),
        ({"NIDAN_API_KEY": "鍵"}, "NIDAN_API_KEY"),
        ({"NIDAN_TLS": "perhaps"}, "NIDAN_TLS"),
        ({"NIDAN_CA_FILE": "/nonexistent"}, "NIDAN_CA_FILE"),
        ({"NIDAN_CA_FILE": __file__}, "NIDAN_CA_FILE"),
    ],
)
def test_a_contradiction_names_its_variable(environment: dict[str, str], name: str) -> None:
    with pytest.raises(AccessError) as raised:
        Access.from_environment(environment)
    assert raised.value.name == name


def test_an_empty_key_file_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    with pytest.raises(AccessError, match="holds no key"):
        Access.from_environment({}, key_file=tmp_path / "key")


def test_the_doctor_says_how_a_gateway_would_be_called_and_never_the_key() -> None:
    finding = access_finding({"NIDAN_API_KEY": "nidan_x", "NIDAN_TLS": "1", "NIDAN_ADDRESS": REMOTE})
    assert finding.state == "ok"
    assert finding.message == f"{REMOTE}, TLS, NIDAN_API_KEY is set (not called)"
    in_plaintext = access_finding({"NIDAN_API_KEY": "nidan_x", "NIDAN_ADDRESS": REMOTE})
    assert in_plaintext.state == "fail"
    assert "nidan_x" not in finding.message + in_plaintext.message


def test_services_of_one_command_need_no_key_and_no_tls() -> None:
    said = {"TLS_CERT_FILE": "/x", "GATEWAY_TLS_KEY_FILE": "/x", "GATEWAY_KEYS_FILE": "/x", "NIDAN_API_KEY": "x"}
    limits = {"GATEWAY_CALLER_LESSONS_PER_MINUTE": "1", "GATEWAY_ALLOW_ANONYMOUS": "true"}
    for plan in (private_plan(said | limits, Providers("offline", "offline")), enhancer_plan(said | limits)):
        assert not (said | limits).keys() & plan.environment.keys()
