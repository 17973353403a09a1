"""Calls any RPC of a server by its descriptor and returns its status, as a stranger with a tool can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from lesson.v1 import content_service_pb2, enhancer_service_pb2, lesson_service_pb2
from servicekit.errors import RemoteError, read_error

Metadata = tuple[tuple[str, str], ...]

LESSONS = lesson_service_pb2.DESCRIPTOR.services_by_name["LessonService"]
CONTENT = content_service_pb2.DESCRIPTOR.services_by_name["ContentService"]
ENHANCER = enhancer_service_pb2.DESCRIPTOR.services_by_name["EnhancerService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


def methods(*services: Any) -> Iterator[tuple[str, Any]]:
    """The full name and descriptor of every RPC of these services."""
    for service in services:
        for method in service.methods:
            yield f"/{service.full_name}/{method.name}", method
            if service is REFLECTION:  # the same messages under the name of its next version
                yield f"/{service.full_name.replace('v1alpha', 'v1')}/{method.name}", method


async def call_rpc(channel: grpc.aio.Channel, path: str, method: Any, metadata: Metadata = ()) -> RemoteError | None:
    """The error of a call with an empty request; None when the server accepts it with a reply or an open stream."""
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    request: Any = _once(b"") if method.client_streaming else b""
    call = getattr(channel, kind)(path)(request, metadata=metadata, timeout=5)
    try:
        if method.server_streaming:
            await anext(aiter(call), None)
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return read_error(error)
    finally:
        call.cancel()
    return None


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
