"""Who may call the gateway: every RPC with every kind of key and without one, and each caller's limits."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.access.auth import RPC_POLICIES, GatewayAuthorizer
from gateway.access.keys import LiveKeys, Scope
from gateway.access.quotas import Limits
from gateway.attempts.budget import DayBudget
from gateway.settings import GatewaySettings
from lesson.v1 import lesson_service_pb2 as pb
from lesson.v1 import lesson_service_pb2_grpc
from servicekit.errors import RemoteError, read_error
from servicekit.server import serving
from servicekit.settings import SettingsError, load
from tests.access.callers import NOW, Ring, bearer, gateway_with, ring_of_every_kind
from tests.access.rpcs import HEALTH, LESSONS, REFLECTION, Metadata, call_rpc, methods
from tests.model_server import Answer, ModelServer
from tests.servicekit.served import quick, scraped, service
from tests.trio import DAY, trio

SERVED = dict(methods(LESSONS, HEALTH, REFLECTION))
DEAR = {"CANDO_AI_STAGE2_MODEL": "gpt-4.1", "CANDO_AI_STAGE2_FALLBACK_MODELS": "gpt-4o-mini,gpt-6-luna"}
"""A chain whose lesson takes enough of ten cents that a second one does not fit."""
OPEN = {f"/grpc.health.v1.Health/{name}" for name in ("Check", "List", "Watch")}
SPEC = pb.LessonSpec(can_do_id="JF:349")


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return ring_of_every_kind(tmp_path / "keys.toml")


def refused_as(error: RemoteError | None) -> tuple[grpc.StatusCode, str] | None:
    """Status and reason of a refusal by the authorizer; None for an accepted call, whatever its result."""
    if error is None or error.status not in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return None
    return error.status, error.reason


# --- every RPC ----------------------------------------------------------------------------------------------------


def test_every_rpc_has_a_policy_and_every_policy_an_rpc() -> None:
    assert {path for path, _ in methods(LESSONS)} <= RPC_POLICIES.keys()
    assert RPC_POLICIES.keys() <= SERVED.keys()
    assert {path for path, rule in RPC_POLICIES.items() if rule.scope is None} == OPEN


async def test_every_rpc_refuses_callers_without_a_valid_key(monkeypatch: pytest.MonkeyPatch, ring: Ring) -> None:
    stranger = Ring(ring.file.with_name("others.toml")).add("stranger", *Scope)
    known = ring.tokens["generate"]
    of_another_secret = f"{known[:15]}{stranger[15:]}"
    unknown = (stranger, of_another_secret, f"{known}x", known[:-1], "")
    missing: list[Metadata] = [(), (("x-api-key", known),)]
    cases: list[tuple[Metadata, str]] = [
        *((metadata, "KEY_MISSING") for metadata in missing),
        *((bearer(token), "KEY_UNKNOWN") for token in unknown),
        ((("authorization", known),), "KEY_UNKNOWN"),
        ((("authorization", f"Basic {known}"),), "KEY_UNKNOWN"),
        (bearer(ring.tokens["expired"]), "KEY_EXPIRED"),
        (bearer(ring.tokens["revoked"]), "KEY_REVOKED"),
    ]
    async with gateway_with(monkeypatch, {"GATEWAY_KEYS_FILE": str(ring.file)}) as (_, channel):
        for metadata, reason in cases:
            for path, method in SERVED.items():
                result = refused_as(await call_rpc(channel, path, method, metadata))
                if path in OPEN:
                    assert result is None, path
                else:
                    assert result == (grpc.StatusCode.UNAUTHENTICATED, reason), (path, metadata)


@pytest.mark.parametrize("scope", Scope)
async def test_every_rpc_is_open_to_its_scope_and_closed_to_others(
    monkeypatch: pytest.MonkeyPatch, ring: Ring, scope: Scope
) -> None:
    async with gateway_with(monkeypatch, {"GATEWAY_KEYS_FILE": str(ring.file)}) as (_, channel):
        for path, method in SERVED.items():
            result = refused_as(await call_rpc(channel, path, method, bearer(ring.tokens[scope])))
            wanted = None if path in RPC_POLICIES and RPC_POLICIES[path].scope in (None, scope) else "SCOPE_MISSING"
            wanted = "RPC_NOT_OPEN" if path not in RPC_POLICIES else wanted
            assert result == (wanted and (grpc.StatusCode.PERMISSION_DENIED, wanted)), path


async def test_an_rpc_without_a_policy_is_refused_even_with_every_scope(ring: Ring) -> None:
    def register(server: grpc.aio.Server) -> None:
        handler: Any = grpc.unary_unary_rpc_method_handler(quick)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("lesson.v1.New", {"Do": handler})])

    everything = ring.add("everything", *Scope)
    authorizer = GatewayAuthorizer(
        keys=LiveKeys(ring.file),
        anonymous=frozenset(Scope),
        limits=Limits(),
        above=DayBudget(None, lambda: NOW),
        now=lambda: NOW,
        clock=lambda: 0.0,
    )
    async with (
        serving(service(quick, register=register, authorizer=authorizer)) as ports,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        call: Any = channel.unary_unary("/lesson.v1.New/Do")
        for metadata in ((), bearer(everything)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"", metadata=metadata, timeout=3)
            assert read_error(refused.value).reason == "RPC_NOT_OPEN"


async def test_control_and_direction_characters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = ("\u202e", "\u2066", "\u2028", "\U000e0041", "\x1b", "\ue000")
    names = ("topic", "can_do_text", "can_do_id", "model")
    async with gateway_with(monkeypatch, {}) as (_, channel):
        stub: Any = lesson_service_pb2_grpc.LessonServiceStub(channel)
        for name, character in itertools.product(names, hidden):
            spec = pb.LessonSpec(**{"topic": "食", "level": 1, name: f"食{character}"})  # type: ignore[arg-type]
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GenerateLesson(pb.GenerateLessonRequest(spec=spec), timeout=3)
            error = read_error(refused.value)
            assert error.violations[0].field == f"spec.{name}"
            assert error.violations[0].description.startswith("holds U+")


# --- anonymous callers --------------------------------------------------------------------------------------------


async def test_on_loopback_without_a_keys_file_callers_need_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway_with(monkeypatch, {}) as (_, channel):
        for path, method in SERVED.items():
            for metadata in ((), (("authorization", "Bearer whatever"),)):
                error = await call_rpc(channel, path, method, metadata)
                assert refused_as(error) is None


async def test_anonymous_callers_only_make_lessons_and_a_wrong_key_stays_wrong(
    monkeypatch: pytest.MonkeyPatch, ring: Ring
) -> None:
    env = {"GATEWAY_KEYS_FILE": str(ring.file), "GATEWAY_ALLOW_ANONYMOUS": "true"}
    async with gateway_with(monkeypatch, env) as (_, channel):
        result = {path: refused_as(await call_rpc(channel, path, method)) for path, method in SERVED.items()}
        lessons = {path for path, _ in methods(LESSONS)}
        assert {path for path, refusal in result.items() if refusal is None} == lessons | OPEN
        path, method = next(methods(LESSONS))
        for name, wanted in (("revoked", "KEY_REVOKED"), ("admin", "SCOPE_MISSING")):
            refusal = refused_as(await call_rpc(channel, path, method, bearer(ring.tokens[name])))
            assert refusal
            assert refusal[1] == wanted


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "10.0.0.7", "gateway.internal"])
def test_without_keys_only_loopback_is_bound_unless_anonymous_is_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bind: str
) -> None:
    monkeypatch.setenv("BIND", bind)
    with pytest.raises(SettingsError, match=r"BIND is .* GATEWAY_KEYS_FILE .* GATEWAY_ALLOW_ANONYMOUS=true"):
        load(GatewaySettings)
    for name, value in (("GATEWAY_KEYS_FILE", str(tmp_path)), ("GATEWAY_ALLOW_ANONYMOUS", "true")):
        with monkeypatch.context() as said:
            said.setenv(name, value)
            assert load(GatewaySettings).bind == bind


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_keys(monkeypatch: pytest.MonkeyPatch, bind: str) -> None:
    monkeypatch.setenv("BIND", bind)
    assert load(GatewaySettings).binds_loopback


def test_half_a_certificate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLS_CERT_FILE", "/x")
    with pytest.raises(SettingsError, match="TLS_KEY_FILE and TLS_CA_FILE not set"):
        load(GatewaySettings)
    monkeypatch.delenv("TLS_CERT_FILE")
    monkeypatch.setenv("GATEWAY_TLS_KEY_FILE", "/x")
    with pytest.raises(SettingsError, match="GATEWAY_TLS_CERT_FILE not set"):
        load(GatewaySettings)


# --- each caller's limits -----------------------------------------------------------------------------------------


async def error_of(call: Any) -> RemoteError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return read_error(refused.value)


async def test_a_caller_above_its_rate_gets_the_limit_and_a_wait_and_others_pass(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path
) -> None:
    ring = Ring(tmp_path / "keys.toml")
    ring.add("one", Scope.GENERATE)
    ring.add("two", Scope.GENERATE)
    ring.add("free", Scope.GENERATE, lessons_per_minute=0)
    env = {"GATEWAY_KEYS_FILE": str(ring.file), "GATEWAY_CALLER_LESSONS_PER_MINUTE": "1"}
    request = pb.GenerateLessonRequest(spec=SPEC)
    async with trio(monkeypatch, model, env) as running:

        def lesson(name: str) -> Any:
            return running.stub.GenerateLesson(request, metadata=bearer(ring.tokens[name]), timeout=20)

        await lesson("one")
        error = await error_of(lesson("one"))
        await asyncio.gather(lesson("two"), lesson("free"), lesson("free"))
        ring.change("one", lessons_per_minute=600)
        await asyncio.sleep(0.15)
        await lesson("one")

    assert (error.status, error.reason, error.retryable) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "CALLER_RATE",
        True,
    )
    assert [violation.field for violation in error.violations] == ["GATEWAY_CALLER_LESSONS_PER_MINUTE"]
    assert ring.kept["one"].id in error.violations[0].description
    assert error.retry_after_seconds
    assert 30 < error.retry_after_seconds <= 60
    assert len(model.asked("stage1")) == 5


async def test_a_caller_has_a_limit_of_lessons_at_once(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path
) -> None:
    ring = Ring(tmp_path / "keys.toml")
    metadata = bearer(ring.add("one", Scope.GENERATE, lessons_at_once=1))
    model.script["stage1"] = [Answer(delay_seconds=1.0)]
    request = pb.StreamLessonRequest(spec=SPEC)
    async with trio(monkeypatch, model, {"GATEWAY_KEYS_FILE": str(ring.file)}) as running:
        first = running.stub.StreamLesson(request, metadata=metadata, timeout=20)
        await anext(aiter(first))
        error = await error_of(anext(aiter(running.stub.StreamLesson(request, metadata=metadata, timeout=20))))
        first.cancel()
        async with asyncio.timeout(5):
            while 'nidan_rpcs_in_flight{service="gateway"} 0.0' not in await running.metrics():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        again = [event async for event in running.stub.StreamLesson(request, metadata=metadata, timeout=20)]
    assert (error.reason, error.retry_after_seconds) == ("CALLER_AT_ONCE", 5.0)
    assert again[-1].HasField("completed")


async def test_a_caller_over_its_daily_cost_waits_for_the_next_day_alone(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path
) -> None:
    ring = Ring(tmp_path / "keys.toml")
    poor = ring.add("poor", Scope.GENERATE, daily_cost_usd=0.1)
    rich = ring.add("rich", Scope.GENERATE)
    today = [DAY]
    request = pb.GenerateLessonRequest(spec=SPEC)
    env = {"GATEWAY_KEYS_FILE": str(ring.file)} | DEAR
    async with trio(monkeypatch, model, env, now=lambda: today[0]) as running:

        def lesson(token: str) -> Any:
            return running.stub.GenerateLesson(request, metadata=bearer(token), timeout=20)

        cost = json.loads((await lesson(poor)).master_json)["metadata"]["costUsd"]
        error = await error_of(lesson(poor))
        asked_before = len(model.calls)
        ring.change("poor", daily_cost_usd=cost / 2)
        used_up = await error_of(lesson(poor))
        assert len(model.calls) == asked_before
        await lesson(rich)
        metrics = await running.metrics()
        today[0] = DAY.replace(day=DAY.day + 1)
        ring.change("poor", daily_cost_usd=0.1)
        await lesson(poor)

    assert 0.0137 < cost < 0.1
    assert (error.reason, used_up.reason) == ("BUDGET_EXCEEDED", "CALLER_DAILY_COST")
    for result in (error, used_up):
        assert result.status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not result.retryable
        assert result.retry_after_seconds == 24 * 3600
        assert [violation.field for violation in result.violations] == ["GATEWAY_CALLER_DAILY_COST_USD"]
    assert 'nidan_budget_refusals_total{scope="caller"} 1.0' in metrics


async def test_callers_share_the_days_budget_above_their_own(
    monkeypatch: pytest.MonkeyPatch, model: ModelServer, tmp_path: Path
) -> None:
    ring = Ring(tmp_path / "keys.toml")
    one, two = ring.add("one", Scope.GENERATE), ring.add("two", Scope.GENERATE)
    env = {
        "GATEWAY_KEYS_FILE": str(ring.file),
        "DAILY_COST_LIMIT_USD": "0.1",
        "DAILY_COST_SHARE_PER_CALLER": "1",
    } | DEAR
    request = pb.GenerateLessonRequest(spec=SPEC)
    async with trio(monkeypatch, model, env) as running:
        first = await running.stub.GenerateLesson(request, metadata=bearer(one), timeout=20)
        error = await error_of(running.stub.GenerateLesson(request, metadata=bearer(two), timeout=20))
    assert first.lesson.outcome
    assert [violation.field for violation in error.violations] == ["DAILY_COST_LIMIT_USD"]
    assert error.retry_after_seconds == 24 * 3600


async def test_no_metric_names_a_caller_and_refusals_count_by_their_status(
    monkeypatch: pytest.MonkeyPatch, ring: Ring
) -> None:
    async with gateway_with(monkeypatch, {"GATEWAY_KEYS_FILE": str(ring.file)}) as (ports, channel):
        path, method = next(methods(LESSONS))
        for name in ("generate", "admin", "revoked"):
            await call_rpc(channel, path, method, bearer(ring.tokens[name]))
        metrics = await scraped(ports.metrics)
    for key in ring.kept.values():
        assert key.id not in metrics
    for code in ("INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED"):
        assert f'grpc_server_handled_total{{grpc_code="{code}",grpc_method="GenerateLesson"' in metrics
