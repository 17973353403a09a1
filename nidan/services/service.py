"""The services of the trio, and their ports."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from nidan.services.ports import LOOPBACK


@dataclass(frozen=True)
class Service:
    """One process and its ports. 0 lets the service choose a port that no other process needs to know."""

    name: str
    """The module for `python -m`."""
    grpc_name: str
    """The service name of health checks; empty for a service that speaks HTTP and answers /healthz."""
    prefix: str
    """Begins the names of its port variables."""
    port: int
    health_port: int = 0
    metrics_port: int = 0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def ports(self) -> dict[str, int]:
        """Port by variable."""
        if not self.grpc_name:
            return {f"{self.prefix}_PORT": self.port}
        return {
            f"{self.prefix}_PORT": self.port,
            f"{self.prefix}_HEALTH_PORT": self.health_port,
            f"{self.prefix}_METRICS_PORT": self.metrics_port,
        }

    def is_serving(self) -> bool:
        """Whether it reports SERVING, on its own port or its health port. The latter is plaintext even under TLS."""
        if not self.grpc_name:
            return _answers_http(self.port, "/healthz")
        from nidan.client import is_serving  # noqa: PLC0415 - gRPC loads while the services start

        ports = [self.port, *([self.health_port] if self.health_port else [])]
        return any(is_serving(f"{LOOPBACK}:{port}", self.grpc_name) for port in ports)


OFFLINE_MODEL = Service("offline_model", "", "OFFLINE_MODEL", 50080)
CONTENT = Service("content_service", "lesson.v1.ContentService", "CONTENT", 50051, 50061, 9101)
ENHANCER = Service("enhancer_service", "lesson.v1.EnhancerService", "ENHANCER", 50052, 50062, 9102)
GATEWAY = Service("gateway", "lesson.v1.LessonService", "GATEWAY", 50050, 50060, 9100)
"""Each with its default ports."""


def _answers_http(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1.0)  # knows no proxies
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
