"""Starts the content service: `python -m content_service`. Only this module reads its settings."""

from __future__ import annotations

from content_service.servicer import FULL_NAME, ContentServicer
from content_service.settings import ContentSettings
from content_service.stage import ContentStage
from servicekit.auth import CertificateAuthorizer
from servicekit.llm.observe import observe_calls
from servicekit.llm.settings import model_client
from servicekit.llm.shutdown_dates import ShutdownDates
from servicekit.server import Service, start
from servicekit.telemetry import ModelMetrics, Registry
from servicekit.tls import identity
from servicekit.tracing import tracing

NAME = "content_service"
MAX_REQUEST_BYTES = 512 * 1024
"""A request can hold the confirmed sections of a lesson, each of at most 12,000 characters."""


async def build(settings: ContentSettings) -> Service:
    """Makes the real adapters inside the running loop. `serving` or `run` opens the ports."""
    registry = Registry()
    provider = settings.cando_ai_stage1_provider
    metrics = ModelMetrics(registry)
    observe = observe_calls(provider, metrics)
    client = model_client(settings, provider, "CANDO_AI_STAGE1_PROVIDER", observe)
    assert client is not None  # noqa: S101 - Stage 1 has no provider `none`
    metrics.watch_pool(lambda: client.in_use)
    ends = ShutdownDates(client)
    servicer = ContentServicer(
        ContentStage(
            client,
            reasoning_effort=settings.ai_stage1_reasoning_effort,
            max_output_tokens=settings.ai_stage1_max_output_tokens,
            first_token_seconds=settings.ai_stage1_first_token_seconds,
            stall_seconds=settings.ai_stream_stall_seconds,
        ),
        settings.ai_stage1_timeout_seconds,
        ends=ends,
    )
    return Service(
        name=NAME,
        bind=settings.bind,
        health_bind=settings.health_bind,
        metrics_bind=settings.metrics_bind,
        max_streams=2 * settings.content_calls_limit,
        port=settings.content_port,
        health_port=settings.content_health_port,
        metrics_port=settings.content_metrics_port,
        grpc_names=(FULL_NAME,),
        register=servicer.register,
        registry=registry,
        longest_call_seconds=settings.ai_stage1_timeout_seconds,
        calls_limit=settings.content_calls_limit,
        limited=(f"/{FULL_NAME}/GenerateContent",),
        max_request_bytes=MAX_REQUEST_BYTES,
        tls=identity(settings),
        authorizer=CertificateAuthorizer(settings.tls_client_name) if settings.tls_cert_file else None,
        tracing=tracing(NAME, settings, captures_text=settings.otel_instrumentation_genai_capture_message_content),
        reflection=settings.grpc_reflection,
        shutdown_delay_seconds=settings.shutdown_delay_seconds,
        close=(ends.close, client.close),
    )


if __name__ == "__main__":
    start(NAME, ContentSettings, build)
