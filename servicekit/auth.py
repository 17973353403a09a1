"""Who may come in: what a server asks before it reads a request. A door knows no gRPC; `servicekit.server` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from servicekit.errors import ForbiddenError


@dataclass(frozen=True)
class CallInfo:
    """A call before its request is read."""

    method: str
    """/package.Service/Method"""
    metadata: Mapping[str, str | bytes]
    names: frozenset[str]
    """What the caller's certificate is made out to: common name and alternative names. Empty without one."""


class Authorizer(Protocol):
    """Lets calls in or refuses them."""

    def authorize(self, call: CallInfo) -> AbstractContextManager[None]:
        """Entered before the request is read, left when the call has ended. Raises ServiceError; never waits."""


class CertificateAuthorizer:
    """Lets in whoever has a certificate made out to one name: the connection has checked who issued it."""

    def __init__(self, name: str) -> None:
        self._name = name

    @contextmanager
    def authorize(self, call: CallInfo) -> Iterator[None]:
        if self._name not in call.names:
            raise ForbiddenError(
                f"Only {self._name!r} may call this service (TLS_CLIENT_NAME); "
                f"the caller's certificate is made out to {', '.join(sorted(call.names)) or 'nobody'}."[:400],
                reason="CALLER_NOT_ACCEPTED",
            )
        yield
