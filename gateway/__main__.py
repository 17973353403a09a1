"""Starts the gateway: `python -m gateway`, or with `admin …` works on its files. The only reader of its settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway import admin
from gateway.catalogue import Catalogue
from gateway.costs import check_limit, sections_usd
from gateway.imported import CatalogueFileError, LiveCatalogue
from gateway.ledger import MemoryLedger
from gateway.pipeline import Pipeline
from gateway.run import Flow
from gateway.servicer import FULL_NAME, LessonServicer
from gateway.settings import RUN_MARGIN_SECONDS, GatewaySettings
from gateway.upstream import Upstream
from lesson.models import AttemptOutcome, SectionName, SectionState
from servicekit.server import Service, start
from servicekit.settings import SettingsError, load
from servicekit.telemetry import LessonMetrics, Registry
from servicekit.tracing import tracing

NAME = "gateway"


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def build(
    settings: GatewaySettings, ledger: MemoryLedger | None = None, now: Callable[[], datetime] = _utc_now
) -> Service:
    """Makes the real adapters, inside the running loop; `serving` or `run` opens the ports."""
    registry = Registry()
    upstream = Upstream(settings.content_address, settings.enhancer_address)
    pipeline = Pipeline(
        flow=_flow(settings, now()),
        upstream=upstream,
        catalogue=_catalogue(settings),
        metrics=_metrics(registry, settings),
        ledger=ledger or MemoryLedger(),
        now=now,
    )
    servicer = LessonServicer(pipeline, settings.lesson_deadline_seconds)
    return Service(
        name=NAME,
        bind=settings.bind,
        port=settings.gateway_port,
        health_port=settings.gateway_health_port,
        metrics_port=settings.gateway_metrics_port,
        grpc_names=(FULL_NAME,),
        register=servicer.register,
        registry=registry,
        longest_call_seconds=settings.lesson_deadline_seconds,
        calls_limit=settings.lessons_limit,
        tracing=tracing(NAME, settings),
        reflection=settings.grpc_reflection,
        shutdown_delay_seconds=settings.shutdown_delay_seconds,
        close=(upstream.close,),
    )


def _catalogue(settings: GatewaySettings) -> LiveCatalogue:
    try:
        return LiveCatalogue(Catalogue.shipped(), settings.catalogue_path)
    except CatalogueFileError as error:
        raise SettingsError(f"CATALOGUE_FILE: {error}") from error


def _flow(settings: GatewaySettings, at: datetime) -> Flow:
    check_limit(
        settings.lesson_cost_limit_usd,
        (settings.cando_ai_stage1_provider, settings.stage1_models[0], settings.ai_stage1_max_output_tokens),
        (settings.cando_ai_stage2_provider, settings.stage2_models),
        at,
    )
    return Flow(
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


def _metrics(registry: Registry, settings: GatewaySettings) -> LessonMetrics:
    metrics = LessonMetrics(registry)
    metrics.enabled.set(settings.use_twostage_generation)
    metrics.publish_zeros(
        settings.stage1_models, settings.stage2_models, tuple(AttemptOutcome), tuple(SectionName), tuple(SectionState)
    )
    return metrics


def _catalogue_path() -> Path:
    return load(GatewaySettings).catalogue_path


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(admin.main(sys.argv[1:], _catalogue_path))
    start(NAME, GatewaySettings, build)
