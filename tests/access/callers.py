"""A keys' file with keys of every kind, and a gateway that uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

import gateway.service as gateway_main
from gateway.access import keys
from gateway.access.keys import Key, Scope
from gateway.settings import GatewaySettings
from servicekit.server import Ports, serving
from servicekit.settings import load
from tests.trio import FREE_PORTS

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
OFFLINE = {"CANDO_AI_STAGE1_PROVIDER": "offline", "CANDO_AI_STAGE2_PROVIDER": "offline"}


@dataclass
class Ring:
    """A keys' file and the tokens of its hashes."""

    file: Path
    tokens: dict[str, str] = field(default_factory=dict)
    kept: dict[str, Key] = field(default_factory=dict)

    def add(self, name: str, *scopes: Scope, **fields: Any) -> str:
        """Writes one more key and returns its token."""
        token, key_id = keys.new_token()
        self.tokens[name] = token
        self.kept[name] = Key(id=key_id, name=name, hash=keys.hashed(token), scopes=scopes, created=NOW, **fields)
        self.write()
        return token

    def change(self, name: str, **fields: Any) -> None:
        self.kept[name] = self.kept[name].model_copy(update=fields)
        self.write()

    def write(self) -> None:
        keys.write(self.file, self.kept.values())


def ring_of_every_kind(file: Path) -> Ring:
    ring = Ring(file)
    for scope in Scope:
        ring.add(scope.value, scope)
    ring.add("expired", *Scope, expires=NOW - timedelta(seconds=1))
    ring.add("revoked", *Scope, revoked=NOW)
    return ring


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def gateway_with(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> AsyncIterator[tuple[Ports, grpc.aio.Channel]]:
    """The real gateway at the time NOW, with reflection and without stages, and a plaintext channel to it."""
    stages = {"CONTENT_ADDRESS": "127.0.0.1:1", "ENHANCER_ADDRESS": "127.0.0.1:1", "STAGE_RESTART_SECONDS": "0"}
    for name, value in (FREE_PORTS | OFFLINE | stages | {"GRPC_REFLECTION": "true"} | env).items():
        monkeypatch.setenv(name, value)
    async with (
        serving(await gateway_main.build(load(GatewaySettings), now=lambda: NOW)) as ports,
        grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel,
    ):
        yield ports, channel
