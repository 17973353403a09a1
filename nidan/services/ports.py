"""Ports of this machine's loopback: which are free, and which the environment names."""

from __future__ import annotations

import random
import socket

from nidan.errors import StartError

LOOPBACK = "127.0.0.1"
# Below the ranges from which systems take the ports of outgoing connections, so that none of those comes between.
_PRIVATE_PORTS = range(15_000, 32_000)


def port_of(variable: str, text: str, default: int) -> int:
    """0 would be a port that the others cannot be told of, so it is chosen here."""
    if not text.strip():
        return default
    if not (text.strip().isdecimal() and int(text) <= 65_535):
        raise StartError(f"{variable} must be a port from 0 to 65535, not {text[:40]!r}.")
    return int(text) or free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ports that nothing listens on now."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PRIVATE_PORTS, len(_PRIVATE_PORTS)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Whether this machine's loopback would give the port now."""
    with socket.socket() as probe:
        # A connection that ended a minute ago holds no port, to us as to the services.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
