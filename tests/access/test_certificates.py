"""Names in certificates: DNS names alone, whole, of the certificate's own bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from servicekit.certificates import dns_names

SAN = x509.ObjectIdentifier("2.5.29.17")


def certificate(*extensions: x509.ExtensionType, common_name: str = "gateway", critical: bool = False) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in extensions:
        made = made.add_extension(extension, critical)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def raw(*names: tuple[int, bytes]) -> x509.UnrecognizedExtension:
    """Alternative names as these tags and bytes."""
    inner = b"".join(bytes([tag, len(name)]) + name for tag, name in names)
    return x509.UnrecognizedExtension(SAN, bytes([0x30, len(inner)]) + inner)


@pytest.mark.parametrize("critical", [True, False])
def test_dns_names_are_read(critical: bool) -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("gateway"), x509.DNSName("gateway.nidan.svc")])
    assert dns_names(certificate(names, critical=critical)) == {"gateway", "gateway.nidan.svc"}


def test_no_other_name_counts() -> None:
    others = x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier("gateway"),
            x509.RFC822Name("gateway"),
            x509.IPAddress(ip_address("127.0.0.1")),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        ]
    )
    assert dns_names(certificate(others)) == frozenset()
    assert dns_names(certificate(common_name="gateway")) == frozenset()


@pytest.mark.parametrize("name", [b"gateway\x00.evil.example", b"gate\xffway", b"gateway\n", b"", b"gate way"])
def test_a_name_that_is_cut_elsewhere_counts_nowhere(name: bytes) -> None:
    assert dns_names(certificate(raw((0x82, name), (0x82, b"fine")))) == {"fine"}


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----", b"x" * 100])
def test_what_is_no_certificate_has_no_names(pem: bytes) -> None:
    assert dns_names(pem) == frozenset()


def test_a_cut_extension_has_no_names() -> None:
    assert dns_names(certificate(x509.UnrecognizedExtension(SAN, b"\x30\x20\x82\x07gateway"))) <= {"gateway"}
    assert dns_names(certificate(x509.UnrecognizedExtension(SAN, b"\x30\x84\xff\xff\xff\xff"))) == frozenset()
