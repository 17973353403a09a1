"""The channel to a stage: long-lived, and replaced when this process's certificate is renewed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc

from servicekit.server import channel_options
from servicekit.tls import LiveCertificate, channel_credentials

Stub = TypeVar("Stub")


@dataclass
class ChannelLease(Generic[Stub]):
    """A channel, its stub, and the number of calls that use it."""

    channel: grpc.aio.Channel
    stub: Stub
    users: int = 0


class ReloadingChannel(Generic[Stub]):
    """The channel to one stage; make it inside the running loop.

    gRPC reads a channel's certificate once. After a renewal, new calls take a new channel, running calls end on the old
    one, and the last of them closes it.
    """

    def __init__(
        self, address: str, stub: Callable[[grpc.aio.Channel], Stub], certificate: LiveCertificate | None
    ) -> None:
        self._address = address
        self._stub = stub
        self._certificate = certificate
        self._read = certificate.current() if certificate else None
        self._newest = self._connected()
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[ChannelLease[Stub]]:
        """The current channel and its stub. It stays open inside the block, even if the certificate changes."""
        lease = self._current()
        lease.users += 1
        try:
            yield lease
        finally:
            lease.users -= 1
            if lease is not self._newest and not lease.users:
                await lease.channel.close()

    async def close(self) -> None:
        await asyncio.gather(self._newest.channel.close(), *self._closing)

    def _connected(self) -> ChannelLease[Stub]:
        options = channel_options()
        if self._read is None:
            channel = grpc.aio.insecure_channel(self._address, options)
        else:
            channel = grpc.aio.secure_channel(self._address, channel_credentials(self._read), options)
        return ChannelLease(channel, self._stub(channel))

    def _current(self) -> ChannelLease[Stub]:
        read = self._certificate.current() if self._certificate else None
        if read is not self._read:
            self._read = read
            old, self._newest = self._newest, self._connected()
            if not old.users:
                closing = asyncio.ensure_future(old.channel.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        return self._newest
