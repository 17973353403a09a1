"""Asks a health port whether the service serves: `python -m servicekit.probe PORT` exits with 0 if it does.

A container's HEALTHCHECK runs it beside the service, so it uses plaintext on loopback.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 3.0


def serves(address: str, timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
    """Whether the server at host:port answers SERVING in time. Never raises."""
    # An http_proxy of the container serves calls to providers, not this one on loopback.
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0].isdigit():
        print("usage: python -m servicekit.probe PORT", file=sys.stderr)
        return 2
    return 0 if serves(f"127.0.0.1:{arguments[0]}") else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
