"""Certificates of a server: who may connect, what it shows, and how calls survive a rotation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from lesson.models import AttemptOutcome, Lesson, Outcome
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.auth import CertificateAuthorizer
from servicekit.errors import read_error
from servicekit.server import Ports, serving
from servicekit.settings import SettingsError
from tests.access.certificates import Authority, Identity, put, shown
from tests.access.rpcs import CONTENT, ENHANCER, HEALTH, LESSONS, REFLECTION, call_rpc, methods
from tests.model_server import Answer, ModelServer
from tests.servicekit.served import OK, health, quick, service
from tests.trio import trio


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def stage(tmp_path: Path, authority: Authority) -> Identity:
    return Identity(tmp_path / "stage", "content", authority)


@asynccontextmanager
async def stage_served(stage: Identity, **changes: Any) -> AsyncIterator[Ports]:
    values: dict[str, Any] = {"tls": stage.files, "authorizer": CertificateAuthorizer("gateway"), "reflection": True}
    async with serving(service(quick, **values | changes)) as ports:
        yield ports


@asynccontextmanager
async def stub_as(ports: Ports, credentials: grpc.ChannelCredentials) -> AsyncIterator[Any]:
    async with grpc.aio.secure_channel(f"127.0.0.1:{ports.grpc}", credentials) as channel:
        yield lesson_service_pb2_grpc.LessonServiceStub(channel)


async def answer(ports: Ports, credentials: grpc.ChannelCredentials) -> Any:
    async with stub_as(ports, credentials) as stub:
        return await stub.GenerateLesson(pb.GenerateLessonRequest(), timeout=3)


async def refusal(ports: Ports, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answer(ports, credentials)
    code: grpc.StatusCode = refused.value.code()
    return code


# --- who may connect --------------------------------------------------------------------------------------------------


async def test_the_gateways_identity_is_accepted(tmp_path: Path, authority: Authority, stage: Identity) -> None:
    gateway = Identity(tmp_path / "gateway", "gateway", authority)
    async with stage_served(stage) as ports:
        assert await answer(ports, gateway.credentials()) == OK


async def test_no_certificate_another_authoritys_and_an_expired_one_get_no_connection(
    tmp_path: Path, authority: Authority, stage: Identity
) -> None:
    stranger = Identity(tmp_path / "stranger", "gateway", Authority())
    expired = Identity(tmp_path / "expired", "gateway", authority, expired=True)
    async with stage_served(stage) as ports:
        for credentials in (
            grpc.ssl_channel_credentials(authority.pem),
            stranger.credentials(trusted=authority.pem),
            expired.credentials(),
        ):
            assert await refusal(ports, credentials) is grpc.StatusCode.UNAVAILABLE


async def test_the_gateway_calls_no_stage_of_another_authority_or_expired(tmp_path: Path, authority: Authority) -> None:
    gateway = Identity(tmp_path / "gateway", "gateway", authority)
    false = Identity(tmp_path / "false", "content", Authority())
    put(false.folder / "ca.crt", authority.pem)  # so that only the gateway's own check refuses it
    for stage in (false, Identity(tmp_path / "expired", "content", authority, expired=True)):
        async with stage_served(stage) as ports:
            assert await refusal(ports, gateway.credentials()) is grpc.StatusCode.UNAVAILABLE


async def test_plaintext_gets_no_answer_from_a_port_with_tls(stage: Identity) -> None:
    async with stage_served(stage) as ports, grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        for path, method in methods(LESSONS, HEALTH, REFLECTION):
            error = await call_rpc(channel, path, method)
            assert error is not None
            assert error.status is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_name_is_refused_at_every_rpc(
    tmp_path: Path, authority: Authority, stage: Identity
) -> None:
    other = Identity(tmp_path / "other", "enhancer", authority)
    async with (
        stage_served(stage) as ports,
        grpc.aio.secure_channel(f"127.0.0.1:{ports.grpc}", other.credentials()) as channel,
    ):
        for path, method in methods(LESSONS, HEALTH, REFLECTION):
            error = await call_rpc(channel, path, method)
            assert error is not None, path
            assert (error.status, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_NOT_ACCEPTED"), path
            assert "enhancer" in error.message


async def test_the_gateways_identity_is_accepted_at_every_rpc(
    tmp_path: Path, authority: Authority, stage: Identity
) -> None:
    gateway = Identity(tmp_path / "gateway", "gateway", authority)
    async with (
        stage_served(stage) as ports,
        grpc.aio.secure_channel(f"127.0.0.1:{ports.grpc}", gateway.credentials()) as channel,
    ):
        for path, method in methods(LESSONS, HEALTH, REFLECTION):
            assert await call_rpc(channel, path, method) is None, path


async def test_any_of_the_alternative_names_counts(tmp_path: Path, authority: Authority, stage: Identity) -> None:
    caller = Identity(tmp_path / "caller", "whatever", authority)
    async with stage_served(stage, authorizer=CertificateAuthorizer("localhost")) as ports:
        assert await answer(ports, caller.credentials()) == OK


async def test_the_health_port_beside_it_is_plaintext_and_answers_nothing_but_health(stage: Identity) -> None:
    async with stage_served(stage) as ports:
        assert await health(ports.health) == "SERVING"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.health}") as channel:
            for path, method in methods(HEALTH):
                assert await call_rpc(channel, path, method) is None, path
            for path, method in methods(LESSONS, CONTENT, ENHANCER, REFLECTION):
                error = await call_rpc(channel, path, method)
                assert error is not None, path
                assert error.status is grpc.StatusCode.UNIMPLEMENTED, path


async def test_a_malformed_request_is_parsed_only_after_authorization(
    tmp_path: Path, authority: Authority, stage: Identity
) -> None:
    async def sent(name: str) -> str:
        credentials = Identity(tmp_path / name, name, authority).credentials()
        async with grpc.aio.secure_channel(f"127.0.0.1:{ports.grpc}", credentials) as channel:
            call: Any = channel.unary_unary("/lesson.v1.LessonService/GenerateLesson")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"\xff\xff", timeout=3)
        return read_error(refused.value).reason

    async with stage_served(stage) as ports:
        assert await sent("gateway") == "NOT_UNDERSTOOD"
        assert await sent("stranger") == "CALLER_NOT_ACCEPTED"


# --- files --------------------------------------------------------------------------------------------------------


def _missing(stage: Identity) -> None:
    (stage.folder / "tls.key").unlink()


def _of_another(stage: Identity) -> None:
    put(stage.folder / "tls.key", Authority().issue("other")[1])


def _no_authority(stage: Identity) -> None:
    put(stage.folder / "ca.crt", b"nothing")


def _no_key(stage: Identity) -> None:
    put(stage.folder / "tls.key", (stage.folder / "tls.crt").read_bytes())


BROKEN: dict[str, tuple[Callable[[Identity], None], str]] = {
    "missing": (_missing, r"^TLS_KEY_FILE: cannot read .*tls.key: No such file or directory\.$"),
    "of another": (_of_another, r"^TLS_KEY_FILE: .*tls.key is not the key of TLS_CERT_FILE \(.*tls.crt\)\.$"),
    "no key": (_no_key, r"^TLS_KEY_FILE: .*tls.key has no private key in PEM form without a password\.$"),
    "no authority": (_no_authority, r"^TLS_CA_FILE: .*ca.crt has no certificate in PEM form\.$"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_files_that_cannot_be_used_stop_the_server_before_a_port_is_open(stage: Identity, how: str) -> None:
    breaks, message = BROKEN[how]
    breaks(stage)
    with pytest.raises(SettingsError, match=message):
        async with stage_served(stage):
            pass


async def test_broken_or_half_changed_files_leave_the_last_good_certificate(
    tmp_path: Path, authority: Authority, stage: Identity
) -> None:
    gateway = Identity(tmp_path / "gateway", "gateway", authority)
    async with stage_served(stage) as ports:
        address = ("127.0.0.1", ports.grpc)
        before = await asyncio.to_thread(shown, address)
        cert, key = authority.issue("content")
        put(stage.folder / "tls.crt", cert)
        assert await asyncio.to_thread(shown, address) == before
        assert await answer(ports, gateway.credentials()) == OK
        put(stage.folder / "tls.key", key)
        assert await asyncio.to_thread(shown, address) != before
        (stage.folder / "ca.crt").unlink()
        assert await answer(ports, gateway.credentials()) == OK


async def test_a_replaced_authority_gets_no_new_connection(
    tmp_path: Path, authority: Authority, stage: Identity
) -> None:
    gateway = Identity(tmp_path / "gateway", "gateway", authority)
    old, new = gateway.credentials(), Authority()
    async with stage_served(stage) as ports:
        assert await answer(ports, old) == OK
        stage.renew(new)
        assert await refusal(ports, grpc.ssl_channel_credentials(new.pem)) is grpc.StatusCode.UNAVAILABLE
        assert await refusal(ports, gateway.credentials(trusted=new.pem)) is grpc.StatusCode.UNAVAILABLE
        gateway.renew(new)
        assert await answer(ports, gateway.credentials()) == OK


# --- the trio -----------------------------------------------------------------------------------------------------


async def test_lessons_survive_a_rotation_of_authority_and_certificates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: ModelServer
) -> None:
    """The rotation of SECURITY.md: trust both authorities, renew every certificate, then trust the new one alone."""
    old, new = Authority(), Authority()
    house = Identity(tmp_path / "house", "gateway", old)
    model.always["stage1"] = Answer(delay_seconds=0.3)
    made: list[Lesson] = []
    rotated = asyncio.Event()

    async def lessons() -> None:
        while not rotated.is_set():
            lesson, _ = await running.generate()
            made.append(lesson)

    async with trio(monkeypatch, model, house.env()) as running:
        address = ("127.0.0.1", running.content.grpc)
        before = await asyncio.to_thread(shown, address)
        async with asyncio.TaskGroup() as workers:
            for _ in range(2):
                workers.create_task(lessons())
            await asyncio.sleep(0.3)
            for authority, trusted in ((old, old.pem + new.pem), (new, old.pem + new.pem), (new, new.pem)):
                house.renew(authority, trusted)
                await asyncio.sleep(0.3)
            rotated.set()
        assert await asyncio.to_thread(shown, address) != before
        lesson, _ = await running.generate()
        house.name = "somebody"
        house.renew(new)
        refused = await running.refused()
    assert len(made) >= 2
    for one in (*made, lesson):
        assert one.outcome is Outcome.COMPLETE
        assert {attempt.outcome for attempt in one.attempts} == {AttemptOutcome.OK}
    assert "certificate has localhost, somebody" in refused.message  # the gateway does show its newest


async def test_a_stage_that_refuses_the_gateways_name_fails_the_lesson_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: ModelServer, authority: Authority
) -> None:
    house = Identity(tmp_path / "house", "gateway", authority)
    async with trio(monkeypatch, model, house.env() | {"TLS_CLIENT_NAME": "somebody"}) as running:
        error = await running.refused()
    assert "PERMISSION_DENIED" in error.message
    assert "TLS_CLIENT_NAME" in error.message
    assert not model.calls
