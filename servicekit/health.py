"""The standard health service, which no watcher can hold up: https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICE_NAME: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
MAX_WATCHERS: Final = 100
"""More are refused: a watcher costs a call for as long as it likes."""
_Status = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):
    """The status of some services. It takes no lock: a watcher that stops reading waits alone."""

    def __init__(self, names: Iterable[str]) -> None:
        """All begin as SERVING; the empty name is the process."""
        self._statuses: dict[str, Any] = dict.fromkeys(("", *names), _Status.SERVING)
        self._changed = asyncio.Event()
        self._stopping = False
        self._watchers = 0

    def stop(self) -> None:
        """From now on everything is NOT_SERVING; watchers are told so and end."""
        self._stopping = True
        self._statuses = dict.fromkeys(self._statuses, _Status.NOT_SERVING)
        self._changed.set()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "This server has no service of that name.")
        return _Status(status=status)

    async def List(self, _request: object, _context: Any) -> Any:  # noqa: N802 - the published types lack it
        return health_pb2.HealthListResponse(  # type: ignore[attr-defined]
            statuses={name: _Status(status=status) for name, status in self._statuses.items()}
        )

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if self._watchers >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} callers watch already.")
        self._watchers += 1
        try:
            yield _Status(status=self._statuses.get(request.service, _Status.SERVICE_UNKNOWN))
            await self._changed.wait()
            yield _Status(status=self._statuses.get(request.service, _Status.SERVICE_UNKNOWN))
        finally:
            self._watchers -= 1
