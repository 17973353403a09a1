"""A gateway that runs, and a catalogue that changes under it: through the wire, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from gateway import service as gateway_service
from gateway.settings import GatewaySettings
from lesson.models import Outcome
from lesson.v1 import lesson_service_pb2 as pb
from servicekit.errors import RemoteError, read_error
from servicekit.settings import SettingsError
from tests.catalogue.lists import ROW, Kept, row, rows
from tests.model_server import ModelServer
from tests.services.processes import Process, start, stub
from tests.trio import FREE_PORTS, trio

EN = "JF Can-do (English)"


async def test_an_import_is_what_the_next_lesson_of_a_running_gateway_is_about(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, kept: Kept
) -> None:
    async with trio(monkeypatch, model, {"CATALOGUE_FILE": str(kept.file)}) as running:
        before, _ = await running.generate("JF:349")
        kept.fill([row(349)])
        after, master = await running.generate("ｊｆ：349")
        ours, _ = await running.generate("nidan:food-a1-1")

    assert before.brief.can_do_text.startswith("Can say in simple words what one likes to eat")
    assert (after.outcome, after.brief.can_do_id, after.brief.topic) == (Outcome.COMPLETE, "JF:349", "食生活")
    assert after.brief.can_do_text == ROW[EN]
    assert after.brief.can_do_text_ja == ROW["JF Can-do (日本語)"]
    assert master["canDoId"] == "JF:349"
    assert ours.brief.can_do_text == before.brief.can_do_text
    briefs = [call.data["brief"]["canDoText"] for call in model.asked("stage1")]
    assert briefs == [before.brief.can_do_text, ROW[EN], before.brief.can_do_text]


async def test_an_unknown_id_is_refused_with_the_way_to_it_until_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, kept: Kept
) -> None:
    async with trio(monkeypatch, model, {"CATALOGUE_FILE": str(kept.file)}) as running:
        unknown = await running.refused("CEFR:12")
        assert (unknown.status, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_CAN_DO")
        assert "import the list that contains it (nidan catalogue import FILE)" in unknown.message
        kept.fill([row(12, 種別="CEFR Can-do"), row(13, 種別="CEFR Can-do")])
        assert "Nearest: CEFR:13 (食生活, A1), CEFR:12 (食生活, A1)." in (await running.refused("CEFR:14")).message
        call = running.stub.StreamLesson(pb.StreamLessonRequest(spec=pb.LessonSpec(can_do_id="CEFR:12")), timeout=20)
        first = await anext(aiter(call))
        call.cancel()
    assert first.accepted.brief.can_do_text == ROW[EN]


# --- a gateway as a process ---------------------------------------------------------------------------------------


async def _gateway(kept: Kept) -> Process:
    """With no stage behind it: a Can-do that it knows fails there, and one that it does not know before."""
    nowhere = {"CONTENT_ADDRESS": "127.0.0.1:1", "ENHANCER_ADDRESS": "127.0.0.1:1", "STAGE_RESTART_SECONDS": "0"}
    return await start("gateway", CATALOGUE_FILE=str(kept.file), **nowhere)


async def _answer(gateway: Process, can_do_id: str) -> RemoteError:
    request = pb.GenerateLessonRequest(spec=pb.LessonSpec(can_do_id=can_do_id))
    async with stub(gateway) as lessons:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await lessons.GenerateLesson(request, timeout=20)
    return read_error(refused.value)


async def _knows(gateway: Process, can_do_id: str) -> bool:
    reason = (await _answer(gateway, can_do_id)).reason
    assert reason in ("UNKNOWN_CAN_DO", "STAGE1_UPSTREAM")
    return reason == "STAGE1_UPSTREAM"


async def test_a_file_that_breaks_is_logged_once_and_the_last_good_state_serves_on(kept: Kept) -> None:
    gateway = await _gateway(kept)
    try:
        assert not await _knows(gateway, "JF:2")
        kept.fill(rows(3))
        assert await _knows(gateway, "JF:2")
        good = kept.file.read_bytes()
        kept.file.write_bytes(good[:-100])
        assert await _knows(gateway, "JF:2")
        assert await _knows(gateway, "JF:3")
        kept.file.write_bytes(good)
        kept.fill(rows(4))
        assert await _knows(gateway, "JF:4")
        kept.file.unlink()
        assert not await _knows(gateway, "JF:4")
        assert await _knows(gateway, "JF:349")
    finally:
        assert await gateway.end() == 0
    told = [line for line in gateway.log if line["event"].startswith("catalogue_")]
    assert [(line["event"], line.get("entries_imported")) for line in told] == [
        ("catalogue_read", 3),
        ("catalogue_not_read", None),
        ("catalogue_read", 4),
        ("catalogue_read", 0),
    ]
    assert (told[1]["level"], told[1]["file"]) == ("error", str(kept.file))
    assert "Invalid JSON" in told[1]["error"]


async def test_what_was_imported_before_is_there_from_the_start(kept: Kept) -> None:
    kept.fill(rows(3))
    gateway = await _gateway(kept)
    try:
        assert await _knows(gateway, "JF:3")
    finally:
        assert await gateway.end() == 0
    assert not [line for line in gateway.log if line["event"].startswith("catalogue_")]


def test_a_broken_file_ends_a_gateway_at_start_and_names_the_setting(kept: Kept) -> None:
    kept.fill(rows(3))
    kept.file.write_bytes(kept.file.read_bytes().replace(b'"JF:2"', b'"JF:9"')[:-20])
    environment = os.environ | FREE_PORTS | {"CATALOGUE_FILE": str(kept.file)}
    ended = subprocess.run(
        [sys.executable, "-m", "gateway"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"gateway: CATALOGUE_FILE: {kept.file}")
    assert ended.stderr.count("\n") == 1


async def test_a_catalogue_that_is_a_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^CATALOGUE_FILE: cannot read {tmp_path}"):
        await gateway_service.build(GatewaySettings(catalogue_file=str(tmp_path)))
