"""Certificates made for a test: authorities, and identities in folders as a Secret mounts them."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import trustme

from servicekit.tls import CertificateFiles

LOCAL = ("127.0.0.1", "localhost")


class Authority:
    """Issues identities for servers of this machine."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> bytes:
        return self._ca.cert_pem.bytes()

    def issue(self, name: str, expired: bool = False) -> tuple[bytes, bytes]:
        """Certificate and key, in PEM."""
        until = datetime.now(UTC) - timedelta(hours=1)
        begin, end = (until - timedelta(days=30), until) if expired else (None, None)
        made = self._ca.issue_cert(*LOCAL, name, common_name=name, not_before=begin, not_after=end)
        return b"".join(blob.bytes() for blob in made.cert_chain_pems), made.private_key_pem.bytes()


class Identity:
    """tls.crt, tls.key and ca.crt in a folder."""

    def __init__(self, folder: Path, name: str, authority: Authority, *, expired: bool = False) -> None:
        folder.mkdir()
        self.folder = folder
        self.name = name
        self.renew(authority, expired=expired)

    def renew(self, authority: Authority, trusted: bytes = b"", *, expired: bool = False) -> None:
        """Another certificate and key; `trusted` in place of the authority itself. Each file is replaced at once."""
        cert, key = authority.issue(self.name, expired)
        for name, pem in (("tls.crt", cert), ("tls.key", key), ("ca.crt", trusted or authority.pem)):
            put(self.folder / name, pem)

    def env(self) -> dict[str, str]:
        names = {"TLS_CERT_FILE": "tls.crt", "TLS_KEY_FILE": "tls.key", "TLS_CA_FILE": "ca.crt"}
        return {variable: str(self.folder / name) for variable, name in names.items()}

    @property
    def files(self) -> CertificateFiles:
        variables = tuple(self.env())
        cert, key, ca = (Path(path) for path in self.env().values())
        return CertificateFiles(cert, key, ca, variables)

    def credentials(self, trusted: bytes = b"") -> grpc.ChannelCredentials:
        """As a client that is this identity."""
        cert, key, ca = ((self.folder / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt"))
        return grpc.ssl_channel_credentials(trusted or ca, key, cert)


def put(file: Path, data: bytes) -> None:
    draft = file.with_name(f".{file.name}")
    draft.write_bytes(data)
    draft.replace(file)


def shown(address: tuple[str, int]) -> bytes:
    """The certificate that a server shows now, in DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(address, timeout=5) as plain, context.wrap_socket(plain) as wrapped:
        certificate = wrapped.getpeercert(binary_form=True)
    assert certificate
    return certificate
