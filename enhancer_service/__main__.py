"""Starts the enhancer service: `python -m enhancer_service`. Only this module reads its settings."""

from __future__ import annotations

from pathlib import Path

from enhancer_service.japanese.annotator import JapaneseAnnotator
from enhancer_service.japanese.overrides import OverridesError
from enhancer_service.japanese.reading import Analyser
from enhancer_service.servicer import FULL_NAME, EnhancerServicer
from enhancer_service.settings import EnhancerSettings
from enhancer_service.stage import EnhancerStage
from servicekit.auth import CertificateAuthorizer
from servicekit.llm.observe import observe_calls
from servicekit.llm.settings import model_client
from servicekit.llm.shutdown_dates import ShutdownDates
from servicekit.server import Service, start
from servicekit.settings import SettingsError
from servicekit.telemetry import ModelMetrics, Registry
from servicekit.tls import identity
from servicekit.tracing import tracing

NAME = "enhancer_service"
MAX_REQUEST_BYTES = 512 * 1024
"""Eight times what the texts of a section may have."""


async def build(settings: EnhancerSettings, analyser: Analyser | None = None) -> Service:
    """Makes the real adapters inside the running loop. `serving` or `run` opens the ports.

    Loads the dictionary first, so that SERVING means ready to annotate. Raises SettingsError for unusable overrides.
    """
    registry = Registry()
    provider = settings.cando_ai_stage2_provider
    metrics = ModelMetrics(registry)
    observe = observe_calls(provider, metrics)
    client = model_client(settings, provider, "CANDO_AI_STAGE2_PROVIDER", observe)
    overrides = Path(settings.overrides_file) if settings.overrides_file else None
    try:
        annotator = JapaneseAnnotator.load(settings.romaji_style, overrides, analyser)
    except OverridesError as error:
        raise SettingsError(f"OVERRIDES_FILE: {error}") from error
    metrics.watch_pool(lambda: client.in_use if client else 0)
    ends = ShutdownDates(client)
    stage = EnhancerStage(annotator, client, settings.ai_stage2_reasoning_effort)
    servicer = EnhancerServicer(stage, settings.ai_stage2_timeout_seconds, ends)
    return Service(
        name=NAME,
        bind=settings.bind,
        health_bind=settings.health_bind,
        metrics_bind=settings.metrics_bind,
        max_streams=2 * settings.enhancer_calls_limit,
        port=settings.enhancer_port,
        health_port=settings.enhancer_health_port,
        metrics_port=settings.enhancer_metrics_port,
        grpc_names=(FULL_NAME,),
        register=servicer.register,
        registry=registry,
        longest_call_seconds=settings.ai_stage2_timeout_seconds,
        calls_limit=settings.enhancer_calls_limit,
        limited=(f"/{FULL_NAME}/EnhanceSection",),
        max_request_bytes=MAX_REQUEST_BYTES,
        tls=identity(settings),
        authorizer=CertificateAuthorizer(settings.tls_client_name) if settings.tls_cert_file else None,
        tracing=tracing(NAME, settings, captures_text=settings.otel_instrumentation_genai_capture_message_content),
        reflection=settings.grpc_reflection,
        shutdown_delay_seconds=settings.shutdown_delay_seconds,
        close=(ends.close, client.close) if client else (),
    )


if __name__ == "__main__":
    start(NAME, EnhancerSettings, build)
