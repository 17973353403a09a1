"""Certificates from files, read again when they change.

A process proves its identity with a certificate and a key. With a CA it also requires a certificate of that CA from its
peers (mutual TLS). It checks the files for each new connection, so a rotation needs no restart; open connections keep
their certificate. While a new certificate and key do not fit together, the last good pair stays in use.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import grpc

from servicekit.files import Stamp, stamp
from servicekit.settings import ServiceSettings, SettingsError
from servicekit.telemetry import logger


@dataclass(frozen=True)
class CertificateFiles:
    """Paths of PEM files. `variables` names the settings of cert, key and CA, for messages."""

    cert: Path
    key: Path
    ca: Path | None
    variables: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.cert, self.key, self.ca) if path is not None)


@dataclass(frozen=True)
class Certificate:
    """PEM texts that were read together and fit together."""

    cert: bytes
    key: bytes
    ca: bytes | None


def identity(settings: ServiceSettings) -> CertificateFiles | None:
    """The certificate of this process towards the other services; None for plaintext."""
    if not settings.tls_cert_file:
        return None
    return CertificateFiles(
        Path(settings.tls_cert_file),
        Path(settings.tls_key_file),
        Path(settings.tls_ca_file),
        ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE"),
    )


class LiveCertificate:
    """The current certificate of some files. Thread-safe, because gRPC calls it from its own threads.

    The constructor raises SettingsError that names the variable when the files are unusable. Later the last good
    certificate stays in use, and the log has one `certificate_not_taken` for each bad state of the files.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen = _stamps(files)
        self._current = _read(files)

    def current(self) -> Certificate:
        """The certificate, as a new object when it has changed. Costs a stat of each file."""
        with self._lock:
            seen = _stamps(self._files)  # before reading, so that a later change is noticed
            if seen != self._seen:
                self._seen = seen
                self._reload(seen)
            return self._current

    def _reload(self, seen: tuple[Stamp, ...]) -> None:
        try:
            read = _read(self._files)
        except SettingsError as error:
            logger().error("certificate_not_taken", error=str(error), note="the last good certificate is in use")
            return
        if _stamps(self._files) != seen:
            self._seen = ()  # perhaps a mixture of old and new: the next call reads all files again
        elif read != self._current:
            self._current = read
            logger().info("certificate_read", file=str(self._files.cert))


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Credentials of a port. With a CA, only peers with a certificate of that CA can connect.

    Raises SettingsError.
    """
    live = LiveCertificate(files)
    given = live.current()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        current = live.current()
        if current is given:
            return None
        given = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        fetch,  # type: ignore[arg-type] # None means unchanged; the published type lacks it
        require_client_authentication=files.ca is not None,
    )


def channel_credentials(certificate: Certificate) -> grpc.ChannelCredentials:
    """Credentials of a channel. gRPC reads them once, so a new certificate needs a new channel."""
    return grpc.ssl_channel_credentials(certificate.ca, certificate.key, certificate.cert)


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.cert)], certificate.ca)


def _stamps(files: CertificateFiles) -> tuple[Stamp, ...]:
    return tuple(stamp(path) for path in files.paths)


def _read(files: CertificateFiles) -> Certificate:
    """Reads and checks the files. Raises SettingsError; gRPC would report nothing until the first connection failed."""
    parts = []
    for variable, path in zip(files.variables, files.paths, strict=True):
        try:
            parts.append(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"{variable}: cannot read {path}: {error.strerror or error}.") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _check_certificates(context, files.variables[0], files.cert)
    if files.ca is not None:
        _check_certificates(context, files.variables[2], files.ca)
    _check_pair(context, files)
    return Certificate(parts[0], parts[1], parts[2] if files.ca else None)


def _check_certificates(context: ssl.SSLContext, variable: str, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"{variable}: {path} has no certificate in PEM form.") from error


def _check_pair(context: ssl.SSLContext, files: CertificateFiles) -> None:
    cert, key = files.variables[:2]
    try:
        context.load_cert_chain(files.cert, files.key, password=lambda: b"")  # without it, ssl asks on the terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"{key}: {files.key} is not the key of {cert} ({files.cert}).") from error
        raise SettingsError(f"{key}: {files.key} has no private key in PEM form without a password.") from error
    except OSError as error:
        raise SettingsError(f"{key}: cannot read {files.key}: {error.strerror or error}.") from error
