"""Starts the gateway: `python -m gateway`. The only reader of its settings."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.catalogue import Catalogue
from gateway.pipeline import Flow, Pipeline
from gateway.servicer import FULL_NAME, LessonServicer
from gateway.settings import RUN_MARGIN_SECONDS, GatewaySettings
from gateway.upstream import Upstream
from lesson.models import AttemptOutcome, EnhancementMode, SectionName, SectionState
from servicekit.llm.capabilities import Provider, capabilities
from servicekit.server import Service, start
from servicekit.telemetry import LessonMetrics, Registry

NAME = "gateway"


async def build(settings: GatewaySettings) -> Service:
    """Makes the real adapters, inside the running loop; `serving` or `run` opens the ports."""
    registry = Registry()
    upstream = Upstream(settings.content_address, settings.enhancer_address)
    pipeline = Pipeline(_flow(settings), upstream, Catalogue.shipped(), _metrics(registry, settings))
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
        log_level=settings.log_level,
        reflection=settings.grpc_reflection,
        shutdown_delay_seconds=settings.shutdown_delay_seconds,
        close=(upstream.close,),
    )


def _flow(settings: GatewaySettings) -> Flow:
    return Flow(
        stage1_models=settings.stage1_models,
        stage2_models=settings.stage2_models,
        deadline_seconds=settings.lesson_deadline_seconds,
        reserve_seconds=settings.stage2_reserve_seconds,
        margin_seconds=RUN_MARGIN_SECONDS,
        mode=EnhancementMode.MODEL,
        enabled=settings.use_twostage_generation,
    )


def _metrics(registry: Registry, settings: GatewaySettings) -> LessonMetrics:
    metrics = LessonMetrics(registry)
    metrics.enabled.set(settings.use_twostage_generation)
    metrics.publish_zeros(
        settings.stage1_models, settings.stage2_models, tuple(AttemptOutcome), tuple(SectionName), tuple(SectionState)
    )
    metrics.shed.labels(NAME)
    _publish_ends(metrics, settings.cando_ai_stage1_provider, settings.stage1_models)
    _publish_ends(metrics, settings.cando_ai_stage2_provider, settings.stage2_models)
    return metrics


def _publish_ends(metrics: LessonMetrics, provider: Provider, models: tuple[str, ...]) -> None:
    for model in models:
        end = capabilities(provider, model).shutdown
        if end is not None:
            metrics.shutdown_at.labels(model).set(datetime(end.year, end.month, end.day, tzinfo=UTC).timestamp())


if __name__ == "__main__":
    start(NAME, GatewaySettings, build)
