"""Authorization of calls, without gRPC: `servicekit.interceptors` asks an `Authorizer` before it parses a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from servicekit.errors import ForbiddenError


@dataclass(frozen=True)
class CallInfo:
    """What a server knows of a call before it parses the request."""

    method: str
    """/package.Service/Method"""
    metadata: Mapping[str, str | bytes]
    names: frozenset[str]
    """The DNS names of the caller's certificate. Empty without a certificate."""


class Authorizer(Protocol):
    """Admits or refuses calls."""

    def authorize(self, call: CallInfo) -> AbstractContextManager[None]:
        """Entered before the request is parsed, left when the call has ended. Raises ServiceError; never waits."""


class CertificateAuthorizer:
    """Admits callers whose certificate carries one name. The TLS handshake has checked its issuer."""

    def __init__(self, name: str) -> None:
        self._name = name

    @contextmanager
    def authorize(self, call: CallInfo) -> Iterator[None]:
        if self._name not in call.names:
            raise ForbiddenError(
                f"This service accepts only certificates with the name {self._name!r} (TLS_CLIENT_NAME); "
                f"the caller's certificate has {', '.join(sorted(call.names)) or 'no name'}."[:400],
                reason="CALLER_NOT_ACCEPTED",
            )
        yield
