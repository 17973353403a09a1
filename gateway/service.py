"""Puts the gateway together from its settings: the composition root."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.access.auth import GatewayAuthorizer
from gateway.access.keys import KeysFileError, LiveKeys, Scope
from gateway.access.quotas import Limits
from gateway.api.servicer import FULL_NAME, LessonServicer
from gateway.attempts.budget import DayBudget
from gateway.attempts.costs import check_limit, sections_usd
from gateway.attempts.ledger import MemoryLedger
from gateway.catalogue.entries import Catalogue
from gateway.catalogue.local_file import CatalogueFileError, LiveCatalogue
from gateway.metrics import LessonMetrics
from gateway.pipeline import Pipeline
from gateway.runs.context import RunConfig
from gateway.runs.stage_clients import Upstream
from gateway.settings import RUN_MARGIN_SECONDS, GatewaySettings
from lesson.models import AttemptKind, AttemptOutcome, SectionName, SectionState
from servicekit.server import Service
from servicekit.settings import SettingsError
from servicekit.telemetry import Registry, logger
from servicekit.tls import CertificateFiles, identity
from servicekit.tracing import tracing

NAME = "gateway"
MAX_REQUEST_BYTES = 64 * 1024
"""A valid request has some thousand characters; a larger message is refused unread."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def build(
    settings: GatewaySettings, ledger: MemoryLedger | None = None, now: Callable[[], datetime] = _utc_now
) -> Service:
    """Makes the real adapters inside the running loop; `serving` or `run` opens the ports."""
    registry = Registry()
    upstream = Upstream(settings.content_address, settings.enhancer_address, identity(settings))
    day = DayBudget(settings.daily_cost_limit_usd or None, now)
    pipeline = Pipeline(
        config=_run_config(settings, now()),
        upstream=upstream,
        catalogue=_catalogue(settings),
        metrics=metrics_at_zero(registry, settings),
        ledger=ledger or MemoryLedger(),
        now=now,
        day=day,
    )
    servicer = LessonServicer(pipeline, settings.lesson_deadline_seconds)
    return Service(
        name=NAME,
        bind=settings.bind,
        health_bind=settings.health_bind,
        metrics_bind=settings.metrics_bind,
        port=settings.gateway_port,
        health_port=settings.gateway_health_port,
        metrics_port=settings.gateway_metrics_port,
        grpc_names=(FULL_NAME,),
        register=servicer.register,
        registry=registry,
        longest_call_seconds=settings.lesson_deadline_seconds,
        calls_limit=settings.lessons_limit,
        authorizer=_authorizer(settings, day, now),
        tls=_own_certificate(settings),
        max_request_bytes=MAX_REQUEST_BYTES,
        tracing=tracing(NAME, settings),
        reflection=settings.grpc_reflection,
        shutdown_delay_seconds=settings.shutdown_delay_seconds,
        close=(upstream.close,),
    )


def _authorizer(settings: GatewaySettings, day: DayBudget, now: Callable[[], datetime]) -> GatewayAuthorizer:
    """Callers need no key on loopback; elsewhere only if the operator allows it."""
    path = settings.keys_path
    try:
        keys = LiveKeys(path) if path else None
    except KeysFileError as error:
        raise SettingsError(f"GATEWAY_KEYS_FILE: {error} `nidan keys add` makes it.") from error
    anonymous: frozenset[Scope] = frozenset()
    if settings.gateway_allow_anonymous:
        logger().warning("anonymous_callers", note="GATEWAY_ALLOW_ANONYMOUS: anyone who reaches this port can call")
        anonymous = frozenset({Scope.GENERATE})
    if keys is None and settings.binds_loopback:
        anonymous = frozenset(Scope)
    limits = Limits(
        settings.gateway_caller_lessons_per_minute,
        settings.caller_daily_cost_usd,
        settings.gateway_caller_lessons_at_once,
    )
    return GatewayAuthorizer(keys=keys, anonymous=anonymous, limits=limits, above=day, now=now, clock=time.monotonic)


def _own_certificate(settings: GatewaySettings) -> CertificateFiles | None:
    """The certificate that callers see; they need none of their own."""
    if not settings.gateway_tls_cert_file:
        return None
    return CertificateFiles(
        Path(settings.gateway_tls_cert_file),
        Path(settings.gateway_tls_key_file),
        None,
        ("GATEWAY_TLS_CERT_FILE", "GATEWAY_TLS_KEY_FILE"),
    )


def _catalogue(settings: GatewaySettings) -> LiveCatalogue:
    try:
        return LiveCatalogue(Catalogue.shipped(), settings.catalogue_path)
    except CatalogueFileError as error:
        raise SettingsError(f"CATALOGUE_FILE: {error}") from error


def _run_config(settings: GatewaySettings, at: datetime) -> RunConfig:
    check_limit(
        settings.lesson_cost_limit_usd,
        (settings.cando_ai_stage1_provider, settings.stage1_models[0], settings.ai_stage1_max_output_tokens),
        (settings.cando_ai_stage2_provider, settings.stage2_models),
        at,
    )
    return RunConfig(
        stage1_provider=settings.cando_ai_stage1_provider,
        stage1_models=settings.stage1_models,
        stage2_provider=settings.cando_ai_stage2_provider,
        stage2_models=settings.stage2_models,
        deadline_seconds=settings.lesson_deadline_seconds,
        reserve_seconds=settings.stage2_reserve_seconds,
        margin_seconds=RUN_MARGIN_SECONDS,
        mode=settings.stage2_mode,
        restart_seconds=settings.stage_restart_seconds,
        cost_limit_usd=settings.lesson_cost_limit_usd,
        kept_for_stage2_usd=sections_usd(settings.cando_ai_stage2_provider, settings.stage2_models, at),
        day_limit_usd=settings.daily_cost_limit_usd or None,
        stage1_max_output_tokens=settings.ai_stage1_max_output_tokens,
        lessons_limit=settings.lessons_limit,
        stage1_calls_limit=settings.stage1_calls_limit,
        stage2_calls_limit=settings.stage2_calls_limit,
        on_disconnect=settings.on_disconnect,
        enabled=settings.use_twostage_generation,
    )


def metrics_at_zero(registry: Registry, settings: GatewaySettings) -> LessonMetrics:
    """The gateway's metrics before any lesson: every series of a closed set exists."""
    metrics = LessonMetrics(registry)
    metrics.enabled.set(settings.use_twostage_generation)
    metrics.publish_zeros(
        stage1_models=settings.stage1_models,
        stage2_models=settings.stage2_models,
        kinds=tuple(AttemptKind),
        outcomes=tuple(AttemptOutcome),
        sections=tuple(SectionName),
        states=tuple(SectionState),
    )
    return metrics
