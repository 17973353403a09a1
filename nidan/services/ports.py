"""Ports of this machine's loopback."""

from __future__ import annotations

import random
import socket

from nidan.errors import StartError

LOOPBACK = "127.0.0.1"
# Below the ranges of outgoing connections, so that none of those takes a port first.
_PRIVATE_PORTS = range(15_000, 32_000)


def read_port(variable: str, text: str, default: int) -> int:
    """The port that the variable names. 0 becomes a free port, which the other services can then know."""
    if not text.strip():
        return default
    if not (text.strip().isdecimal() and int(text) <= 65_535):
        raise StartError(f"{variable} must be a port from 0 to 65535, not {text[:40]!r}.")
    return int(text) or free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """`count` different ports on which nothing listens now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PRIVATE_PORTS, len(_PRIVATE_PORTS)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether the port can be bound on loopback now."""
    with socket.socket() as probe:
        # As the services do: a recently closed connection must not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
