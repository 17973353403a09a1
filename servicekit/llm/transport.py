"""HTTP to one model server: everything that can go wrong is a TransportError, and nothing is read without a bound.

Only documented settings reach a request: no cookies, no redirects, nothing of the environment but the proxies and
SSL_CERT_FILE. The body is decoded here, so that its bound counts decoded bytes.
"""

from __future__ import annotations

import contextlib
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from servicekit.llm.proxies import Proxy, proxy_for

MAX_HEADER_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0
_INFLATE_BYTES: Final = 64 * 1024
_CODINGS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class TransportError(Exception):
    """No answer, or no more of it. The message says why in the words of an operator."""


class ConnectError(TransportError):
    """Nothing was sent: there was no connection."""


class UnreadableAnswerError(TransportError):
    """An answer began, and may have to be paid for, but it is not HTTP as it should be."""


@dataclass
class Response:
    """An answer whose body has not been read."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    _raw: aiohttp.ClientResponse

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def body(self) -> AsyncIterator[bytes]:
        """The decoded body, in pieces as they come. Raises TransportError."""
        coding = self.headers.get("content-encoding", "").strip().lower()
        decode = None if coding in ("", "identity") else _decoder(coding)
        with _told(None):
            async for chunk in self._raw.content.iter_any():
                if decode is None:
                    yield chunk
                    continue
                for piece in decode(chunk):
                    yield piece

    async def read(self, most: int) -> tuple[bytes, TransportError | None]:
        """The body up to about `most` bytes, and what broke it off."""
        body = bytearray()
        try:
            async for chunk in self.body():
                body += chunk
                if len(body) > most:
                    break
        except TransportError as error:
            return bytes(body), error
        return bytes(body), None


class Transport:
    """The connections to one model server."""

    def __init__(self, base_url: str, key: str) -> None:
        """Use it inside one event loop. An empty key sends no Authorization."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "nidan"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._proxy = proxy_for(base_url)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        connect_seconds: float = _CONNECT_SECONDS,
    ) -> AsyncIterator[Response]:
        """Sends a request. The block gets the answer's head; leaving it before the body's end closes the connection."""
        limits = aiohttp.ClientTimeout(total=None, connect=min(connect_seconds, _CONNECT_SECONDS))
        typed = {"Content-Type": "application/json"} if body is not None else {}
        options: dict[str, Any] = {
            "data": body,
            "headers": self._headers | typed | dict(headers or {}),
            "allow_redirects": False,
            "timeout": limits,
            "proxy": self._proxy.url if self._proxy else None,
        }
        with _told(self._proxy):
            raw = await self._sent(method, self._base_url + path, options)
        try:
            yield Response(raw.status, raw.headers, raw)
        finally:
            # `release` keeps a connection whose body was read; it closes any other.
            raw.release()

    async def _sent(self, method: str, url: str, options: dict[str, Any]) -> aiohttp.ClientResponse:
        try:
            return await self._opened().request(method, url, **options)
        except aiohttp.ClientConnectionResetError:
            # A kept connection that the server has closed meanwhile: nothing was sent, so another one is taken.
            return await self._opened().request(method, url, **options)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=_trusted()),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session


def redirect_host(headers: Mapping[str, str]) -> str:
    """Where a redirect leads to: the host alone, since an address can hold secrets."""
    with contextlib.suppress(ValueError):
        return urlsplit(headers.get("location", "")).hostname or "another path"
    return "an unreadable address"


@cache
def _trusted() -> ssl.SSLContext:
    """The certificate authorities of this machine, or those of SSL_CERT_FILE. All clients of a process share them."""
    return ssl.create_default_context()


@contextlib.contextmanager
def _told(proxy: Proxy | None) -> Iterator[None]:
    """Turns every exception but a cancellation and a time limit into a TransportError."""
    try:
        yield
    except TransportError:
        raise
    except Exception as error:
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
            raise
        raise _transport_error(error, proxy) from error


def _transport_error(error: Exception, proxy: Proxy | None) -> TransportError:
    """The first match counts: the library's classes overlap."""
    for kind, made, words in (
        (aiohttp.ClientConnectorCertificateError, ConnectError, "the certificate of the model server is not trusted"),
        (aiohttp.ClientSSLError, ConnectError, "no TLS with the model server"),
        (aiohttp.ClientConnectorError, ConnectError, f"no connection to {_peer(proxy)}"),
        (aiohttp.ConnectionTimeoutError, ConnectError, f"no connection to {_peer(proxy)} in time"),
        (aiohttp.ClientHttpProxyError, ConnectError, f"{_peer(proxy)} refuses"),
        (aiohttp.ClientResponseError, _not_http(error), "the server's answer is not HTTP"),
        (aiohttp.ClientPayloadError, TransportError, "the answer broke off"),
        (aiohttp.ServerDisconnectedError, TransportError, "the server closed the connection"),
    ):
        if isinstance(error, kind):
            return made(f"{words}: {_cause(error)}")
    return TransportError(_cause(error))


def _not_http(error: Exception) -> type[TransportError]:
    """Bytes of another protocol are no answer; a status line with broken headers behind it is one."""
    other = isinstance(error.__cause__, aiohttp.http.HttpProcessingError) and "status line" in str(error.__cause__)
    return TransportError if other else UnreadableAnswerError


def _peer(proxy: Proxy | None) -> str:
    return f"the proxy {proxy.host} ({proxy.variable})" if proxy else "the model server"


def _cause(error: BaseException) -> str:
    under = getattr(error, "certificate_error", None) or error.__cause__ or error
    words = getattr(under, "strerror", None) or getattr(under, "message", None) or str(under) or type(under).__name__
    return str(words)


def _decoder(coding: str) -> Any:
    """Decodes pieces into pieces of bounded size. Raises TransportError."""
    if coding not in _CODINGS:
        raise TransportError(f"the server's answer is in a coding that was not asked for ({coding[:40]})")
    inflater = zlib.decompressobj(_CODINGS[coding])

    def decode(chunk: bytes) -> Iterator[bytes]:
        try:
            while chunk:
                piece = inflater.decompress(chunk, _INFLATE_BYTES)
                if piece:
                    yield piece
                chunk = inflater.unconsumed_tail
                if not piece and not chunk:
                    return
        except zlib.error as error:
            raise TransportError(f"the server's answer is not the {coding} that it says it is") from error

    return decode
