"""Certificates from files, read again when they change.

A process's own certificate and key prove who it is; with a CA beside them it asks whoever it meets for a certificate of
that CA (mutual TLS). Files are looked at whenever a connection is made, so a rotation needs no restart: what is under
way goes on with the certificate it began with. Half a change (a certificate without its key) is not taken up: the last
good state is kept until the files fit together again.
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
    """Paths of PEM files. `variables` are the settings that named them, in this order, for messages."""

    cert: Path
    key: Path
    ca: Path | None
    variables: tuple[str, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.cert, self.key, self.ca) if path is not None)


@dataclass(frozen=True)
class Certificate:
    """PEM, read at one time and fitting together."""

    cert: bytes
    key: bytes
    ca: bytes | None


def identity(settings: ServiceSettings) -> CertificateFiles | None:
    """Who this process is to the other services; None where they speak plaintext."""
    if not settings.tls_cert_file:
        return None
    return CertificateFiles(
        Path(settings.tls_cert_file),
        Path(settings.tls_key_file),
        Path(settings.tls_ca_file),
        ("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CA_FILE"),
    )


class LiveCertificate:
    """A certificate as its files say now. Safe for several threads: gRPC asks from its own.

    Raises SettingsError, naming the variable, when they are not usable at first. Later the last good state is kept, and
    the log says so once for each state of the files: `certificate_not_taken`.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen = _stamps(files)
        self._current = _read(files)

    def look(self) -> Certificate:
        """The certificate of now: another object when it is another one. Costs a stat of each file."""
        with self._lock:
            seen = _stamps(self._files)  # before reading: what changes meanwhile is a change to be seen
            if seen != self._seen:
                self._seen = seen
                self._take(seen)
            return self._current

    def _take(self, seen: tuple[Stamp, ...]) -> None:
        try:
            read = _read(self._files)
        except SettingsError as error:
            logger().error("certificate_not_taken", error=str(error), note="the last good one is kept")
            return
        if _stamps(self._files) != seen:
            self._seen = ()  # a mixture of old and new, perhaps: the next look reads all of it again
        elif read != self._current:
            self._current = read
            logger().info("certificate_read", file=str(self._files.cert))


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """What a port is opened with. With a CA, only who shows a certificate of it gets a connection.

    Raises SettingsError.
    """
    live = LiveCertificate(files)
    given = live.look()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        current = live.look()
        if current is given:
            return None
        given = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        fetch,  # type: ignore[arg-type] # None means unchanged, which its published type does not know
        require_client_authentication=files.ca is not None,
    )


def channel_credentials(certificate: Certificate) -> grpc.ChannelCredentials:
    """What a channel is made with; gRPC reads it once, so that a new certificate needs a new channel."""
    return grpc.ssl_channel_credentials(certificate.ca, certificate.key, certificate.cert)


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certificate.key, certificate.cert)], certificate.ca)


def _stamps(files: CertificateFiles) -> tuple[Stamp, ...]:
    return tuple(stamp(path) for path in files.paths)


def _read(files: CertificateFiles) -> Certificate:
    """Raises SettingsError in one line. gRPC itself would say nothing until the first connection failed."""
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
        raise SettingsError(f"{variable}: {path} holds no certificate in PEM.") from error


def _check_pair(context: ssl.SSLContext, files: CertificateFiles) -> None:
    cert, key = files.variables[:2]
    try:
        context.load_cert_chain(files.cert, files.key, password=lambda: b"")  # else it would ask the terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"{key}: {files.key} is not the key of {cert} ({files.cert}).") from error
        raise SettingsError(f"{key}: {files.key} holds no private key in PEM without a password.") from error
    except OSError as error:
        raise SettingsError(f"{key}: cannot read {files.key}: {error.strerror or error}.") from error
